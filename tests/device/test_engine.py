import numpy as np
import pytest

from device.engines import OnnxRuntimeEngine
from device.errors import EngineError
from device.pipeline import Preprocessor


def images(bundle, frames):
    prepare = Preprocessor(bundle, defq=False)
    return [prepare.to_image(prepare.resize(frame)).copy() for frame in frames]


def test_head_agrees_with_pytorch(bundle, frames, expected):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    for image, exit_, label, confidence in zip(
        images(bundle, frames), expected["exit"], expected["label"], expected["confidence"]
    ):
        result = engine.run(image, 0.62)
        if exit_ <= bundle.split:
            assert (result.exit, result.label, result.activation) == (exit_, label, None)
            assert result.confidence == pytest.approx(confidence, abs=1e-5)
        else:
            assert result.exit == 0
            assert result.activation.shape == (1, *bundle.activation_shape)
            assert result.confidence < 0.62


def test_threshold_decides(bundle, frames):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    image = images(bundle, frames[:1])[0]
    assert engine.run(image, 0.0).exit == 1
    assert engine.run(image, 1.0).exit == 0


def test_graph_that_does_not_load(bundle):
    broken = bundle._replace(files={})

    class Broken:
        path, manifest, defq_fused = broken.path, broken.manifest, False

        def read(self, graph):
            return b"no graph"

    with pytest.raises(EngineError, match="could not load the head"):
        OnnxRuntimeEngine(Broken(), threads=1)


def test_wrong_image_is_one_sentence(bundle):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    with pytest.raises(EngineError, match="failed on a frame"):
        engine.run(np.zeros((1, 1, 4, 4), np.float32), 0.5)
