"""The tail cut into stages, so that the batch shrinks as frames leave.

The flat tail of a bundle runs every layer for every frame, and only then asks who was confident. Here the same graph is
cut at the features between blocks, two exits a stage; frames that leave in a stage are dropped before the next.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

EXITS_A_STAGE = 2  # with one, a frame that stays pays for more cuts; with three, one that leaves for more layers


class Stages:
    """Runs the exits of a tail stage by stage.

    Args:
        model: a tail of a bundle: its inputs are ``threshold`` and what the device sent; block i (from 0) writes
            ``features{i}``, exit i ``softmax{i}`` (export/onnx/graphs.py).
        session: makes an inference session of a serialised model.

    Attributes:
        ends: the last exit of each stage, 1-based; one entry: the tail has too few exits to cut.
    """

    def __init__(self, model: bytes, session: Callable[[bytes], onnxruntime.InferenceSession]) -> None:
        whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
        exits = _exits(whole)
        self._sessions = []
        self._exits = grouped(exits)
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
            sure = ~(best < limit)  # as in the graph, where NaN is not less either
            if len(outputs) == len(exits):
                sure[-1] = True  # the final classifier answers whatever its confidence
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


def grouped(exits: Sequence[int]) -> list[Sequence[int]]:
    """Two exits a stage; what is left over goes to the last one, where no layer lies behind the final classifier."""
    count = max(1, len(exits) // EXITS_A_STAGE)
    starts = [stage * EXITS_A_STAGE for stage in range(count)]
    return [exits[start:end] for start, end in zip(starts, [*starts[1:], len(exits)], strict=True)]


def _exits(model: onnx.ModelProto) -> list[int]:
    """The exits that a tail holds, 0-based, ascending."""
    names = (re.fullmatch(r"softmax(\d+)", output) for node in model.graph.node for output in node.output)
    return sorted(int(name.group(1)) for name in names if name)
