"""Checks a bundle's graphs in ONNX Runtime: the exits against PyTorch, fused DefQ against NumPy to the pixel."""

import numpy as np
import onnx
import onnxruntime

from device.errors import DataError
from device.quantization import DefQ
from export.calibration import early_exit, score
from export.networks import SDN
from export.weights import to_tensor

LEAST_AGREEMENT = 0.995


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
    extra = (
        {"defq": np.array([False])} if any(each.name == "defq" for each in head.get_overridable_initializers()) else {}
    )
    for image in images:
        label, confidence, exit_, activation = head.run(None, {"image": image[None], "threshold": limit, **extra})
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
        DataError: any pixel differs.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(head)
    del probe.graph.output[:]
    channels, height, width = (dim.dim_value for dim in probe.graph.input[0].type.tensor_type.shape.dim[1:])
    probe.graph.output.append(
        onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1, channels, height, width])
    )
    fused, defq = session(probe), DefQ(steps)
    different = 0
    for frame, image in zip(frames, to_tensor(frames).numpy(), strict=True):
        pixels = fused.run(["pixels"], {"image": image[None]})[0][0]
        different += int((np.rint(pixels * 255).astype(np.uint8) != defq.planes(frame)).sum())
    print(f"DefQ inside the head differs from NumPy in {different} of {frames.size} pixels of {len(frames)} {origin}")
    if different:
        raise DataError(
            f"DefQ inside the head differs from NumPy in {different} of {frames.size} pixels; expected none; report this with the versions of onnxruntime and numpy"
        )
