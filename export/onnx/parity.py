"""Checks a bundle's graphs in ONNX Runtime: the exits against PyTorch, fused DefQ against NumPy.

export/onnx/parity_forms.py checks the payload forms.
"""

import numpy as np
import onnx
import onnxruntime

from device.defence.defq import DefQ
from device.engines.onnx_runtime import int8_precision
from device.errors import DataError
from export.calibration.cost import ExitScores, early_exit, score
from export.networks.sdn import SDN
from export.networks.weights import to_tensor
from export.onnx.rounding import undecided

LEAST_AGREEMENT = 0.995
TIE = 1e-4
"""Difference of a confidence and the threshold up to which float32 may decide either way; the largest found is 2.4e-6."""


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session with one thread on the CPU, which logs errors only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(*int8_precision())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_split(
    head: onnxruntime.InferenceSession, tail: onnxruntime.InferenceSession | None, images: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head and, where it does not leave, tail, image by image.

    Args:
        tail: None for a head that is the whole network.
        images: float32 (n, c, h, w) in [0, 1].

    Returns:
        1-based exit int64 (n,), label int64 (n,), confidence float32 (n,).
    """
    answers = []
    limit = np.array([threshold], np.float32)
    extra = without_defq(head)
    for image in images:
        label, confidence, exit_, *activation = head.run(None, {"image": image[None], "threshold": limit, **extra})
        if tail is not None and exit_[0] == 0:
            label, confidence, exit_ = tail.run(None, {"activation": activation[0], "threshold": limit[None]})
        answers.append((exit_[0], label[0], confidence[0]))
    exits, labels, confidences = zip(*answers, strict=True)
    return np.array(exits), np.array(labels), np.array(confidences)


def check_exits(
    network: SDN, models: dict[str, onnx.ModelProto], split: int, threshold: float, frames: np.ndarray, origin: str
) -> None:
    """Compare both heads, and the tail where there is one, with PyTorch and print the agreement and the worst difference.

    Frames with a confidence within TIE of the threshold are left out, because float32 may decide either way.

    Raises:
        DataError: exit and label agree on fewer than 99.5 % of the other frames.
    """
    scores = score(network, frames)
    for name in ("head", "head_flat"):
        compare_exits(scores, "PyTorch", name, models[name], models.get("tail"), threshold, frames, origin)


def compare_exits(
    scores: ExitScores,
    reference: str,
    name: str,
    head: onnx.ModelProto,
    tail: onnx.ModelProto | None,
    threshold: float,
    frames: np.ndarray,
    origin: str,
) -> None:
    """Compare a head and a tail with scores of the same frames, as ``check_exits`` does.

    Args:
        scores: of all exits; ``reference`` says what computed them.
        name: of the head, for the messages.
        tail: None where the head has all exits.

    Raises:
        DataError: exit and label agree on fewer than 99.5 % of the frames that are not tied.
    """
    exits, labels = early_exit(scores, threshold)
    expected = scores.confidences[exits, np.arange(len(exits))]
    decided = ~tied(scores, exits, threshold)
    images = to_tensor(frames).numpy()
    found_exits, found_labels, confidences = run_split(
        session(head), session(tail) if tail else None, images, threshold
    )
    same = (found_exits == exits + 1) & (found_labels == labels)
    worst = float(np.abs(confidences - expected)[same].max(initial=0))
    share = float(same[decided].mean()) if decided.any() else 1.0
    verb = "and tail agree" if tail else "agrees"
    sentence = f"{name} {verb} with {reference} on {share:.1%} of {decided.sum()} {origin}"
    print(f"{sentence}; worst difference of a confidence {worst:.1e}")
    if share < LEAST_AGREEMENT:
        at = int(np.flatnonzero(decided & ~same)[0])
        raise DataError(
            f"{sentence}; expected at least {LEAST_AGREEMENT:.1%}; the first that differs is {at}: exit {found_exits[at]} "
            f"label {found_labels[at]}, {reference} exit {exits[at] + 1} label {labels[at]}; report this with the model"
        )


def tied(scores: ExitScores, exits: np.ndarray, threshold: float) -> np.ndarray:
    """The frames that may leave earlier or later through rounding alone, bool (n,).

    Args:
        exits: where each frame leaves, from 0, as early_exit says.
    """
    near: np.ndarray = np.abs(scores.confidences[:-1] - threshold) <= TIE  # every frame leaves at the final exit
    reached = np.arange(len(near))[:, None] <= exits
    found: np.ndarray = np.any(near & reached, axis=0)
    return found


def check_defq(head: onnx.ModelProto, steps: np.ndarray, frames: np.ndarray, origin: str) -> None:
    """Compare the pixels of a head's own DefQ with those of NumPy.

    Raises:
        DataError: pixels differ where rounding is decided.
    """
    fused, defq = pixels_of(head), DefQ(steps)
    found = [fused.run(["pixels"], {"image": image[None]})[0][0] for image in to_tensor(frames).numpy()]
    expected = [defq.planes(frame).copy() for frame in frames]
    compare_pixels("DefQ inside the head", found, expected, list(frames), steps, origin)


def compare_pixels(
    name: str,
    found: list[np.ndarray],
    expected: list[np.ndarray],
    frames: list[np.ndarray],
    steps: np.ndarray,
    origin: str,
) -> None:
    """Compare pixels of a graph with those of NumPy.

    They may differ where float32 may round either way (export/onnx/rounding.py), because forms and processors add products
    in different orders.

    Args:
        name: of what is compared, for the messages.
        found: float32 in [0, 1], each (c, h, w).
        expected: uint8, each (c, h, w).
        frames: what was quantised, uint8, each (h, w, c), and the table ``steps`` (8, 8).

    Raises:
        DataError: a pixel differs where rounding is decided, or by more than it explains.
    """
    different, wrong, worst = 0, 0, 0
    for pixels, planes, frame in zip(found, expected, frames, strict=True):
        apart = np.abs(np.rint(pixels * 255).astype(np.int16) - planes)
        if not apart.any():
            continue
        either_way = undecided(frame, steps)
        unexplained = np.where(either_way.coefficients, 0, apart - either_way.pixels) > 0
        different += int(np.count_nonzero(apart))
        wrong += int(np.count_nonzero(unexplained))
        worst = max(worst, int(apart[unexplained].max(initial=0)))
    total = sum(each.size for each in expected)
    print(f"{name} differs from NumPy in {different} of {total} pixels of {len(expected)} {origin}")
    if wrong:
        raise DataError(
            f"{name} differs from NumPy in {wrong} of {total} pixels that rounding does not explain, by up to {worst} levels; "
            "expected the same; report this with the versions of onnxruntime and numpy"
        )


def pixels_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session whose only output is the inner tensor ``pixels`` of a graph: what the network is shown."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, None))
    return session(probe)


def without_defq(head: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """The inputs that switch DefQ off inside a head; none for heads without DefQ."""
    fused = any(each.name == "defq" for each in head.get_overridable_initializers())
    return {"defq": np.array([False])} if fused else {}
