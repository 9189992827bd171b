"""coefficients: a frame's DCT coefficients as DefQ quantised them, from which the host computes the activation again.

The coefficients go frequency by frequency in the zigzag order of JPEG (ITU-T T.81, figure 5). Each frequency begins with the
first colour of all blocks; for each further colour go the differences to the colour before. So zeros and repeated values lie
next to each other, where deflate finds them.
"""

from typing import Dict, Optional, Tuple

import numpy as np

from device.bundle.reader import Bundle
from device.defence.block_transform import BLOCK
from device.defence.defq import ZIGZAG, DefQ
from device.payload.base import PayloadForm, Sendable, Tensors, TensorTypes

# The level shift of JPEG by 128, which DefQ does not have: it keeps the first coefficient of a block small
GREY = np.float32(128 * BLOCK)
LARGEST = 127  # of a coefficient in units of its step: without -128, differences modulo 256 are unique


class Coefficients(PayloadForm):
    """The quantised DCT coefficients and their table. Only frames that DefQ has quantised have this form."""

    name = "coefficients"
    bits_per_number = 4
    # 85 bytes less than level 1 for some 20 us, and 6 us more than level 4; level 6 takes 20 us for another 6 bytes
    level = 5

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._quantisers: Dict[bytes, Tuple[DefQ, Optional[np.ndarray]]] = {}  # a table -> its DefQ, and steps_of it

    @classmethod
    def inputs(cls, bundle: Bundle) -> TensorTypes:
        channels, height, width = bundle.input_shape
        blocks = channels * -(-height // BLOCK) * -(-width // BLOCK)
        return {"coefficients": ("INT8", (BLOCK * BLOCK, blocks)), "steps": ("UINT8", (BLOCK * BLOCK,))}

    def can_send(self, frame: Sendable) -> bool:
        if frame.table is None or frame.pixels is None:
            return False
        return self._quantiser(frame.table)[1] is not None

    def tensors(self, frame: Sendable) -> Optional[Tensors]:
        if frame.table is None or frame.pixels is None:
            return None
        quantiser, steps = self._quantiser(frame.table)
        if steps is None:
            return None
        packed = packed_coefficients(quantiser.levels(frame.pixels), self.bundle.input_shape[0], steps)
        return None if packed is None else {"coefficients": packed, "steps": steps}

    def _quantiser(self, table: np.ndarray) -> Tuple[DefQ, Optional[np.ndarray]]:
        key = table.tobytes()
        if key not in self._quantisers:
            self._quantisers[key] = DefQ(table), steps_of(table)
        return self._quantisers[key]


def steps_of(table: np.ndarray) -> Optional[np.ndarray]:
    """A table as it is sent with the coefficients, uint8 (1, 64); None where a step is not whole or is above 255."""
    steps = table.reshape(1, -1).astype(np.uint8)
    return steps if np.array_equal(steps, table.reshape(1, -1)) else None


def packed_coefficients(levels: np.ndarray, channels: int, steps: np.ndarray) -> Optional[np.ndarray]:
    """Coefficients in the order in which they are sent.

    Args:
        levels: of DefQ.levels, float32 (blocks, 64), all blocks of one channel after the other. GREY is taken off the first
            column in place.
        steps: of steps_of.

    Returns:
        int8 (1, 64, blocks); None where a coefficient is outside -127..127, which no table with steps from 9 on gives.
    """
    levels[:, 0] -= np.rint(GREY / np.float32(steps[0, 0]))
    if np.abs(levels).max() > LARGEST:
        return None
    planes = levels.astype(np.int8).reshape(channels, -1, BLOCK * BLOCK)
    colours = planes.copy()
    colours[1:] -= planes[:-1]  # modulo 256
    return np.ascontiguousarray(colours.reshape(-1, BLOCK * BLOCK).T[ZIGZAG])[None]
