"""The form uint8: from an activation in 8 bits to the activation.

The host's graph must give the same bits as NumPy does, and the restored activation may differ from the activation by at most half
a quantisation step. The step is computed from the activation and the levels in the manifest, not from the range that the form
sends, so that a wrong scale, a swapped channel and a range that is cut off are all found.
"""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, helper

from device.errors import DataError
from device.payload.forms.uint8 import quantised, restored
from export.networks.weights import to_tensor
from export.onnx.forms.base import FLOAT, UINT8, Case, Restoration, Step, part
from export.onnx.parity import session
from export.onnx.parts import ExportedBlocks, model

QUANTISED = ("activation_uint8", "activation_range")
EPSILON = float(np.finfo(np.float32).eps)


def graph(exported: ExportedBlocks, split: int, _input_shape: tuple[int, ...]) -> ModelProto:
    """activation_uint8 uint8 (n, ...), activation_range float32 (n, 2) -> activation float32 (n, ...)."""
    shape = exported.shapes[split - 1]
    ones = [1] * len(shape)
    steps: list[Step] = [
        ("Cast", [QUANTISED[0]], "values", {"to": FLOAT}),
        ("Split", [QUANTISED[1]], "columns", {"axis": 1}),
        ("Reshape", ["lowest_", "scalar"], "lowest", {}),
        ("Reshape", ["step_", "scalar"], "step", {}),
        ("Mul", ["values", "step"], "above", {}),
        ("Add", ["above", "lowest"], "activation", {}),
    ]
    weights = {"scalar": np.array([-1, *ones], np.int64)}
    restore = part("restore/", steps, weights, {name: name for name in (*QUANTISED, "activation")})
    restore.nodes[1].output[:] = ["restore/lowest_", "restore/step_"]
    made = helper.make_graph(
        restore.nodes,
        "from_uint8",
        [
            helper.make_tensor_value_info(QUANTISED[0], UINT8, ["batch", *shape]),
            helper.make_tensor_value_info(QUANTISED[1], FLOAT, ["batch", 2]),
        ],
        [helper.make_tensor_value_info("activation", FLOAT, ["batch", *shape])],
        restore.weights,
    )
    return model(made, "Before the tail, for activations that come as uint8.")


def restorations(case: Case) -> Iterator[Restoration]:
    """Restore the activation of each frame.

    Raises:
        DataError: the graph computes otherwise than NumPy, or a value is restored with a larger error than half a step.
    """
    from_uint8 = session(case.graph)
    for index, image in enumerate(to_tensor(case.frames).numpy()):
        activation = case.activation(image[None])
        packed = quantised(activation, case.levels)
        back = from_uint8.run(None, {"activation_uint8": packed.values, "activation_range": packed.range})[0]
        if not np.array_equal(restored(packed), back):
            raise DataError(
                f"activations from uint8 differ from NumPy for frame {index} of the {case.origin}; expected the same; "
                "report this with the versions of onnxruntime and numpy"
            )
        bound = check_restored(activation, back, case.levels, f"frame {index} of the {case.origin}")
        yield Restoration(activation, back, bound)


def check_restored(activation: np.ndarray, back: np.ndarray, levels: int, name: str) -> float:
    """Compare a restored activation with the activation, each float32 (1, ...).

    Args:
        name: of the frame, for the error.

    Returns:
        The bound: half a quantisation step, in the activation's units.

    Raises:
        DataError: a value differs by more than half a step, beyond what float32 rounds.
    """
    exact = activation.astype(np.float64)
    step = float(exact.max() - exact.min()) / levels
    bound = step / 2
    rounding = 3 * EPSILON * (levels * step + float(np.abs(exact).max()))
    worst = np.abs(back.astype(np.float64) - exact).max()
    if not worst <= bound + rounding:  # also for values that are no numbers
        raise DataError(
            f"uint8: the activation of {name} is restored with an error of {worst:.3g}; expected at most {bound:.3g}, half a "
            f"step of its range over {levels} levels; report this with the model"
        )
    return bound
