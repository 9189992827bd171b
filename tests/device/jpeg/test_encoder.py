"""JPEG files that hold the coefficients of DefQ, as several decoders read them."""

import io
import struct

import cv2
import numpy as np
import pytest

from device.commands.jpeg import decode
from device.defence.block_transform import block_dct_matrix
from device.defence.defq import ZIGZAG, DefQ
from device.errors import DataError, FrameError, UsageError
from device.jpeg.encoder import AC_COUNTS, AC_SYMBOLS, DC_COUNTS, DC_RULES, DC_SYMBOLS, JpegEncoder, huffman_codes

try:
    import PIL.Image as pillow
except ImportError:  # on a board
    pillow = None


Q_DEF = np.add.outer(np.arange(8), np.arange(8)) * 2 + 20  # 20 to 48, as a baked table; 20 does not divide 1024


def segments(content):
    """[(marker, body)] up to the scan, and the scan's bytes."""
    assert content[:2] == b"\xff\xd8"
    assert content[-2:] == b"\xff\xd9"
    found, place = [], 2
    while not found or found[-1][0] != 0xDA:
        first, marker, length = struct.unpack_from(">BBH", content, place)
        assert first == 0xFF
        found.append((marker, content[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, content[place:-2]


def coefficients(content):
    """Read a file as T.81 annex F.2 says, a bit at a time: int (channels, block rows, block columns, 64), dequantised."""
    found, scan = segments(content)
    parts = dict(found)
    _, height, width, channels = struct.unpack_from(">BHHB", parts[0xC0])
    assert b"\xff" not in scan.replace(b"\xff\x00", b"")
    data = scan.replace(b"\xff\x00", b"\xff")
    bits = iter("".join("{:08b}".format(each) for each in data))
    tables = []
    for counts, symbols in ((DC_COUNTS, DC_SYMBOLS), (AC_COUNTS, AC_SYMBOLS)):
        codes = huffman_codes(counts, symbols)
        tables.append({"{:0{}b}".format(code, length): symbol for symbol, (code, length) in codes.items()})

    def symbol(table):
        code = ""
        while code not in table:
            code += next(bits)
        return table[code]

    def magnitude(size):
        text = "".join(next(bits) for _ in range(size))
        if not size:
            return 0
        return int(text, 2) if text[0] == "1" else int(text, 2) - (1 << size) + 1

    rows, columns = -(-height // 8), -(-width // 8)
    blocks = np.zeros((channels, rows * columns, 64), int)
    last = [0] * channels
    for block in range(rows * columns):
        for channel in range(channels):
            last[channel] += magnitude(symbol(tables[0]))
            blocks[channel, block, 0] = last[channel]
            place = 1
            while place < 64:
                run, size = divmod(symbol(tables[1]), 16)
                if (run, size) == (0, 0):
                    break
                place += run
                assert size or run == 15
                blocks[channel, block, place] = magnitude(size)
                place += 1
    rest = "".join(bits)
    assert len(rest) < 8
    assert set(rest) <= {"1"}
    steps = np.frombuffer(parts[0xDB][1:], np.uint8)
    out = np.zeros_like(blocks)
    out[:, :, ZIGZAG] = blocks * steps
    return out.reshape(channels, rows, columns, 64)


def defq_coefficients(frame, steps):
    """The quantised coefficients by the formula in device/defence/defq.py, in float64, for a frame of whole blocks."""
    height, width, channels = frame.shape
    blocks = frame.reshape(height // 8, 8, width // 8, 8, channels).transpose(4, 0, 2, 1, 3).reshape(-1, 64)
    exact = blocks.astype(np.float32) @ block_dct_matrix().T
    quotients = exact / np.tile(steps.reshape(1, 64).astype(np.float32), (len(exact), 1))
    back = np.rint(quotients) * steps.reshape(64)
    return back.reshape(channels, height // 8, width // 8, 64).astype(int), quotients.reshape(
        channels, height // 8, -1, 64
    )


@pytest.fixture(scope="module")
def noise():
    return np.random.RandomState(3).randint(0, 256, (16, 24, 3)).astype(np.uint8)


def test_the_segments_say_rgb_without_subsampling(noise):
    found, _ = segments(JpegEncoder(Q_DEF).encode(noise))
    assert [marker for marker, _ in found] == [0xEE, 0xDB, 0xC0, 0xC4, 0xDA]
    parts = dict(found)
    assert parts[0xEE] == b"Adobe" + bytes((0, 100, 0, 0, 0, 0, 0))
    assert parts[0xC0] == bytes((8, 0, 16, 0, 24, 3, 82, 0x11, 0, 71, 0x11, 0, 66, 0x11, 0))
    assert parts[0xDA] == bytes((3, 82, 0, 71, 0, 66, 0, 0, 63, 0))
    assert parts[0xDB][0] == 0
    # the table in zigzag order: along the first row and back down the first column
    assert list(parts[0xDB][1:7]) == [Q_DEF[place] for place in ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2))]
    assert sorted(ZIGZAG) == list(range(64))


def test_the_huffman_tables_are_those_of_libjpeg(noise):
    reference, _ = segments(cv2.imencode(".jpg", noise[:, :, 0])[1].tobytes())
    theirs = b"".join(body for marker, body in reference if marker == 0xC4)
    assert dict(segments(JpegEncoder(Q_DEF).encode(noise))[0])[0xC4] == theirs


@pytest.mark.parametrize("dc", list(DC_RULES))
@pytest.mark.parametrize("steps", [Q_DEF, np.full((8, 8), 16), np.ones((8, 8), int), np.full((8, 8), 255)])
def test_a_file_holds_the_coefficients_of_defq(dc, steps, noise, frames):
    checks = (np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)  # the largest coefficients that there are
    halves = np.repeat([0, 255], 8).astype(np.uint8)[None, :].repeat(16, 0)  # and the largest steps of DC
    for frame in (noise, frames[0], np.dstack([checks, halves, 255 - halves])):
        found = coefficients(JpegEncoder(steps, dc).encode(frame))
        expected, quotients = defq_coefficients(frame, steps)
        tie = np.abs(np.abs(quotients - np.floor(quotients)) - 0.5) < 1e-4  # the order of a sum may decide
        assert np.array_equal(found[..., 1:][~tie[..., 1:]], expected[..., 1:][~tie[..., 1:]])
        dc_found, dc_expected = found[..., 0] + 1024, expected[..., 0]
        first = steps[0, 0]
        if dc == "exact" or 1024 % first == 0:
            keep = ~tie[..., 0]
            assert np.array_equal(dc_found[keep], dc_expected[keep])
        elif dc == "nearest":
            assert np.abs(dc_found - dc_expected).max() <= first / 2
        else:
            assert np.abs(dc_found - quotients[..., 0] * first).max() <= first / 2 + 1e-3


def test_only_the_decoders_rounding_is_left_with_an_exact_dc(frames):
    encoder, defq = JpegEncoder(Q_DEF, "exact"), DefQ(Q_DEF)
    assert encoder.steps[0, 0] == 4
    differences = np.array([cv2.absdiff(defq(frame), decode(encoder.encode(frame))) for frame in frames[:20]])
    assert differences.max() <= 1
    assert np.count_nonzero(differences) / differences.size < 0.15


def test_the_dc_grid_moves_pixels_by_less_than_a_sixteenth_of_its_step(frames):
    defq = DefQ(Q_DEF)
    for dc, most in (("nearest", 1), ("camera", 3)):  # 1024 is 4 beyond a multiple of 20: half a level, or 2 levels
        encoder = JpegEncoder(Q_DEF, dc)
        assert encoder.steps[0, 0] == 20
        largest = max(int(cv2.absdiff(defq(frame), decode(encoder.encode(frame))).max()) for frame in frames[:20])
        assert 1 <= largest <= most


@pytest.mark.parametrize(
    "shape", [(8, 8), (1, 1), (1, 17, 1), (13, 9, 3), (8, 8, 3), (1, 1, 3), (33, 250, 3), (480, 640, 3)]
)
def test_every_size_and_grey_decode_as_defq(shape):
    frame = np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)
    steps = np.full((8, 8), 16)  # divides 1024: DC is the same
    decoded = decode(JpegEncoder(steps).encode(frame))
    assert decoded.shape == (shape if shape[-1] == 3 else shape[:2])
    assert cv2.absdiff(decoded.reshape(shape), DefQ(steps)(frame)).max() <= 1


def test_one_encoder_serves_frames_of_changing_shapes(noise):
    encoder = JpegEncoder(Q_DEF)
    shapes = [noise, noise[:, :, 0], noise[:9, :9], noise]
    assert [encoder.encode(frame) for frame in shapes] == [JpegEncoder(Q_DEF).encode(frame) for frame in shapes]


def test_a_lone_high_frequency_needs_three_codes_of_sixteen_zeros():
    y, x = np.mgrid[:8, :8]
    wave = np.cos((2 * x + 1) * 7 * np.pi / 16) * np.cos((2 * y + 1) * 7 * np.pi / 16)
    frame = np.rint(128 + 100 * wave).astype(np.uint8)
    steps = np.full((8, 8), 64)
    found = coefficients(JpegEncoder(steps).encode(frame))[0, 0, 0]
    assert np.flatnonzero(found).tolist() == [63]
    assert np.array_equal(decode(JpegEncoder(steps).encode(frame)), DefQ(steps)(frame))


def test_pillow_opens_it_with_its_table(frames):
    image_of = pytest.importorskip("PIL.Image")
    content = JpegEncoder(Q_DEF).encode(frames[0])
    image = image_of.open(io.BytesIO(content))
    assert image.mode == "RGB"
    assert sorted(image.quantization[0]) == sorted(Q_DEF.ravel())
    assert cv2.absdiff(np.asarray(image), decode(content)).max() <= 1


def test_ffmpeg_opens_it(frames, tmp_path):
    (tmp_path / "frame-000000.jpg").write_bytes(JpegEncoder(Q_DEF).encode(frames[0]))
    video = cv2.VideoCapture(str(tmp_path / "frame-%06d.jpg"), cv2.CAP_FFMPEG)
    if not video.isOpened():
        pytest.skip("this OpenCV has no FFmpeg")
    found, picture = video.read()
    assert found
    decoded = decode(JpegEncoder(Q_DEF).encode(frames[0]))
    assert cv2.absdiff(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), decoded).max() <= 2


def black_and_white():
    """uint8 (16, 48, 3): black beside white blocks, flat blocks, and blocks with the largest AC coefficients."""
    frame = np.random.RandomState(3).choice(np.array([0, 255], np.uint8), (16, 48, 3))
    frame[:, ::16] = 0
    frame[:8, 0:8], frame[:8, 8:16], frame[:8, 16:24] = 0, 255, 0
    frame[8:, 8:16] = 255
    return frame


@pytest.mark.parametrize("dc", sorted(DC_RULES))
def test_every_first_step_decodes_in_both_decoders(dc):
    """With steps such as 25 and 191 DefQ rounds white up, beyond what the codes of a baseline file reach."""
    frame, steps = black_and_white(), Q_DEF.copy()
    for first in range(1, 256):
        steps[0, 0] = first
        content = JpegEncoder(steps, dc).encode(frame)
        decoded = decode(content)
        if pillow is not None:
            assert cv2.absdiff(decoded, np.asarray(pillow.open(io.BytesIO(content)))).max() <= 1
        # DefQ's own pixels, but for what the DC rule moves, and what a file cannot hold of white
        beyond = max(0, round(2040 / first) * first - 2047) / 8 if dc == "exact" and first % 2 else 0
        moved = 0 if dc == "exact" else first / (16 if dc == "nearest" else 8)
        assert cv2.absdiff(decoded, DefQ(steps)(frame)).max() <= 1 + np.ceil(beyond + moved), first


@pytest.mark.parametrize("step", [20.5, 256, 65535])
def test_steps_that_a_baseline_file_cannot_hold(step):
    steps = Q_DEF.astype(float)
    steps[3, 3] = step
    with pytest.raises(UsageError, match=r"found a quantisation step of [\d.]+; expected whole steps from 1 to 255"):
        JpegEncoder(steps)


def test_what_cannot_be_encoded():
    with pytest.raises(UsageError, match="found the DC rule far; expected nearest, exact, camera"):
        JpegEncoder(Q_DEF, "far")
    with pytest.raises(DataError, match="found a quantisation table of shape"):
        JpegEncoder(np.zeros((0,)))
    for frame in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros((8,), np.uint8)):
        with pytest.raises(FrameError, match="found a frame of type"):
            JpegEncoder(Q_DEF).encode(frame)
    with pytest.raises(FrameError, match="found a frame of 1 rows and 65536 columns; expected at most 65535"):
        JpegEncoder(Q_DEF).encode(np.zeros((1, 65536), np.uint8))
