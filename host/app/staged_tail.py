"""The tail cut into stages, so that the batch shrinks as frames leave.

The flat tail of a bundle runs every layer for every frame, and only then finds the exit at which each frame leaves. Here the
same graph is cut between blocks into stages of two exits; frames that leave in a stage are dropped before the next stage.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

EXITS_A_STAGE = 2  # one exit a stage costs frames that stay more cuts; three cost frames that leave more layers


class StagedTail:
    """Runs the exits of a tail stage by stage.

    Args:
        model: the tail of a bundle as a serialised ONNX model. Its inputs are ``threshold`` and what the device sent; block i
            (from 0) writes ``features{i}``, and exit i writes ``softmax{i}`` (export/onnx/graphs.py).
        session: function that makes an inference session from a serialised model.

    Attributes:
        ends: last exit of each stage, from 1. It has one entry if the tail has too few exits to be cut.
    """

    def __init__(self, model: bytes, session: Callable[[bytes], onnxruntime.InferenceSession]) -> None:
        whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
        exits = _exits(whole)
        self._sessions = []
        self._exits = exits_by_stage(exits)
        self.ends = [group[-1] + 1 for group in self._exits]
        source = next(each.name for each in whole.graph.input if each.name != "threshold")
        cutter = Extractor(whole)
        for group in self._exits:
            outputs = [f"softmax{index}" for index in group]
            if group[-1] != exits[-1]:
                outputs.append(f"features{group[-1]}")
            stage = cutter.extract_model([source], outputs)
            self._sessions.append((source, session(stage.SerializeToString())))
            source = outputs[-1]

    def run(self, activation: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classify as the flat tail does.

        Args:
            activation: float32 (n, ...).
            threshold: float32 (n, 1).

        Returns:
            label int64 (n,), confidence float32 (n,), exit int64 (n,), 1-based.
        """
        frames = len(activation)
        label, confidence, exit_ = np.empty(frames, np.int64), np.empty(frames, np.float32), np.empty(frames, np.int64)
        rows, limit, features = np.arange(frames), threshold[:, 0], activation
        for exits, (source, session) in zip(self._exits, self._sessions, strict=True):
            outputs = session.run(None, {source: features})
            softmax = np.stack(outputs[: len(exits)])  # (exits, frames still here, classes)
            best = softmax.max(2)
            sure = ~(best < limit)  # as in the graph, where NaN is not less than the threshold either
            if len(outputs) == len(exits):
                sure[-1] = True  # the final classifier answers whatever its confidence is
            leaves, first = sure.any(0), sure.argmax(0)
            gone = np.flatnonzero(leaves)
            left, at = rows[gone], first[gone]
            label[left] = softmax[at, gone].argmax(1)
            confidence[left] = best[at, gone]
            exit_[left] = at + exits[0] + 1
            if len(gone) == len(rows):
                break
            features = outputs[-1]
            if len(gone):
                stays = ~leaves
                rows, limit, features = rows[stays], limit[stays], features[stays]
        return label, confidence, exit_


def exits_by_stage(exits: Sequence[int]) -> list[Sequence[int]]:
    """Put two exits into each stage. A single one that is left over goes to the last stage, where it costs no further layer,
    because no layer lies behind the final classifier."""
    count = max(1, len(exits) // EXITS_A_STAGE)
    starts = [stage * EXITS_A_STAGE for stage in range(count)]
    return [exits[start:end] for start, end in zip(starts, [*starts[1:], len(exits)], strict=True)]


def _exits(model: onnx.ModelProto) -> list[int]:
    """Indices of the exits in a tail, from 0, in ascending order."""
    names = (re.fullmatch(r"softmax(\d+)", output) for node in model.graph.node for output in node.output)
    return sorted(int(name.group(1)) for name in names if name)
