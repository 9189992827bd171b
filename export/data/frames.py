"""Writes frames for the device's ``npz:`` source."""

import io
from pathlib import Path

import numpy as np
import torch

from export.data.output import write_output


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """float32 (n, 3, h, w) in [0, 1] -> uint8 (n, h, w, 3), as a camera or a file delivers them."""
    pixels: np.ndarray = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def write_frames(file: Path, frames: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Write frames uint8 (n, h, w, 3) and, if known, labels int64 (n,).

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.BytesIO()
    arrays = {"frames": frames} if labels is None else {"frames": frames, "labels": labels}
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_output(file, stream.getvalue())
