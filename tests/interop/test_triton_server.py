"""Our device, unchanged, against a real Triton server: the one inside the PyPI package nvidia-pytriton.

That build has Triton's Python back end alone, so the repository that ``defq triton`` writes is served with its
platform replaced by triton_model.py, which runs the same model.onnx. Names, shapes, types, reshapes and batching are Triton's
reading of our config.pbtxt.
"""

import importlib.util
import shutil
import socket
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from export.bundle.triton import write_repository
from tests.interop.conftest import INSTALL, Server, ready


@pytest.fixture(scope="module")
def triton(bundle, tmp_path_factory):
    """The URL of a Triton that serves the tiny bundle's tail."""
    package = importlib.util.find_spec("pytriton")
    if package is None or package.origin is None:
        pytest.skip(f"needs nvidia-pytriton 0.7: {INSTALL}")
    root = Path(package.origin).parent / "tritonserver"
    stub = root / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
    if not stub.exists():
        pytest.skip(f"nvidia-pytriton has no stub for Python {sys.version_info[0]}.{sys.version_info[1]}")
    folder = tmp_path_factory.mktemp("triton")
    model = write_repository(bundle, folder / "models", max_batch=8)
    config = (model / "config.pbtxt").read_text()
    (model / "config.pbtxt").write_text(config.replace('platform: "onnxruntime_onnx"', 'backend: "python"'))
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (*(root / "backends" / "python").iterdir(), stub):
        (backend / file.name).symlink_to(file)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        str(root / "bin" / "tritonserver"), "--model-repository", str(folder / "models"), "--backend-directory",
        str(folder / "backends"), "--http-address", "127.0.0.1", "--http-port", str(port), "--allow-grpc", "false",
        "--allow-metrics", "false", "--disable-auto-complete-config",
    ]  # fmt: skip
    environment = {
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),  # where the back end finds libpython
        "SITE_PACKAGES": sysconfig.get_path("purelib"),  # for triton_model.py
    }
    server = Server(command, folder / "log", environment)
    try:
        url = f"http://127.0.0.1:{port}"
        if not ready(server, url):
            pytest.skip(f"Triton does not start here: {server.last_words()}")
        yield url
    finally:
        server.stop()


def test_the_device_works_unchanged(triton, device):
    assert sum(line["source"] == "host" for line in device(triton)) == 19


def test_triton_joins_requests_and_refuses_more_than_a_batch(triton, bundle, sent, expected):
    http = pytest.importorskip("tritonclient.http")
    stay, activation = sent
    with http.InferenceServerClient(triton.removeprefix("http://"), concurrency=8) as client:
        metadata = client.get_model_metadata(bundle.id)
        assert {each["name"]: each["shape"] for each in metadata["outputs"]} == {
            "label": [-1, 1], "confidence": [-1, 1], "exit": [-1, 1],
        }  # fmt: skip

        def ask(rows):
            made = []
            for name, array in (
                ("activation", activation[rows]),
                ("threshold", np.full((len(rows), 1), 0.62, np.float32)),
            ):
                made.append(http.InferInput(name, list(array.shape), "FP32"))
                made[-1].set_data_from_numpy(array)
            return client.async_infer(bundle.id, made)

        calls = [ask([row]) for row in range(19)]
        assert [int(call.get_result().as_numpy("exit").item()) for call in calls] == expected["exit"][stay].tolist()
        with pytest.raises(Exception, match="batch-size must be <= 8"):
            ask([*range(9)]).get_result()
        statistics = client.get_inference_statistics(bundle.id)["model_stats"][0]
        assert statistics["execution_count"] < statistics["inference_count"]  # some ran together


def test_triton_reads_our_configuration(bundle, tmp_path):
    text_format = pytest.importorskip("google.protobuf.text_format")
    model_config = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2", reason=f"needs tritonclient[grpc]: {INSTALL}"
    )
    folder = write_repository(bundle, tmp_path, max_batch=16, max_wait_ms=1.5)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config.ModelConfig())
    assert (config.name, config.platform, config.max_batch_size) == (folder.name, "onnxruntime_onnx", 16)
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    found = [
        (each.name, model_config.DataType.Name(each.data_type), list(each.dims), each.HasField("reshape"))
        for each in (*config.input, *config.output)
    ]
    assert found == [
        ("activation", "TYPE_FP32", [6, 8, 8], False), ("threshold", "TYPE_FP32", [1], False),
        ("label", "TYPE_INT64", [1], True), ("confidence", "TYPE_FP32", [1], True), ("exit", "TYPE_INT64", [1], True),
    ]  # fmt: skip
