"""A preview that runs over fakes of the loop and of its parts."""

import threading

import pytest

from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.preview.preview import Preview
from device.preview.preview_sink import PreviewSink
from device.preview.server import PreviewServer
from device.preview.service import Limits
from tests.device.loop.fakes import make_pipeline
from tests.device.preview.fakes import FakeMonitor, Inverted, Loop, until


@pytest.fixture
def running(bundle, frames):
    """A pipeline with its preview; what it gives starts a server over it."""
    sink = PreviewSink(bundle.relative_costs, bundle.split)
    pipeline = make_pipeline(bundle, OnnxRuntimeEngine(bundle, 1), sink=sink, monitor=FakeMonitor())
    camera = Loop(frames)
    facts = {"bundle": bundle.id, "engine": "engine", "source": camera.describe(), "host": None, "power": "meter"}
    preview = Preview(pipeline, sink, facts, Inverted(), power_w=lambda: 2.5, fps=20)
    thread = threading.Thread(target=pipeline.run, args=(camera,))
    thread.start()
    until(lambda: sink.newest)
    servers = []

    def serve(token=None, limits=Limits(), address="127.0.0.1"):  # noqa: B008
        servers.append(PreviewServer(preview.content, address, 0, token, limits).start())
        servers[-1].pipeline = pipeline
        return servers[-1]

    yield serve
    for server in servers:
        server.close()
    camera.ended.set()
    thread.join()
