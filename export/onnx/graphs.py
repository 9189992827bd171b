"""Head and tail of an SDN as ONNX graphs that contain the early-exit rule: a frame leaves at the first exit whose
confidence reaches the threshold.

PyTorch exports each block and classifier on its own (export/onnx/parts.py); here they are joined to three graphs:

* ``nested_head``: batch 1, for ONNX Runtime. The blocks behind a cut are in a branch of an ``If``, and their weights are
  initialisers of that branch: ONNX Runtime fuses Conv and ReLU only if the weights belong to the same graph.
* ``flat_head``: any batch, no control flow, for TensorRT and others.
* ``tail``: any batch, one threshold a frame.

Where the split takes in the final classifier, the head is the whole network: every frame leaves there, so that no activation is
handed over, and there is no tail.

ONNX Runtime 1.10 and newer and TensorRT 8.2 to 10 read opset 13 and IR version 7.
"""

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from export.onnx.defq import defq_switch
from export.onnx.parts import ExportedBlocks, GraphPart, constant, joined, model, renamed

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _best(index: int, prefix: str, keepdims: int = 0, label: bool = True) -> list[NodeProto]:
    """softmax{i} -> {prefix}confidence and {prefix}label, (n,) or with ``keepdims`` (n, 1)."""
    source = [f"softmax{index}"]
    nodes = [helper.make_node("ReduceMax", source, [f"{prefix}confidence"], axes=[1], keepdims=keepdims)]
    if label:
        nodes.append(helper.make_node("ArgMax", source, [f"{prefix}label"], axis=1, keepdims=keepdims))
    return nodes


def _first_confident(first: int, last: int, prefix: str, otherwise: int = 0) -> GraphPart:
    """Choose label, confidence and exit of the first confident exit among ``first`` to ``last`` (0-based, inclusive).

    Reads ``threshold``; writes {prefix}label, {prefix}confidence, {prefix}exit, each (n,), and {prefix}stays, bool (n,).
    Where no exit is confident, label and confidence are those of the last one, and the exit is ``otherwise``.
    """
    numbers = constant(f"{prefix}numbers", np.array([*range(first + 1, last + 2), otherwise], np.int64))
    node = helper.make_node
    if first == last:
        nodes = [
            *_best(last, prefix),
            node("Less", [f"{prefix}confidence", "threshold"], [f"{prefix}stays"]),
            node("Cast", [f"{prefix}stays"], [f"{prefix}index"], to=INT64),
            node("Gather", [numbers.name, f"{prefix}index"], [f"{prefix}exit"]),
        ]
        return GraphPart(nodes, [numbers])
    each = [f"{prefix}{index}/" for index in range(first, last + 1)]
    columns = [*each, each[-1]]  # the last exit again at the end: it answers for frames that do not leave
    flat = constant(f"{prefix}flat", np.array([-1], np.int64))
    pads = constant(f"{prefix}pads", np.array([0, 0, 0, 1], np.int64))
    one = constant(f"{prefix}one", np.array(1, np.float32))
    none = constant(f"{prefix}none", np.array([len(each)], np.int64))
    nodes = [
        *(part for index in range(first, last + 1) for part in _best(index, f"{prefix}{index}/", keepdims=1)),
        node("Concat", [f"{name}confidence" for name in each], [f"{prefix}confidences"], axis=1),
        node("Concat", [f"{name}confidence" for name in columns], [f"{prefix}confidences+"], axis=1),
        node("Concat", [f"{name}label" for name in columns], [f"{prefix}labels+"], axis=1),
        node("Less", [f"{prefix}confidences", "threshold"], [f"{prefix}unsure"]),
        node("Not", [f"{prefix}unsure"], [f"{prefix}sure"]),
        node("Cast", [f"{prefix}sure"], [f"{prefix}sure01"], to=FLOAT),
        node("Pad", [f"{prefix}sure01", pads.name, one.name], [f"{prefix}sure01+"]),
        node("ArgMax", [f"{prefix}sure01+"], [f"{prefix}column"], axis=1, keepdims=1),  # the first of equals
        node("GatherElements", [f"{prefix}confidences+", f"{prefix}column"], [f"{prefix}confidence_"], axis=1),
        node("GatherElements", [f"{prefix}labels+", f"{prefix}column"], [f"{prefix}label_"], axis=1),
        node("Reshape", [f"{prefix}confidence_", flat.name], [f"{prefix}confidence"]),
        node("Reshape", [f"{prefix}label_", flat.name], [f"{prefix}label"]),
        node("Reshape", [f"{prefix}column", flat.name], [f"{prefix}index"]),
        node("Gather", [numbers.name, f"{prefix}index"], [f"{prefix}exit"]),
        node("Equal", [f"{prefix}index", none.name], [f"{prefix}stays"]),
    ]
    return GraphPart(nodes, [numbers, flat, pads, one, none])


def _only_confidence(index: int, prefix: str) -> GraphPart:
    """What a cut behind one exit needs: {prefix}confidence and {prefix}stays. The label is computed only if the frame leaves."""
    less = helper.make_node("Less", [f"{prefix}confidence", "threshold"], [f"{prefix}stays"])
    return GraphPart([*_best(index, prefix, label=False), less], [])


OUTPUTS = ("label", "confidence", "exit", "activation")


def _output_infos(batch: str | None, activation: tuple[int, ...] | None, suffix: str = "") -> list[ValueInfoProto]:
    """Types and shapes of the outputs. The batch axis of a nested head has no name: its activation has none or one frame."""
    first = 1 if batch is None else batch
    infos = [
        helper.make_tensor_value_info(f"label{suffix}", INT64, [first]),
        helper.make_tensor_value_info(f"confidence{suffix}", FLOAT, [first]),
        helper.make_tensor_value_info(f"exit{suffix}", INT64, [first]),
    ]
    if activation:
        infos.append(helper.make_tensor_value_info(f"activation{suffix}", FLOAT, [batch, *activation]))
    return infos


def _answering(part: GraphPart, prefix: str, suffix: str = "") -> GraphPart:
    """Rename the answer of a scope ({prefix}label, ...) to the names of the outputs."""
    return renamed(part, {f"{prefix}{name}": name + suffix for name in OUTPUTS[:3]})


def _threshold(value: float) -> tuple[ValueInfoProto, TensorProto]:
    """The input ``threshold`` float32 (1,) and its default."""
    info = helper.make_tensor_value_info("threshold", FLOAT, [1])
    return info, constant("threshold", np.array([value], np.float32))


def _behind(exported: ExportedBlocks, split: int) -> tuple[int, ...] | None:
    """Shape of the activation that a head hands over, without the batch axis; None for a head that is the whole network."""
    return exported.shapes[split - 1] if split < len(exported.exits) else None


def _undecided(exported: ExportedBlocks, split: int) -> int:
    """The number of the exit for a frame that no exit of the head is confident about: 0, it stays, or that of the final
    classifier, which answers whatever its confidence."""
    return 0 if split < len(exported.exits) else split


def flat_head(exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> ModelProto:
    """Exits 1..split computed always, for any batch. Inputs: image float32 (n, c, h, w) in [0, 1], threshold (1,).
    Outputs: label, confidence, exit (0 = did not leave), each (n,), and activation float32 (n, ...) unless the head is the
    whole network.

    The threshold has no default: TensorRT takes an input with a default for a constant (``importInputs`` in onnx-tensorrt's
    ModelImporter.cpp, 8.0 to 10), so a threshold that is asked for would be ignored."""
    shape = _behind(exported, split)
    choice = _first_confident(0, split - 1, "head/", _undecided(exported, split))
    whole = _answering(joined(exported.span(0, split - 1), choice), "head/")
    if shape:
        whole = exported.giving(whole, split - 1, "activation")
    whole = renamed(whole, {"pixels": "image"})
    graph = helper.make_graph(
        whole.nodes,
        "flat_head",
        [
            helper.make_tensor_value_info("image", FLOAT, ["batch", *input_shape]),
            helper.make_tensor_value_info("threshold", FLOAT, [1]),
        ],
        _output_infos("batch", shape),
        whole.weights,
    )
    return model(graph, "Exits of the device, without control flow.")


def tail(exported: ExportedBlocks, split: int) -> ModelProto:
    """Exits split+1 to the final classifier, for any batch. Inputs: activation float32 (n, ...), threshold (n, 1).
    Outputs: label, confidence, exit (1-based), each (n,). ``features{i}`` and ``softmax{i}`` keep their names: there
    host/app/staged_tail.py cuts."""
    first, last = split, len(exported.exits) - 1
    if first == last:  # the final classifier alone: no threshold to ask
        number = constant("tail/number", np.array([last + 1], np.int64))
        zeros = helper.make_node("Sub", ["tail/label", "tail/label"], ["tail/zeros"])
        add = helper.make_node("Add", ["tail/zeros", number.name], ["tail/exit"])
        choice = GraphPart([*_best(last, "tail/"), zeros, add], [number])
    else:
        # the final classifier answers whatever its confidence: what "none is confident" gives, but for the number
        choice = _first_confident(first, last, "tail/", otherwise=last + 1)
    whole = joined(exported.span(first, last), choice)
    whole = exported.taking(_answering(whole, "tail/"), first - 1, "activation")
    graph = helper.make_graph(
        whole.nodes,
        "tail",
        [
            helper.make_tensor_value_info("activation", FLOAT, ["batch", *exported.shapes[split - 1]]),
            helper.make_tensor_value_info("threshold", FLOAT, ["batch", 1]),
        ],
        _output_infos("batch", None),
        whole.weights,
    )
    return model(graph, "Exits of the host and the final classifier.")


def nested_head(
    exported: ExportedBlocks,
    split: int,
    input_shape: tuple[int, ...],
    threshold: float,
    cuts: Sequence[int] | None = None,
    repeat_first_block: bool = False,
    table: np.ndarray | None = None,
) -> ModelProto:
    """Exits 1..split for one frame; what lies behind a cut runs only when the frame has not left before it.

    Args:
        cuts: exits (1-based, below ``split``) with a cut behind them (export/onnx/cuts.py says where); all of them by default.
        repeat_first_block: compute block 1 once more behind a first cut at exit 1 instead of handing its features over
            (export/onnx/cuts.py says when).
        table: Q_def (8, 8), to apply DefQ inside the graph; adds the input ``defq`` bool (1,), by default true.

    Inputs and outputs are those of ``flat_head`` with n = 1, but that ``activation`` is empty, (0, ...), for a frame
    that left before the last cut, and that a head that is the whole network has none. What only one payload form needs (device/payload/forms) is not computed here: every
    frame that stays would pay for it, whatever it is sent as.
    """
    shape = _behind(exported, split)
    outputs = OUTPUTS if shape else OUTPUTS[:3]
    cuts = sorted(range(1, split) if cuts is None else cuts)

    def scope(first: int, suffix: str) -> GraphPart:
        """The rest of the head from block ``first`` on, ending in the outputs with ``suffix``."""
        last = next((cut - 1 for cut in cuts if cut - 1 >= first), split - 1)
        prefix, inner = f"exit{last + 1}/", f"_{last + 1}"  # outputs of the branches need names of their own
        innermost = last == split - 1
        one_exit = first == last and not innermost
        otherwise = _undecided(exported, split) if innermost else 0
        choice = _only_confidence(last, prefix) if one_exit else _first_confident(first, last, prefix, otherwise)
        here = joined(exported.span(first, last), choice)
        if repeat_first_block and first == 1:
            here = renamed(joined(exported.blocks[0], here), {"features0": "features0_again"})
        if table is None:
            here = renamed(here, {"pixels": "image"})
        if innermost:
            answer = _answering(here, prefix, suffix)
            return exported.giving(answer, last, f"activation{suffix}") if shape else answer
        rest = scope(last + 1, inner)
        stay = helper.make_graph(rest.nodes, f"stay{last + 1}", [], _output_infos(None, shape, inner), rest.weights)
        leave = _leaving(last, prefix, f"{inner}_left", shape, one_exit)
        names = [name + suffix for name in outputs]
        branch = helper.make_node("If", [f"{prefix}stays"], names, then_branch=stay, else_branch=leave)
        return joined(here, GraphPart([branch], []))

    info, default = _threshold(threshold)
    inputs = [helper.make_tensor_value_info("image", FLOAT, [1, *input_shape]), info]
    whole = scope(0, "")
    if table is not None:
        whole = joined(defq_switch(table, input_shape), whole)
        inputs.append(helper.make_tensor_value_info("defq", BOOL, [1]))
    graph = helper.make_graph(whole.nodes, "nested_head", inputs, _output_infos(None, shape), [default, *whole.weights])
    return model(graph, "Exits of the device; blocks behind an exit run only when the frame has not left.")


def _leaving(last: int, prefix: str, suffix: str, shape: tuple[int, ...] | None, one_exit: bool) -> GraphProto:
    """The branch of a frame that leaves: its answer, and an empty activation where the head hands one over."""
    number = constant(f"{prefix}number", np.array([last + 1], np.int64))
    node = helper.make_node
    if one_exit:
        answer = node("ArgMax", [f"softmax{last}"], [f"label{suffix}"], axis=1, keepdims=0)
        exit_ = number.name
    else:
        answer, exit_ = node("Identity", [f"{prefix}label"], [f"label{suffix}"]), f"{prefix}exit"
    nodes = [
        answer,
        node("Identity", [f"{prefix}confidence"], [f"confidence{suffix}"]),
        node("Identity", [exit_], [f"exit{suffix}"]),
    ]
    weights = [number] if one_exit else []
    if shape:
        empty = constant(f"{prefix}empty", np.zeros((0, *shape), np.float32))
        nodes.append(node("Identity", [empty.name], [f"activation{suffix}"]))
        weights.append(empty)
    return helper.make_graph(nodes, f"leave{last + 1}", [], _output_infos(None, shape, suffix), weights)
