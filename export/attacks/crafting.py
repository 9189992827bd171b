"""Crafting that survives a kill: attacked images are kept on disk under a hash of all that they follow from."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from device.errors import OutputError, UsageError
from export.attacks.adaptive import Defended
from export.attacks.base import PerSampleAttack
from export.data.download import cache_dir
from export.networks.bfloat16 import InBfloat16
from export.networks.sdn import SDN, folded

FOLDER = "attacks"
"""Of a model folder or of the cache."""


def attack_cache(model_folder: Path | None = None) -> Path:
    """$DEFQ_ATTACKS, else the folder FOLDER in a model folder, else the one beside the downloaded data."""
    return Path(os.environ.get("DEFQ_ATTACKS") or (model_folder or cache_dir()) / FOLDER)


def gradients() -> str:
    """In what per-sample attacks compute their gradients: $DEFQ_GRADIENTS, "float32" by default, or "bfloat16",
    which is emulated, 20 times slower, on processors without AVX-512.

    Raises:
        UsageError: another word.
    """
    name = os.environ.get("DEFQ_GRADIENTS") or "float32"
    if name not in ("float32", "bfloat16"):
        raise UsageError(f"found DEFQ_GRADIENTS={name}; expected float32 or bfloat16; set one of them, or nothing")
    return name


def craft(
    attack: PerSampleAttack, target: SDN | Defended, identity: str, images: Tensor, cache: Path | None = None
) -> Tensor:
    """Attack ``images`` batch by batch; a batch that was attacked before is read back.

    A batch is kept as float32 .npy, named after the SHA-256 of ``identity``, the type of ``gradients``, the attack with
    its settings and the batch's own pixels, so that more images, or a run that was killed, redo nothing. The hash also
    seeds the noise.

    Args:
        target: in evaluation mode.
        identity: what the target is: the SHA-256 of its weights and, if it is defended, the defence with its settings.
        images: float32 (n, c, h, w) in [0, 1].
        cache: the folder that keeps them; None: ``attack_cache()``.

    Raises:
        OutputError: the cache cannot be written. UsageError: $DEFQ_GRADIENTS names no such type.
    """
    network = folded(target.network if isinstance(target, Defended) else target)
    if gradients() == "bfloat16":
        network, identity = InBfloat16(network), f"{identity} in bfloat16"
    victim = Defended(network, target.defence, target.draws) if isinstance(target, Defended) else network
    parts = []
    with tqdm(total=len(images), desc=type(attack).__name__, unit=" images", mininterval=5, disable=None) as bar:
        for clean in torch.split(images, attack.batch):
            batch = clean.contiguous(memory_format=torch.channels_last)

            def build(seed: int, batch: Tensor = batch) -> Tensor:
                return attack(victim, batch, seed, progress=False)

            parts.append(cached(f"{identity} {attack!r}", clean, build, cache))
            bar.update(len(clean))
    return torch.cat(parts)


def cached(identity: str, images: Tensor, build: Callable[[int], Tensor], cache: Path | None = None) -> Tensor:
    """What ``build`` makes, read back if it was made before.

    Args:
        identity: all that the result follows from, beside ``images``.
        build: gets a seed that follows from both.
    """
    key = hashlib.sha256(identity.encode() + images.contiguous().numpy().tobytes()).hexdigest()
    file = (cache or attack_cache()) / f"{key}.npy"
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except (
        OSError,
        ValueError,
        EOFError,
        MemoryError,
        OverflowError,
    ):  # none there, or a damaged one, which is then made again
        made = build(int(key[:8], 16)).contiguous()
    _write(file, made.numpy())
    return made


def _write(file: Path, array: np.ndarray) -> None:
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            np.save(stream, array)
        partial.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"could not keep attacked images in {file.parent} ({error}); free some space or name another folder with DEFQ_ATTACKS"
        ) from error
