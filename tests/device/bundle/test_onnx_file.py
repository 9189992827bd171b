"""Taking a default value out of an ONNX file without the onnx package."""

import pytest

from device.bundle.onnx_file import without_initializer


def test_an_initialiser_is_taken_out_once(bundle):
    model = bundle.read("head_flat")
    shorter = without_initializer(model, "threshold")
    assert len(model) - 100 < len(shorter) < len(model)
    assert without_initializer(shorter, "threshold") is shorter
    assert without_initializer(model, "no such") is model


@pytest.mark.parametrize("model", [b"", b"no graph", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x05\x2a\x7f", b"\x08\x07"])
def test_what_is_no_onnx_file(model):
    with pytest.raises(ValueError):  # noqa: PT011
        without_initializer(model, "threshold")
