"""DefQ and its variants on batches, with gradients: for adaptive attackers, who need them, and for the table search.

On 8-bit images ``BlockQuantiser(table)`` gives the same pixels as DefQ on the device (device/defence/defq.py), except for
ties in rounding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from device.defence.block_transform import BLOCK, block_dct_matrix

# ITU-R BT.601, full range, as in JFIF; the offset of 128 does not matter to AC coefficients and is left out
YCBCR = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    """The value of ``exact`` with the gradient of ``smooth``."""
    return smooth + (exact - smooth).detach()


@dataclass(frozen=True, eq=False)
class BlockQuantiser:
    """Quantises the 8 x 8 DCT coefficients of images. The gradient of the rounding is taken as 1 (BPDA, Athalye et al. 2018).

    Args:
        tables: steps in units of pixels 0..255, (8, 8) for all channels, or (3, 8, 8) with one table for each channel.
        ycbcr: quantise in YCbCr instead of RGB.
        moving_grid: start the grid of blocks at a random place for every call.
        spread: scale all steps by a random factor between 1 / (1 + spread) and 1 + spread for every call.
    """

    tables: np.ndarray | Tensor
    ycbcr: bool = False
    moving_grid: bool = False
    spread: float = 0.0

    @property
    def random(self) -> bool:
        return self.moving_grid or self.spread > 0

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Quantise images.

        Args:
            images: float32 (n, 3, h, w) in [0, 1].
            generator: source of the random choices, which are the same for the whole batch; None: torch's own.

        Returns:
            The same shape, in whole numbers / 255.
        """
        height, width = images.shape[2:]
        top, left = torch.randint(BLOCK, (2,), generator=generator).tolist() if self.moving_grid else (0, 0)
        bottom, right = -(height + top) % BLOCK, -(width + left) % BLOCK
        planes = nn.functional.pad(images * 255, (left, right, top, bottom), mode="replicate")
        if self.ycbcr:
            planes = torch.einsum("ij,njhw->nihw", YCBCR, planes)
        tables = torch.as_tensor(self.tables, dtype=torch.float32).expand(3, BLOCK, BLOCK)
        if self.spread:
            exponent = 2 * torch.rand((), generator=generator) - 1
            tables = tables * (1 + self.spread) ** exponent
        planes = _quantise(planes, tables)
        if self.ycbcr:
            planes = torch.einsum("ij,njhw->nihw", torch.linalg.inv(YCBCR), planes)
        cropped = planes[:, :, top : top + height, left : left + width]
        return straight_through(cropped.round().clamp(0, 255), cropped.clamp(0, 255)) / 255


def _quantise(planes: Tensor, tables: Tensor) -> Tensor:
    """planes (n, 3, h, w), h and w multiples of 8; tables (3, 8, 8)."""
    n, channels, height, width = planes.shape
    matrix = torch.from_numpy(block_dct_matrix())
    cells = planes.reshape(n, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    coefficients = cells.reshape(n, channels, -1, BLOCK * BLOCK) @ matrix.T
    steps = tables.reshape(channels, 1, BLOCK * BLOCK)
    ratios = coefficients / steps
    quantised = straight_through(ratios.round(), ratios) * steps
    cells = (quantised @ matrix).reshape(n, channels, height // BLOCK, width // BLOCK, BLOCK, BLOCK).transpose(3, 4)
    return cells.reshape(n, channels, height, width)
