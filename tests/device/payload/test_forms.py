import json
import zlib

import numpy as np
import pytest

from device.defence.defq import ZIGZAG, DefQ, block_dct_matrix
from device.payload.forms import (
    COEFFICIENTS,
    FP32,
    UINT8,
    Alternatives,
    Encoder,
    deflated,
    forms_among,
    inputs_of,
    listed_forms,
    packed_coefficients,
    quantised,
    restored,
    steps_of,
)
from device.protocol.messages import decode_request, encode_request

THRESHOLD = np.full((1, 1), 0.62, np.float32)


@pytest.fixture
def activation():
    return np.maximum(np.random.RandomState(1).normal(0, 3, (1, 6, 8, 8)), 0).astype(np.float32)


def read(payload):
    """The tensors of a payload, as a host reads them."""
    body = zlib.decompress(payload.body) if payload.encoding == "deflate" else payload.body
    return decode_request(body, payload.header_length).tensors


@pytest.mark.parametrize("levels", [1, 63, 127, 255])
def test_uint8_uses_the_whole_range_and_is_off_by_half_a_step_at_most(levels):
    values = np.random.RandomState(0).normal(2, 5, (4, 3, 5, 7)).astype(np.float32)
    packed = quantised(values, levels)
    assert packed.values.dtype == np.uint8
    assert packed.range.shape == (4, 2)
    for each in packed.values:
        assert (each.min(), each.max()) == (0, levels)
    off = np.abs(restored(packed) - values).reshape(4, -1).max(1)
    assert (off <= packed.range[:, 1] * 0.5001).all()


def test_zeros_behind_a_relu_stay_zeros_and_flat_activations_stay_what_they_are(activation):
    packed = quantised(activation, 255)
    assert packed.range[0, 0] == 0
    assert (restored(packed)[activation == 0] == 0).all()
    for value in (0.0, -2.5, 1e30):
        flat = np.full((2, 3), value, np.float32)
        np.testing.assert_array_equal(restored(quantised(flat, 255)), flat)


@pytest.mark.parametrize("form", [COEFFICIENTS, UINT8, FP32])
def test_a_form_computes_what_it_sends_and_nothing_else(bundle, frames, activation, monkeypatch, form):
    """Work for one form is not paid by frames that are sent in another."""
    called = []
    for step in (quantised, packed_coefficients, deflated):

        def noted(*given, _step=step):
            called.append(_step)
            return _step(*given)

        monkeypatch.setattr("device.payload.forms." + step.__name__, noted)
    Encoder(bundle).encode(activation, THRESHOLD, form, Alternatives(frames[0], bundle.table))
    expected = {COEFFICIENTS: [packed_coefficients, deflated], UINT8: [quantised, deflated], FP32: []}
    assert called == expected[form]


def test_zigzag_is_that_of_jpeg():
    assert ZIGZAG[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert ZIGZAG[-3:].tolist() == [55, 62, 63]
    assert sorted(ZIGZAG) == list(range(64))


def unpacked(coefficients, steps, channels, height, width):
    """DefQ's pixels from what is sent, in plain NumPy: uint8 (channels, height, width)."""
    rows, columns = -(-height // 8), -(-width // 8)
    lines = np.empty((64, channels, rows * columns), np.int64)
    lines[ZIGZAG] = coefficients[0].reshape(64, channels, -1)
    levels = (np.cumsum(lines, axis=1) + 128) % 256 - 128
    levels[0] += int(np.rint(1024 / steps[0, 0]))
    blocks = levels.transpose(1, 2, 0).reshape(-1, 64) * steps.astype(np.float32)
    pixels = np.clip(np.rint(np.dot(blocks.astype(np.float32), block_dct_matrix())), 0, 255).astype(np.uint8)
    planes = pixels.reshape(channels, rows, columns, 8, 8).swapaxes(2, 3).reshape(channels, rows * 8, columns * 8)
    return planes[:, :height, :width]


@pytest.mark.parametrize("shape", [(16, 16, 3), (13, 21, 3), (8, 8, 1), (40, 3, 3)])
@pytest.mark.parametrize("first", [9, 20])
def test_pixels_come_back_from_coefficients(shape, first):
    table = np.add.outer(np.arange(8), np.arange(8)).astype(np.float32) * 2 + first
    defq = DefQ(table)
    random = np.random.RandomState(0)
    frames = [random.randint(0, 256, shape).astype(np.uint8) for _ in range(20)]
    # black beside white in one colour, the other way round in the next: differences that wrap
    frames += [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]
    frames += [np.broadcast_to(np.array([255, 0, 255][: shape[2]], np.uint8), shape).copy()]
    for frame in frames:
        packed = packed_coefficients(defq.levels(frame), shape[2], steps_of(table))
        assert (packed.dtype, packed.shape) == (np.int8, (1, 64, shape[2] * -(-shape[0] // 8) * -(-shape[1] // 8)))
        found = unpacked(packed, steps_of(table), shape[2], shape[0], shape[1])
        np.testing.assert_array_equal(found, defq.planes(frame))


def test_what_does_not_fit_a_byte_is_not_sent_as_coefficients(bundle, activation):
    fine = np.full((8, 8), 8, np.float32)  # black is -1024 / 8 = -128
    black = np.zeros((16, 16, 3), np.uint8)
    assert packed_coefficients(DefQ(fine).levels(black), 3, steps_of(fine)) is None
    for frame in (black, black + 255):
        assert packed_coefficients(DefQ(fine + 1).levels(frame), 3, steps_of(fine + 1)) is not None
    assert steps_of(np.full((8, 8), 20.5, np.float32)) is None
    assert steps_of(np.full((8, 8), 256, np.float32)) is None
    encoder = Encoder(bundle)
    for table in (fine, np.full((8, 8), 20.5, np.float32)):
        payload = encoder.encode(activation, THRESHOLD, COEFFICIENTS, Alternatives(black, table))
        assert payload.form == UINT8
        assert set(read(payload)) == {"activation_uint8", "activation_range", "threshold"}


def test_bodies_hold_what_the_form_says(bundle, frames, activation):
    encoder = Encoder(bundle)
    others = Alternatives(frames[0], bundle.table)
    sizes = []
    for form in (COEFFICIENTS, UINT8, FP32):
        payload = encoder.encode(activation, THRESHOLD, form, others)
        assert payload.form == form
        tensors = read(payload)
        assert {name: array.shape[1:] for name, array in tensors.items() if name != "threshold"} == {
            name: shape for name, (_, shape) in inputs_of(form, bundle).items()
        }
        np.testing.assert_array_equal(tensors["threshold"], THRESHOLD)
        sizes.append(len(payload.body))
    plain = encode_request({"activation": activation, "threshold": THRESHOLD}, ("label", "confidence", "exit"))
    assert (payload.body, payload.header_length, payload.encoding) == (*plain, "")
    assert sizes[0] < sizes[1] < sizes[2]


def test_coefficients_are_of_the_frames_own_table(bundle, frames, activation):
    encoder = Encoder(bundle)
    for step in (30, 40, 30):
        table = np.full((8, 8), step, np.float32)
        tensors = read(encoder.encode(activation, THRESHOLD, COEFFICIENTS, Alternatives(frames[0], table)))
        assert tensors["steps"].tolist() == [[step] * 64]
        expected = packed_coefficients(DefQ(table).levels(frames[0]), 3, steps_of(table))
        np.testing.assert_array_equal(tensors["coefficients"], expected)


def test_forms_that_a_host_and_a_frame_can_have(bundle, frames):
    everything = [name for form in (FP32, UINT8, COEFFICIENTS) for name in inputs_of(form, bundle)]
    assert forms_among(everything, bundle) == [COEFFICIENTS, UINT8, FP32]
    assert forms_among(["activation", "threshold"], bundle) == [FP32]
    assert forms_among(["activation_uint8"], bundle) == [FP32]
    assert forms_among(["activation", "threshold"], bundle, [UINT8, "of a later release"]) == [UINT8, FP32]
    encoder = Encoder(bundle)
    forms = [COEFFICIENTS, UINT8, FP32]
    assert encoder.possible(forms, Alternatives(frames[0], bundle.table)) == forms
    assert encoder.possible(forms, Alternatives(frames[0], None)) == [UINT8, FP32]
    assert encoder.possible(forms, Alternatives(frames[0], np.full((8, 8), 300, np.float32))) == [UINT8, FP32]


def test_headers_are_inside_what_is_deflated(bundle, activation):
    payload = Encoder(bundle).encode(activation, THRESHOLD, UINT8)
    plain = zlib.decompress(payload.body)
    header = json.loads(plain[: payload.header_length].decode())
    assert header["parameters"] == {"binary_data_output": True}
    assert [each["name"] for each in header["inputs"]] == ["activation_uint8", "activation_range", "threshold"]


@pytest.mark.parametrize(
    ("metadata", "forms"),
    [
        (b'{"parameters":{"payload_forms":["uint8","fp32"]}}', ["uint8", "fp32"]),
        (b'{"parameters":null}', []),
        (b'{"inputs":[]}', []),
        (b'{"parameters":{"payload_forms":null}}', []),
        (b'{"parameters":[]}', []),
        (b"[]", []),
        (b"\xff", []),
    ],
)
def test_forms_that_metadata_lists(metadata, forms):
    assert listed_forms(metadata) == forms
