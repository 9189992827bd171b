"""What every exit of a network answers, computed by ONNX Runtime with the blocks that go into a bundle's graphs."""

import numpy as np
from onnx import TensorProto, helper

from export.calibration.cost import ExitScores
from export.networks.weights import to_tensor
from export.onnx.parity import session
from export.onnx.parts import ExportedBlocks, model

BATCH = 50


def graph_scores(exported: ExportedBlocks, input_shape: tuple[int, ...], frames: np.ndarray) -> ExitScores:
    """Run all blocks and exits as one graph.

    Args:
        input_shape: (channels, height, width).
        frames: uint8 (n, h, w, c).
    """
    exits = range(len(exported.exits))
    whole = exported.span(0, len(exits) - 1)
    graph = helper.make_graph(
        whole.nodes,
        "every_exit",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info(f"softmax{index}", TensorProto.FLOAT, ["batch", "classes"]) for index in exits],
        whole.weights,
    )
    run = session(model(graph, "All exits of a network.")).run
    confidences, classes = [], []
    for start in range(0, len(frames), BATCH):
        softmax = np.stack(run(None, {"pixels": to_tensor(frames[start : start + BATCH]).numpy()}))
        confidences.append(softmax.max(2))
        classes.append(softmax.argmax(2))
    return ExitScores(np.concatenate(confidences, axis=1), np.concatenate(classes, axis=1))
