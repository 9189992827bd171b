"""NVIDIA's Triton client for HTTP against our host."""

import numpy as np
import pytest

from tests.interop.conftest import INSTALL

http = pytest.importorskip("tritonclient.http", reason=f"needs tritonclient[http]: {INSTALL}")

from tritonclient.utils import InferenceServerException, triton_to_np_dtype  # noqa: E402


@pytest.fixture
def client(host):
    with http.InferenceServerClient(host.url.removeprefix("http://")) as client:
        yield client


def inputs(activation, threshold=0.62, binary=True):
    """The two inputs of a request."""
    made = []
    limits = np.full((len(activation), 1), threshold, np.float32)
    for name, array in (("activation", activation), ("threshold", limits)):
        made.append(http.InferInput(name, list(array.shape), "FP32"))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


def check(result, expected, stay):
    assert result.as_numpy("exit").tolist() == expected["exit"][stay].tolist()
    assert result.as_numpy("label").tolist() == expected["label"][stay].tolist()
    np.testing.assert_allclose(result.as_numpy("confidence"), expected["confidence"][stay], atol=1e-4)


def test_the_client_finds_the_host_live_and_ready(client, bundle):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(bundle.id)
    assert client.is_model_ready(bundle.id, "1")
    assert not client.is_model_ready("other")


def test_the_client_reads_the_metadata(client, bundle):
    server = client.get_server_metadata()
    assert server["name"] == "sdn-edge-host"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata(bundle.id)
    assert (model["name"], model["versions"]) == (bundle.id, ["1"])
    tensors = {each["name"]: (each["datatype"], each["shape"]) for each in model["inputs"] + model["outputs"]}
    assert model["parameters"] == {"payload_forms": ["coefficients", "uint8", "fp32"]}
    assert tensors == {
        "activation": ("FP32", [-1, 6, 8, 8]), "threshold": ("FP32", [-1, 1]),
        "label": ("INT64", [-1]), "confidence": ("FP32", [-1]), "exit": ("INT64", [-1]),
    }  # fmt: skip


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_client_that_fills_all_that_the_metadata_lists(client, bundle, sent, expected, batch, binary):
    """perf_analyzer does this: it knows only the metadata of the model."""
    stay, activation = sent
    values = {"activation": activation[:batch], "threshold": np.full((batch, 1), 0.62, np.float32)}
    model = client.get_model_metadata(bundle.id)
    made = []
    for each in model["inputs"]:
        shape = [batch, *each["shape"][1:]]
        made.append(http.InferInput(each["name"], shape, each["datatype"]))
        zeros = np.zeros(shape, triton_to_np_dtype(each["datatype"]))
        made[-1].set_data_from_numpy(values.get(each["name"], zeros), binary_data=binary)
    outputs = [http.InferRequestedOutput(each["name"], binary_data=binary) for each in model["outputs"]]
    for _ in range(3):  # over one connection, as the client keeps it
        check(client.infer(model["name"], made, outputs=outputs), expected, stay[:batch])


def test_the_connection_is_good_after_a_refusal(client, bundle, sent, expected):
    """A body that nobody read must not be taken for the next request."""
    stay, activation = sent
    for _ in range(3):
        with pytest.raises(InferenceServerException) as found:
            client.infer("other", inputs(activation[[*range(19)] * 3]))
        assert found.value.status() == "404"
        check(client.infer(bundle.id, inputs(activation[:4])), expected, stay[:4])


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_the_client_gets_the_answers_of_the_tail(client, bundle, sent, expected, binary_in, binary_out):
    stay, activation = sent
    outputs = None
    if binary_out is not None:
        outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "confidence", "exit")]
    result = client.infer(
        bundle.id, inputs(activation, binary=binary_in), outputs=outputs, request_id="seven", model_version="1"
    )
    check(result, expected, stay)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", bundle.id, "1")


@pytest.mark.parametrize("response", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_compression_both_ways(client, bundle, sent, expected, request_, response):
    stay, activation = sent
    rows = [*range(19)] * 3  # enough for an answer that is worth packing
    result = client.infer(
        bundle.id, inputs(activation[rows]),
        request_compression_algorithm=request_, response_compression_algorithm=response,
    )  # fmt: skip
    check(result, expected, np.array(stay)[rows])


def test_the_answer_is_packed_when_the_client_asks(host, bundle, sent):
    import http.client as standard
    import json
    import zlib

    activation = sent[1][[*range(19)] * 3]
    names = [{"name": "activation", "shape": [57, 6, 8, 8], "datatype": "FP32", "data": activation.ravel().tolist()}]
    connection = standard.HTTPConnection("127.0.0.1", host.port, timeout=20)
    body = json.dumps({"inputs": names})
    connection.request("POST", f"/v2/models/{bundle.id}/infer", body, {"Accept-Encoding": "deflate"})
    answer = connection.getresponse()
    assert answer.getheader("Content-Encoding") == "deflate"
    assert len(json.loads(zlib.decompress(answer.read()))["outputs"]) == 3
    connection.close()


def test_the_asynchronous_call(client, bundle, sent, expected):
    stay, activation = sent
    calls = [client.async_infer(bundle.id, inputs(activation[row : row + 1])) for row in range(19)]
    found = [int(call.get_result().as_numpy("exit")[0]) for call in calls]
    assert found == expected["exit"][stay].tolist()


WRONG = {
    "shape": (lambda: inputs(np.zeros((1, 6, 8, 9), np.float32)), "400", "found activation of type float32 and shape"),
    "frames": (lambda: inputs(np.zeros((65, 6, 8, 8), np.float32)), "413", "expected at most 64"),
    "threshold": (lambda: inputs(np.zeros((1, 6, 8, 8), np.float32), np.nan), "400", "NaN or infinite values"),
    "inputs": (lambda: inputs(np.zeros((1, 6, 8, 8), np.float32))[1:], "400", "expected activation"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_bring_our_sentence(client, bundle, case):
    make, status, words = WRONG[case]
    with pytest.raises(InferenceServerException) as found:
        client.infer(bundle.id, make())
    assert found.value.status() == status
    assert words in found.value.message()


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config", "get_inference_statistics", "load_model"])
def test_what_the_host_does_not_have_is_a_clean_error(client, call):
    with pytest.raises(InferenceServerException) as found:
        getattr(client, call)("other")
    assert found.value.status() in ("404", "405")
