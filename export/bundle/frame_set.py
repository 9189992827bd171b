"""Makes the frame set of a bundle: clean frames, the same frames under attack, and one perturbation for all frames.

device/bundle/frame_set.py reads it.
"""

import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from device.bundle.frame_set import MAX_BYTES, FrameSet
from device.errors import DataError
from device.loop.exits import t3_er
from device.pictures.fit import STRETCH
from export.attacks.crafting import cached, craft
from export.attacks.linf import DeepSlothLinf
from export.attacks.universal import UniversalLinf
from export.calibration.card import ModelCard
from export.calibration.cost import early_exit, score
from export.data import cifar10, datasets
from export.data.classes import check_classes
from export.data.frames import to_pixels
from export.data.images import Dataset, Images
from export.networks.sdn import SDN, folded
from export.networks.weights import to_tensor

FILE = "frames.npz"
UNIVERSAL_IMAGES = 500
"""Images that the perturbation for all frames is learned from."""

_LINF, _UNIVERSAL = DeepSlothLinf(), UniversalLinf()


class MadeFrames(NamedTuple):
    """A frame set, and JSON-ready how it was made: the attacks with their settings, and the T3-ER of each kind of frames
    without a defence."""

    frames: FrameSet
    about: dict[str, Any]


def frames_of(
    network: SDN,
    card: ModelCard,
    rad: int,
    data: Dataset | str | Path | None,
    count: int,
    fit: str = STRETCH,
    group: str = "",
    source: str = cifar10.NAME,
    cache: Path | None = None,
) -> MadeFrames:
    """Make a frame set from the first ``count`` test images of a data set, or from all of them where it has fewer.

    Args:
        card: with the SHA-256 of the weights.
        rad: relative accuracy drop in percent; it names the threshold.
        data: a data set, the folder of one, or None for the places that datasets.load knows.
        fit, group, source: how images are brought to the size of the network and split, and which they are, as in
            datasets.load.
        cache: the folder that keeps attacked images (export/attacks/crafting.py).

    Raises:
        DataError: there are no data, or they are of other classes than the network.
    """
    found = datasets.given(data, network.input_shape[1:], fit, group, source=source)
    check_classes(network, found, card.classes)
    images = found.test.take(count)
    print(f"frame set: {len(images.labels)} of {len(found.test.labels)} test images; {found.order}", flush=True)
    threshold = float(card.thresholds[rad].threshold)
    made = make_frames(network, images, found.calibration, threshold, card.weights_sha256, cache)
    rates = ", ".join(f"{name} {rate:.2f}" for name, rate in made.about["t3_er"].items())
    print(f"frame set: T3-ER without a defence: {rates}", flush=True)
    return made._replace(about={"source": found.test_title(), "order": found.order, "rad": rad, **made.about})


def make_frames(
    network: SDN,
    images: Images,
    learn_on: Images,
    threshold: float,
    identity: str | None = None,
    cache: Path | None = None,
) -> MadeFrames:
    """Attack images and round the result to 8 bits, as a camera would deliver it.

    This takes minutes. The attacked images are kept for the next time (export/attacks/crafting.py).

    Args:
        network: in evaluation mode.
        images: the images of the frame set, at the input size of the network.
        learn_on: other images; the perturbation for all frames is learned from the first UNIVERSAL_IMAGES of them.
        threshold: confidence from which a frame leaves, for the T3-ER of each kind of frames.
        identity: SHA-256 of the file of the weights; where it is absent, that of the parameters takes its place.
        cache: the folder that keeps attacked images.

    Raises:
        DataError: images of another size than the network's input.
    """
    for each in (images, learn_on):
        _check_size(each.pixels, network.input_shape)
    identity = identity or _identity(network)
    network = folded(network)
    attacked = to_pixels(craft(_LINF, network, identity, to_tensor(images.pixels), cache))
    many = to_tensor(learn_on.pixels[:UNIVERSAL_IMAGES])
    delta = cached(f"{identity} {_UNIVERSAL!r}", many, lambda seed: _UNIVERSAL(network, many, seed), cache)
    universal: np.ndarray = np.rint(delta[0].permute(1, 2, 0).numpy() * 255).astype(np.int16)
    kinds = {
        "clean": images.pixels,
        "attacked": attacked,
        "universal": np.clip(images.pixels + universal, 0, 255).astype(np.uint8),
    }
    rates = {name: t3_er(early_exit(score(network, pixels), threshold)[0]) for name, pixels in kinds.items()}
    about = {
        "t3_er": {name: round(rate, 4) for name, rate in rates.items()},
        "threshold": threshold,
        "attack": {"name": "DeepSloth L-inf", **asdict(_LINF)},
        "universal": {"name": "DeepSloth universal L-inf", **asdict(_UNIVERSAL), "images": len(many)},
    }
    labels = images.labels.astype(np.int64)
    return MadeFrames(FrameSet(images.pixels, attacked, labels, universal, round(rates["universal"], 4)), about)


def pack_frames(made: MadeFrames, input_shape: tuple[int, int, int], classes: int) -> tuple[bytes, dict[str, Any]]:
    """Pack a frame set: the content of its file, and the member ``frames`` of the manifest.

    Args:
        input_shape: (channels, height, width) of the network.

    Raises:
        DataError: the arrays do not belong together, or not to the network.
    """
    frames = made.frames
    for pixels in (frames.clean, frames.attacked):
        _check_size(pixels, input_shape)
    labels, universal = frames.labels, frames.universal
    if not labels.shape == (len(frames.clean),) == (len(frames.attacked),):
        raise DataError(
            f"found {len(frames.clean)} clean and {len(frames.attacked)} attacked frames and labels {labels.shape}; "
            "expected as many of each"
        )
    if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"found labels {labels.dtype} from {labels.min()} to {labels.max()}; expected whole numbers from 0 to "
            f"{classes - 1}, the network's classes"
        )
    if universal is not None and (universal.dtype != np.int16 or universal.shape != frames.clean.shape[1:]):
        raise DataError(
            f"found a perturbation {universal.dtype} {universal.shape}; expected int16 {frames.clean.shape[1:]}"
        )
    arrays = {name: getattr(frames, name) for name in ("clean", "attacked", "labels", "universal")}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES - 4096:  # their headers
        raise DataError(
            f"found {len(labels)} frames of each kind, {size >> 20} MB; expected at most {MAX_BYTES >> 20} MB; take fewer"
        )
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    about = {"file": FILE, "count": len(labels), "universal_t3_er": frames.universal_t3_er, **made.about}
    return stream.getvalue(), about


def _check_size(pixels: np.ndarray, input_shape: tuple[int, int, int]) -> None:
    channels, height, width = input_shape
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, channels) or not len(pixels):
        raise DataError(
            f"found images {pixels.dtype} {pixels.shape}; expected uint8 (n, {height}, {width}, {channels}), "
            "the size of the network; resize them"
        )


def _identity(network: SDN) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + str(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
