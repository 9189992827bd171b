"""Internal classifiers on maps of any size."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from export.networks.sdn import SDN, AdaptivePool, InternalClassifier
from export.onnx import graphs, parts
from export.onnx.parity import check_exits
from tests import tiny

SIZES = (5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 30)


def maps(size, count=3):
    return torch.randn(count, 4, size, size, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_torchs_adaptive_pooling(size):
    features = maps(size)
    assert torch.equal(AdaptivePool(size, torch.amax)(features), nn.AdaptiveMaxPool2d(4)(features))
    torch.testing.assert_close(AdaptivePool(size, torch.mean)(features), nn.AdaptiveAvgPool2d(4)(features))


@pytest.mark.parametrize("size", range(1, 18))
def test_maps_of_every_size_have_a_classifier_which_is_exported_as_it_computes(size):
    torch.manual_seed(0)
    classifier = InternalClassifier(4, size, 3)
    with torch.no_grad():
        if classifier.pools:
            classifier.alpha.fill_(0.3)
            features = maps(size)
            pooled = 0.3 * nn.AdaptiveMaxPool2d(4)(features) + 0.7 * nn.AdaptiveAvgPool2d(4)(features)
            torch.testing.assert_close(classifier(features), classifier.fc(pooled.flatten(1)))
        expected = classifier(maps(size))
    exported = parts.graph_part(classifier, maps(size, 1), "features", "logits")
    graph = parts.helper.make_graph(
        exported.nodes,
        "classifier",
        [parts.helper.make_tensor_value_info("features", parts.TensorProto.FLOAT, ["batch", 4, size, size])],
        [parts.helper.make_tensor_value_info("logits", parts.TensorProto.FLOAT, ["batch", 3])],
        exported.weights,
    )
    session = onnxruntime.InferenceSession(parts.model(graph, "").SerializeToString())
    np.testing.assert_allclose(
        session.run(None, {"features": maps(size).numpy()})[0], expected.numpy(), atol=1e-5, rtol=1e-4
    )


def test_a_network_for_images_of_22_pixels_becomes_graphs():
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for _ in range(1)]
    blocks += [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
    ics = [InternalClassifier(4, 11, 3), InternalClassifier(4, 5, 3)]
    end = nn.Sequential(nn.Flatten(), nn.Linear(100, 3))
    network = SDN(nn.Identity(), blocks, ics, end, (3, 22, 22)).eval()
    exported = parts.export_blocks(network)
    models = {
        "head": graphs.nested_head(exported, 1, network.input_shape, 0.4),
        "head_flat": graphs.flat_head(exported, 1, network.input_shape),
        "tail": graphs.tail(exported, 1),
    }
    frames = tiny.frames(20).repeat(2, axis=1).repeat(2, axis=2)[:, :22, :22]
    check_exits(network, models, 1, 0.4, np.ascontiguousarray(frames), "frames")
