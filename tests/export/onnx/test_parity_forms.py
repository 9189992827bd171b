"""A broken payload form is refused on any frames, and a frame at a tie is no fault of a form."""

import numpy as np
import onnx
import pytest

from device.errors import DataError
from device.payload.forms import FORMS, FP32
from device.payload.forms.uint8 import quantised, restored
from export.networks.weights import to_tensor
from export.onnx import graphs, parts
from export.onnx.forms import uint8
from export.onnx.forms.base import Restoration
from export.onnx.forms.find import form_graphs, form_modules
from export.onnx.forms.uint8 import check_restored
from export.onnx.parity import session
from export.onnx.parity_forms import TailAnswers, check_forms
from tests import tiny

THRESHOLD = 0.62
TABLE = tiny.TABLE.steps
CHANNELS = 6


@pytest.fixture
def models():
    """New ones for each test, which breaks them."""
    exported = parts.export_blocks(tiny.network())
    return {
        "head": graphs.nested_head(exported, 2, tiny.SHAPE, THRESHOLD),
        "tail": graphs.tail(exported, 2),
        **form_graphs(exported, 2, tiny.SHAPE),
    }


def check(models, frames=None, levels=255, threshold=THRESHOLD):
    check_forms(models, TABLE, levels, threshold, tiny.frames() if frames is None else frames, "frames")


def append(model, operator, values, **attributes):
    """One more node before a graph's output ``activation``."""
    for node in model.graph.node:
        node.output[:] = ["whole" if name == "activation" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node(operator, ["whole", "more"], ["activation"], **attributes))
    model.graph.initializer.append(parts.constant("more", values))


SWAPPED = np.array([1, 0, *range(2, CHANNELS)])
FAULTS = {
    "a wrong scale": (("Mul", np.array(1.02, np.float32), {}), lambda whole: whole * np.float32(1.02)),
    "an offset": (("Add", np.array(0.02, np.float32), {}), lambda whole: whole + np.float32(0.02)),
    "a swapped channel": (("Gather", SWAPPED, {"axis": 1}), lambda whole: whole[:, SWAPPED]),
    "a range cut off": (("Min", np.array(1.0, np.float32), {}), lambda whole: np.minimum(whole, np.float32(1))),
    "no number": (("Mul", np.array(np.nan, np.float32), {}), lambda whole: whole * np.float32(np.nan)),
}


def test_the_forms_as_they_are_pass(models, capsys):
    check(models)
    said = capsys.readouterr().out
    assert "uint8: the tail answers as with float32 on 60 of 60 frames" in said
    assert "coefficients: the tail answers as with float32 on 60 of 60 frames" in said


def test_every_form_of_the_device_has_a_graph_and_a_check():
    assert {FP32, *form_modules()} == set(FORMS)
    for module in form_modules().values():
        assert callable(module.graph)
        assert callable(module.restorations)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_that_restores_otherwise_than_numpy_is_refused(models, fault):
    (operator, values, attributes), _ = FAULTS[fault]
    append(models["from_uint8"], operator, values, **attributes)
    with pytest.raises(DataError, match="activations from uint8 differ from NumPy for frame 0"):
        check(models)


@pytest.mark.parametrize("fault", [each for each in FAULTS if each != "no number"])  # NaN is not equal to itself
@pytest.mark.parametrize("frames", ["patches", "grey", "noise"])
def test_a_form_that_is_wrong_in_graph_and_numpy_alike_is_refused(models, monkeypatch, fault, frames):
    """The head and the host make the same mistake, so that only a comparison with the activation itself finds it."""
    shown = {
        "patches": tiny.frames(),
        "grey": np.full((3, 16, 16, 3), 128, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8),
    }
    (operator, values, attributes), same_in_numpy = FAULTS[fault]
    append(models["from_uint8"], operator, values, **attributes)
    monkeypatch.setattr(uint8, "restored", lambda packed: same_in_numpy(restored(packed)))
    with pytest.raises(DataError, match="uint8: the activation of frame 0 of the frames is restored with an error of"):
        check(models, shown[frames])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_that_computes_otherwise_from_coefficients_is_refused(models, fault):
    (operator, values, attributes), _ = FAULTS[fault]
    append(models["from_coefficients"], operator, values, **attributes)
    with pytest.raises(DataError, match="coefficients: the activation of frame 0 of the frames differs"):
        check(models)


def test_another_order_of_coefficients_is_refused(models):
    for weight in models["from_coefficients"].graph.initializer:
        if weight.name == "rebuild/order":
            weight.CopyFrom(parts.constant(weight.name, np.arange(64)))
    with pytest.raises(
        DataError, match="DefQ by way of coefficients differs from NumPy in .* levels; expected the same"
    ):
        check(models)


@pytest.mark.parametrize("levels", [255, 63, 1])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-20, 0), (1e20, 0), (1, 1e4), (1e-3, -1e4), (0, 3)])
def test_the_bound_is_half_a_step_whatever_the_range(levels, scale, offset):
    generator = np.random.default_rng(0)
    activation = (generator.normal(size=(1, 4, 9, 9)) * scale + offset).astype(np.float32)
    back = restored(quantised(activation, levels))
    bound = check_restored(activation, back, levels, "frame 0")
    assert bound == pytest.approx(float(activation.max() - activation.min()) / levels / 2, rel=1e-6)


def test_an_error_of_more_than_half_a_step_is_refused():
    activation = np.linspace(-1, 1, 256, dtype=np.float32)[None]
    back = activation.copy()
    back[0, 17] += 0.499 * 2 / 255
    assert check_restored(activation, back, 255, "frame 0") == pytest.approx(1 / 255)
    back[0, 17] = activation[0, 17] - np.float32(0.501 * 2 / 255)
    with pytest.raises(DataError, match=r"restored with an error of .*; expected at most 0.00392, half a step"):
        check_restored(activation, back, 255, "frame 0")


def test_a_label_that_changes_at_a_tie_is_no_fault(models, capsys):
    """The threshold lies between a confidence and the same after uint8: the frame leaves at another exit, every time."""
    head, tail = session(models["head"]), session(models["tail"])
    never = np.full((2, 1), 2, np.float32)
    for frame in tiny.frames():
        image = to_tensor(frame[None]).numpy()
        activation = head.run(["activation"], {"image": image, "threshold": never[0]})[0]
        both = np.concatenate([activation, restored(quantised(activation, 255))])
        confidence = tail.run(["confidence"], {"activation": both, "threshold": np.zeros((2, 1), np.float32)})[0]
        if abs(confidence[0] - confidence[1]) > 1e-5:
            break
    check(models, np.stack([frame] * 40), threshold=float(confidence.mean()))
    assert "uint8: the tail answers as with float32 on 0 of 40 frames, and otherwise on 40 at a tie" in (
        capsys.readouterr().out
    )


def test_answers_that_change_without_a_tie_are_refused(models):
    """The bound on activations is switched off here, so that the comparison of answers is tested alone."""
    head = session(models["head"])
    images = to_tensor(tiny.frames()).numpy()
    activations = [
        head.run(["activation"], {"image": each[None], "threshold": np.full(1, 2, np.float32)})[0] for each in images
    ]
    answers = TailAnswers("uint8", session(models["tail"]), THRESHOLD)
    for activation in activations:
        answers.add(Restoration(activation, activations[0], 1e-6))
    with pytest.raises(DataError, match=r"otherwise on \d at a tie and \d\d at none; expected at most 1% at none"):
        answers.check("frames")
