"""Checks a bundle's graphs in ONNX Runtime: the exits against PyTorch, fused DefQ and the payload forms against NumPy."""

import numpy as np
import onnx
import onnxruntime

from device.errors import DataError
from device.payload import packed_coefficients, quantised, restored, steps_of
from device.quantization import DefQ
from export.calibration import early_exit, score
from export.networks import SDN
from export.weights import to_tensor

HEAD_OUTPUTS = ["label", "confidence", "exit", "activation"]
LEAST_AGREEMENT = 0.995
LEAST_SAME_LABEL = 0.98  # of payload forms: uint8 moves exits of frames at the threshold, and a label with some of them
MOST_HALF_WAY = 1e-4  # of pixels; found: 1 of 614,400 on a processor without AVX-512, none with it


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """One thread, quiet, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_split(
    head: onnxruntime.InferenceSession, tail: onnxruntime.InferenceSession, images: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head and, where it does not leave, tail, image by image.

    Args:
        images: float32 (n, c, h, w) in [0, 1].

    Returns:
        1-based exit int64 (n,), label int64 (n,), confidence float32 (n,).
    """
    answers = []
    limit = np.array([threshold], np.float32)
    extra = _without_defq(head)
    for image in images:
        label, confidence, exit_, activation = head.run(
            HEAD_OUTPUTS, {"image": image[None], "threshold": limit, **extra}
        )
        if exit_[0] == 0:
            label, confidence, exit_ = tail.run(None, {"activation": activation, "threshold": limit[None]})
        answers.append((exit_[0], label[0], confidence[0]))
    exits, labels, confidences = zip(*answers, strict=True)
    return np.array(exits), np.array(labels), np.array(confidences)


def check_exits(
    network: SDN, models: dict[str, onnx.ModelProto], split: int, threshold: float, frames: np.ndarray, origin: str
) -> None:
    """Compare both heads and the tail with PyTorch and print the agreement and the worst difference.

    Raises:
        DataError: exit and label agree on fewer than 99.5 % of the frames (ties at the threshold explain the rest).
    """
    scores = score(network, frames)
    exits, labels = early_exit(scores, threshold)
    expected = scores.confidences[exits, np.arange(len(exits))]
    tail = session(models["tail"])
    images = to_tensor(frames).numpy()
    for name in ("head", "head_flat"):
        found_exits, found_labels, confidences = run_split(session(models[name]), tail, images, threshold)
        same = (found_exits == exits + 1) & (found_labels == labels)
        worst = float(np.abs(confidences - expected)[same].max(initial=0))
        print(
            f"{name} and tail agree with PyTorch on {same.mean():.1%} of {len(frames)} {origin}; worst difference of a confidence {worst:.1e}"
        )
        if same.mean() < LEAST_AGREEMENT:
            at = int(np.flatnonzero(~same)[0])
            raise DataError(
                f"{name} and tail agree with PyTorch on {same.mean():.1%} of {len(frames)} {origin}; expected at least {LEAST_AGREEMENT:.1%}; "
                f"the first that differs is {at}: exit {found_exits[at]} label {found_labels[at]}, PyTorch exit {exits[at] + 1} label {labels[at]}; report this with the model"
            )


def check_defq(head: onnx.ModelProto, steps: np.ndarray, frames: np.ndarray, origin: str) -> None:
    """Compare the pixels of a head's own DefQ with those of NumPy.

    Raises:
        DataError: more pixels differ, or by more, than rounding explains.
    """
    fused, defq = _pixels_of(head), DefQ(steps)
    found = [fused.run(["pixels"], {"image": image[None]})[0][0] for image in to_tensor(frames).numpy()]
    _compare_pixels("DefQ inside the head", found, [defq.planes(frame).copy() for frame in frames], origin)


def _compare_pixels(name: str, found: list[np.ndarray], expected: list[np.ndarray], origin: str) -> None:
    """``found`` float32 in [0, 1], ``expected`` uint8, each (c, h, w). A pixel that lies half way between two levels, up to
    float32, may fall to either side: processors add products in different orders.

    Raises:
        DataError: a pixel differs by more than one level, or more than MOST_HALF_WAY of them differ.
    """
    apart = [
        np.abs(np.rint(pixels * 255).astype(np.int16) - planes) for pixels, planes in zip(found, expected, strict=True)
    ]
    different = sum(np.count_nonzero(each) for each in apart)
    total = sum(each.size for each in apart)
    worst = max((int(each.max()) for each in apart), default=0)
    print(f"{name} differs from NumPy in {different} of {total} pixels of {len(apart)} {origin}")
    if worst > 1 or different > max(1, MOST_HALF_WAY * total):
        raise DataError(
            f"{name} differs from NumPy in {different} of {total} pixels, by up to {worst} levels; expected at most "
            f"{MOST_HALF_WAY:.2%}, by 1, where rounding is undecided; report this with the versions of onnxruntime and numpy"
        )


def check_forms(
    models: dict[str, onnx.ModelProto],
    steps: np.ndarray,
    levels: int,
    threshold: float,
    frames: np.ndarray,
    origin: str,
) -> None:
    """Compare the payload forms with NumPy: uint8 to the bit, coefficients to the pixel; and say how often the tail
    answers as with float32.

    Raises:
        DataError: a bit differs, more pixels than rounding explains, or the label of more than 2 % of the frames.
    """
    head, tail = session(models["head"]), session(models["tail"])
    from_uint8, from_coefficients = session(models["from_uint8"]), session(models["from_coefficients"])
    rebuilt = _pixels_of(models["from_coefficients"])
    defq, table = DefQ(steps), steps_of(np.asarray(steps, np.float32))
    off = _without_defq(head)
    answers: dict[str, list[bool]] = {"uint8": [], "coefficients": []}
    planes: list[np.ndarray] = []
    back_to_pixels: list[np.ndarray] = []

    def label(activation: np.ndarray) -> int:
        limit = np.full((1, 1), threshold, np.float32)
        return int(tail.run(["label"], {"activation": activation, "threshold": limit})[0][0])

    def through_head(image: np.ndarray) -> list[np.ndarray]:
        """Activation, its values and its range, of an image that leaves nowhere."""
        names = ["activation", "activation_uint8", "activation_range"]
        found: list[np.ndarray] = head.run(names, {"image": image, "threshold": np.full(1, 2, np.float32), **off})
        return found

    for frame, image in zip(frames, to_tensor(frames).numpy(), strict=True):
        activation, values, pair = through_head(image[None])
        packed = quantised(activation, levels)
        back = from_uint8.run(None, {"activation_uint8": values, "activation_range": pair})[0]
        same = np.array_equal(packed.values, values) and np.array_equal(packed.range, pair)
        if not same or not np.array_equal(restored(packed), back):
            raise DataError(
                f"activations as uint8 differ from NumPy for frame {len(answers['uint8'])} of the {origin}; expected the same; "
                "report this with the versions of onnxruntime and numpy"
            )
        answers["uint8"].append(label(back) == label(activation))
        coefficients = None if table is None else packed_coefficients(defq.levels(frame), image.shape[0], table)
        if coefficients is None:
            continue  # such a frame goes as uint8
        feed = {"coefficients": coefficients, "steps": table}
        planes.append(defq.planes(frame).copy())
        pixels = planes[-1][None] / np.float32(255)
        back_to_pixels.append(rebuilt.run(["pixels"], feed)[0][0])
        activation = from_coefficients.run(None, feed)[0]
        answers["coefficients"].append(label(activation) == label(through_head(pixels)[0]))
    _compare_pixels("DefQ by way of coefficients", back_to_pixels, planes, origin)
    for form, same_label in answers.items():
        share = float(np.mean(same_label)) if same_label else 1.0
        print(f"{form}: the tail answers as with float32 on {share:.1%} of {len(same_label)} {origin}")
        if share < LEAST_SAME_LABEL:
            raise DataError(
                f"{form}: the tail answers as with float32 on {share:.1%} of {len(same_label)} {origin}; expected at least "
                f"{LEAST_SAME_LABEL:.0%}; report this with the model"
            )


def _pixels_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A graph that gives its inner tensor ``pixels``, what the network is shown, alone."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, None))
    return session(probe)


def _without_defq(head: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """What switches fused DefQ off; nothing for other heads."""
    fused = any(each.name == "defq" for each in head.get_overridable_initializers())
    return {"defq": np.array([False])} if fused else {}
