"""A real host process, spoken to over real sockets."""

import http.client
import json
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.undefended import Undefended
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.protocol.messages import HEADER_LENGTH, decode_response, encode_request
from tests.host.conftest import BUNDLE, ROOT

MODEL = load_bundle(str(BUNDLE)).id
INFER = f"/v2/models/{MODEL}/infer"


def activations(count):
    return np.random.default_rng(0).normal(size=(count, 6, 8, 8)).astype(np.float32)


def request(host, method, path, body=None, headers=None):
    """Status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def infer(host, tensors, outputs=(), path=INFER, binary=True):
    encoded = encode_request(tensors, outputs, "id-1", binary)
    headers = {HEADER_LENGTH: str(encoded.header_length)} if encoded.header_length is not None else {}
    status, headers, body = request(host, "POST", path, encoded.body, headers)
    if status != 200:
        return status, json.loads(body)["error"]
    length = headers.get(HEADER_LENGTH)
    return status, decode_response(body, int(length) if length else None)


def test_health_and_metadata(host):
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{MODEL}/ready",
        f"/v2/models/{MODEL}/versions/1/ready",
    ):
        assert request(host, "GET", path)[0] == 200
    server = json.loads(request(host, "GET", "/v2")[2])
    assert "binary_tensor_data" in server["extensions"]
    for path in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/1"):
        metadata = json.loads(request(host, "GET", path)[2])
        assert metadata["name"] == MODEL
        assert metadata["inputs"][0] == {"name": "activation", "datatype": "FP32", "shape": [-1, 6, 8, 8]}
        assert [each["name"] for each in metadata["outputs"]] == ["label", "confidence", "exit"]


def test_answers_equal_pytorch(host):
    """Every frame of the committed bundle that does not leave on the device gets PyTorch's exit, label and confidence."""
    bundle = load_bundle(str(BUNDLE))
    engine, defence = OnnxRuntimeEngine(bundle, 1), Undefended(bundle, bundle.default_rad)
    frames = np.load(BUNDLE.parent / "frames.npz")["frames"]
    expected = np.load(BUNDLE.parent / "expected.npz")
    heads = [engine.run(defence.treat(frame).image, 0.62) for frame in frames]
    sent = [index for index, head in enumerate(heads) if head.activation is not None]
    assert len(sent) == 19
    batch = np.concatenate([heads[index].activation for index in sent])
    status, answer = infer(host, {"activation": batch, "threshold": np.full((19, 1), 0.62, np.float32)})
    assert (status, answer.id, answer.model_name) == (200, "id-1", MODEL)
    assert answer.tensors["exit"].tolist() == expected["exit"][sent].tolist()
    assert answer.tensors["label"].tolist() == expected["label"][sent].tolist()
    np.testing.assert_allclose(answer.tensors["confidence"], expected["confidence"][sent], atol=1e-5)


def test_threshold_is_the_bundles_when_it_is_left_out(host):
    given = infer(host, {"activation": activations(4), "threshold": np.full((4, 1), 0.62, np.float32)})[1]
    default = infer(host, {"activation": activations(4)})[1]
    assert default.tensors["exit"].tolist() == given.tensors["exit"].tolist()


def test_json_in_json_out_and_chosen_outputs(host):
    status, answer = infer(host, {"activation": activations(2)}, ["exit"], binary=False)
    assert status == 200
    assert set(answer.tensors) == {"exit"}
    binary = infer(host, {"activation": activations(2)}, ["exit"])[1]
    assert binary.tensors["exit"].tolist() == answer.tensors["exit"].tolist()


def test_many_clients_get_their_own_answers(host):
    inputs = activations(24)
    alone = [infer(host, {"activation": inputs[i : i + 1]})[1].tensors["confidence"][0] for i in range(24)]
    together = [0.0] * 24

    def ask(index):
        together[index] = infer(host, {"activation": inputs[index : index + 1]})[1].tensors["confidence"][0]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    np.testing.assert_allclose(together, alone, atol=1e-6)


WRONG = {
    "type": ({"activation": activations(1).astype(np.float64)}, 400, "float64"),
    "shape": ({"activation": np.zeros((1, 6, 8, 9), np.float32)}, 400, r"[1, 6, 8, 9]"),
    "rank": ({"activation": np.zeros((6, 8, 8), np.float32)}, 400, "expected float32"),
    "no frame": ({"activation": np.zeros((0, 6, 8, 8), np.float32)}, 400, "expected float32"),
    "too many frames": ({"activation": activations(33)}, 413, "at most 32"),
    "name": ({"image": activations(1)}, 400, "expected activation"),
    "extra": ({"activation": activations(1), "x": activations(1)}, 400, "'x'"),
    "threshold": ({"activation": activations(2), "threshold": np.zeros((1, 1), np.float32)}, 400, "[2, 1]"),
    "NaN": ({"activation": np.full((1, 6, 8, 8), np.nan, np.float32)}, 400, "NaN or infinite"),
    "infinite": ({"activation": np.full((1, 6, 8, 8), np.inf, np.float32)}, 400, "NaN or infinite"),
    "NaN threshold": (
        {"activation": activations(1), "threshold": np.full((1, 1), np.nan, np.float32)},
        400,
        "threshold",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_inputs_give_one_sentence(host, case):
    tensors, status, words = WRONG[case]
    found, sentence = infer(host, tensors)
    assert found == status
    assert words in sentence
    assert infer(host, {"activation": activations(1)})[0] == 200


def test_large_but_finite_values_pass(host):
    activation = activations(1)
    activation[0, 0, 0, :2] = 3e38, 3e38  # whose sum is not finite
    activation[0, 0, 0, 2:4] = -3e38, -3e38
    status, answer = infer(host, {"activation": np.full((1, 6, 8, 8), 1e30, np.float32)})
    assert status == 200
    assert np.isfinite(answer.tensors["confidence"]).all()
    assert infer(host, {"activation": activation})[0] in (200, 400)  # what the network makes of it


@pytest.mark.parametrize("binary", [True, False])
def test_finite_values_that_overflow_in_the_network_are_an_error_and_no_answer_of_nan(host, binary):
    large = np.concatenate([activations(1), np.full((1, 6, 8, 8), 3e38, np.float32)])
    status, sentence = infer(host, {"activation": large}, binary=binary)
    assert status == 400
    assert "beyond float32" in sentence
    ranges = np.array([[3e38, 3e38]], np.float32)  # finite too, and infinite once it is restored
    form = {"activation_uint8": np.full((1, 6, 8, 8), 255, np.uint8), "activation_range": ranges}
    assert infer(host, form) == (400, sentence)


def test_frames_that_overflow_do_not_spoil_the_answers_of_their_batch(own_host):
    host = own_host("--max-wait-ms", "50")
    results = [None] * 8

    def ask(index):
        value = 3e38 if index % 2 else 0.5
        results[index] = infer(host, {"activation": np.full((1, 6, 8, 8), value, np.float32)})

    for _ in range(2):  # the second time they share a batch
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [status for status, _ in results] == [200, 400] * 4


def test_unknown_models_outputs_and_routes(host):
    status, sentence = infer(host, {"activation": activations(1)}, path="/v2/models/other-split3-00000000/infer")
    assert status == 404
    assert f"this host serves '{MODEL}'" in sentence
    assert infer(host, {"activation": activations(1)}, path=f"/v2/models/{MODEL}/versions/9/infer")[0] == 404
    assert infer(host, {"activation": activations(1)}, ["logits"])[0] == 400
    for method, path, expected in (("GET", INFER, 405), ("GET", "/nowhere", 404), ("DELETE", "/v2", 405)):
        status, _, body = request(host, method, path)
        assert status == expected
        assert json.loads(body)["error"]


def raw(host, data, then_close=False):
    """Send bytes as they are; the beginning of what comes back."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(data)
        return b"" if then_close else connection.recv(65536)


def head(length, extra=""):
    return f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(4 << 30), b"413"),
        (head(2, f"{HEADER_LENGTH}: 4294967296\r\n") + b"{}", b"400"),
        (head(2, f"{HEADER_LENGTH}: -1\r\n") + b"{}", b"400"),
        (
            head(2).replace(b"\r\n\r\n", b"\r\n" + HEADER_LENGTH.encode() + b": \xb2\r\n\r\n") + b"{}",
            b"400",
        ),  # str.isdigit, but no int
        (head(2, "Content-Encoding: br\r\n") + b"{}", b"415"),
        (head(2, "Content-Encoding: gzip\r\n") + b"{}", b"400"),  # not gzip
        (head(2, "Content-Encoding: Identity\r\n") + b"{}", b"400"),  # read, and found to have no inputs
        (head(9) + b"not json!", b"400"),
        (b"\x16\x03\x01garbage\r\n\r\n", b"400"),
    ],
)
def test_hostile_bytes_get_a_status(host, data, status):
    assert raw(host, data).split(b"\r\n")[0].split()[1] == status
    assert infer(host, {"activation": activations(1)})[0] == 200


def test_half_a_request_harms_nobody(host):
    encoded = encode_request({"activation": activations(1)})
    whole = head(len(encoded.body), f"{HEADER_LENGTH}: {encoded.header_length}\r\n") + encoded.body
    for cut in (10, len(whole) // 2, len(whole) - 1):
        raw(host, whole[:cut], then_close=True)
    assert infer(host, {"activation": activations(1)})[0] == 200


def test_a_chunked_body_is_limited_too(own_host):
    host = own_host("--max-body-mb", "1")
    start = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(start)
        try:
            for _ in range(64):
                connection.sendall(chunk)
        except OSError:
            pass  # the host has closed already
        try:
            answer = connection.recv(65536)
        except OSError:
            answer = b"HTTP/1.1 413"
    assert answer.split()[1] == b"413"


def test_log_line_without_content(own_host):
    host = own_host("--log-requests")
    assert infer(host, {"activation": activations(3)})[0] == 200
    assert infer(host, {"image": activations(1)})[0] == 400
    encoded = encode_request({"activation": activations(1)}, request_id="a\nb")
    assert request(host, "POST", INFER, encoded.body, {HEADER_LENGTH: str(encoded.header_length)})[0] == 200
    code, errors = host.stop()
    assert code == 0
    lines = [line for line in errors.splitlines() if not line.startswith("warning: found that this host runs as root")]
    assert len(lines) == 3
    assert "id='a\\nb' frames=1" in lines[2]  # a client's text starts no line of its own
    assert "id=id-1 frames=3 batch=3 status=200" in lines[0]
    assert "status=400" in lines[1]


def test_a_port_in_use_is_an_error(host):
    done = subprocess.run(
        [sys.executable, "-m", "host", "serve", "--bundle", str(BUNDLE), "--port", str(host.port)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"found port {host.port} of 127.0.0.1 in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "option",
    ["--max-wait-ms=nan", "--max-wait-ms=inf", "--max-batch=0", "--threads=-1", "--port=65536", "--address=a..b"],
)
def test_options_out_of_range(option):
    done = subprocess.run(
        [sys.executable, "-m", "host", "serve", "--bundle", str(BUNDLE), "--port", "0", option],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")


def test_a_bad_bundle_is_an_error():
    done = subprocess.run(
        [sys.executable, "-m", "host", "serve", "--bundle", "nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_stop_answers_the_requests_at_hand(own_host):
    host = own_host("--max-wait-ms", "300")
    # a batch of two teaches the host to wait for a second request, so that the next one alone waits 300 ms
    pair = [threading.Thread(target=infer, args=(host, {"activation": activations(1)})) for _ in range(8)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join(20)
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    encoded = encode_request({"activation": activations(1)})
    connection.request("POST", INFER, encoded.body, {HEADER_LENGTH: str(encoded.header_length)})
    # a second connection that is answered shows that the first has been read
    assert request(host, "GET", "/v2/health/live")[0] == 200
    host.process.terminate()
    assert connection.getresponse().status == 200
    connection.close()
    assert host.stop()[0] == 0
