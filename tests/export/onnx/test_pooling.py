"""Adaptive pools of exits give the same numbers in the graph as in PyTorch."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from export.networks.sdn import InternalClassifier
from export.onnx import parts
from export.onnx.pooling import with_few_operators


@pytest.mark.parametrize("size", [5, 6, 7, 9, 10, 11, 14, 25])
def test_pools_of_sizes_that_4_does_not_divide(size):
    torch.manual_seed(0)
    classifier, features = InternalClassifier(3, size, 5).eval(), torch.randn(2, 3, size, size)
    few = with_few_operators(classifier)
    assert torch.equal(few.max_pool(features), nn.AdaptiveMaxPool2d(4)(features))
    torch.testing.assert_close(few.mean_pool(features), nn.AdaptiveAvgPool2d(4)(features))

    part = parts.graph_part(few, features[:1], "x", "y")
    shapes = {"x": ["batch", 3, size, size], "y": ["batch", 5]}
    ends = [[helper.make_tensor_value_info(name, 1, shapes[name])] for name in "xy"]
    graph = parts.model(helper.make_graph(part.nodes, "exit", *ends, part.weights), "An exit.")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = classifier(features).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"x": features.numpy()})[0], expected, atol=1e-5)
    assert len(part.nodes) < 20
    assert "Slice" not in {node.op_type for node in part.nodes}


@pytest.mark.parametrize("size", [2, 4, 8, 12])
def test_other_exits_stay_as_they_are(size):
    classifier = InternalClassifier(3, size, 5)
    assert with_few_operators(classifier) is classifier


def test_the_network_itself_is_not_changed():
    classifier = InternalClassifier(3, 6, 5)
    before = classifier.max_pool
    with_few_operators(classifier)
    assert classifier.max_pool is before
