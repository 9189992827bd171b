"""The tail of a bundle in ONNX Runtime. It runs in stages while frames leave early, and as one flat graph while they do not."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime

from device.bundle.reader import Bundle
from device.engines.onnx_runtime import int8_precision
from device.errors import EngineError, WireError
from device.payload.forms import FORMS, FP32, inputs_of
from device.protocol.tensors import DTYPES
from device.system.json_text import shown
from host.app.staged_tail import StagedTail

OUTPUTS = ["label", "confidence", "exit"]
# Each cut costs up to a tenth of the time of a small tail, so stages must save more than that. They do when frames leave.
STAGES_BELOW = 0.7  # mean share of the tail's work that a frame needs; the tail runs in stages while it is lower
FRAMES_SEEN = 64  # number of frames over which that mean is taken, approximately


class Answers(NamedTuple):
    """Answers to n frames: label int64 (n,), confidence float32 (n,), exit int64 (n,), counted from 1."""

    label: np.ndarray
    confidence: np.ndarray
    exit: np.ndarray


class Inputs(NamedTuple):
    """A request of n frames that has been checked.

    form: its payload form. tensors: the tensors of this form, (n, ...) each. threshold: float32 (n, 1).
    """

    form: str
    tensors: dict[str, np.ndarray]
    threshold: np.ndarray

    @property
    def frames(self) -> int:
        """Number of frames, n."""
        return len(self.threshold)


class Tail:
    """Runs the exits behind the split, up to the final classifier, for a batch of frames.

    A request whose payload form is not fp32 runs through the graph of its form first, which restores the activation.

    The tail can run in stages (host/app/staged_tail.py) or as one flat graph. Stages save the work behind the exit at which a
    frame leaves, but each cut between two stages costs some time. So stages are faster for clean frames, and the flat graph is
    faster when hardly any frame leaves early, as under attack. Both give the same answers. The exits in these answers tell
    how much work the frames would have needed in stages, and a running mean of that decides how the next batch runs.

    Args:
        bundle: the bundle whose tail is run.
        threads: threads of ONNX Runtime; 0 = one for each core.
        stages: False loads the flat graph alone. That needs half of the memory, and the time of a batch does not depend on
            its frames.

    Attributes:
        forms: payload forms that the tail accepts, from the smallest, with datatype and shape of each tensor.
        stage_ends: last exit of each stage, from 1; empty if the tail only runs as one flat graph.

    Raises:
        BundleError: a graph was changed, or keeps values in another file.
        EngineError: ONNX Runtime cannot load a graph.
    """

    def __init__(self, bundle: Bundle, threads: int = 0, stages: bool = True) -> None:
        self.bundle = bundle
        self._threads = threads or os.cpu_count() or 1
        model = bundle.read("tail")
        small = {form: bundle.read("from_" + form) for form in forms_of(bundle) if form != FP32}
        self.forms = forms_of(bundle)
        self._names = {frozenset(inputs): form for form, inputs in self.forms.items()}
        try:
            self._flat = self._session(model)
            staged = StagedTail(model, self._session) if stages else None
            self._form_graphs = {form: self._session(graph) for form, graph in small.items()}
        except Exception as error:  # exceptions of ONNX Runtime have no public base class
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} could not load a graph of {bundle.path} ({str(error)[:200]}); install the onnxruntime of requirements-host.txt"
            ) from error
        self._staged = staged if staged and len(staged.ends) > 1 else None
        self.stage_ends = self._staged.ends if self._staged else []
        self._work_to = work_to_exits(bundle, self.stage_ends)
        self._work = 0.0  # mean work of a frame; traffic counts as clean until its exits say otherwise

    @property
    def runs_in_stages(self) -> bool:
        """Whether the next batch runs in stages."""
        return self._staged is not None and self._work < STAGES_BELOW

    def _session(self, model: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # The cores are shared with the event loop of the server, and threads that spin would take them from it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(*int8_precision())
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def checked(self, tensors: dict[str, np.ndarray], max_batch: int) -> Inputs:
        """Check the tensors of a request.

        Args:
            tensors: the tensors of one payload form, (n, ...) each, and optionally ``threshold`` float32 (n, 1).
            max_batch: largest number of frames.

        Returns:
            The inputs of the request, with the threshold of the bundle's default RAD if the request has none.

        Raises:
            WireError: a tensor has another name, type or shape or holds values that are not finite, or there are more than
                ``max_batch`` frames.
        """
        form = self._names.get(frozenset(tensors) - {"threshold"})
        if form is None:
            known = ", or ".join(" and ".join(self.forms[each]) for each in reversed(self.forms))
            raise WireError(f"found inputs {shown(sorted(tensors))}; expected {known}, and, if wanted, threshold")
        expected = self.forms[form]
        frames = len(tensors[next(iter(expected))]) if all(each.ndim for each in tensors.values()) else 0
        for name, (dtype, shape) in expected.items():
            array = tensors[name]
            if array.dtype != DTYPES[dtype] or array.shape != (frames, *shape) or not frames:
                raise WireError(
                    f"found {name} of type {array.dtype} and shape {list(array.shape)}; expected {np.dtype(DTYPES[dtype])} "
                    f"[{frames or 'n'}, {', '.join(map(str, shape))}]"
                )
        if frames > max_batch:
            raise WireError(f"found {frames} frames in one request; expected at most {max_batch}", 413)
        default = self.bundle.thresholds[self.bundle.default_rad]
        threshold = tensors.get("threshold", np.full((frames, 1), default, np.float32))
        if threshold.dtype != np.float32 or threshold.shape != (frames, 1):
            raise WireError(
                f"found threshold of type {threshold.dtype} and shape {list(threshold.shape)}; expected float32 [{frames}, 1]"
            )
        inputs = {name: tensors[name] for name in expected}
        # The sum needs one pass over the values where np.isfinite needs three. It is finite unless a value is not finite or
        # values near the limit of float32 add up.
        for name, array in (*inputs.items(), ("threshold", threshold)):
            if array.dtype.kind != "f":
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                total = array.sum()
            if not np.isfinite(total) and not np.isfinite(array).all():
                raise WireError(f"found NaN or infinite values in {name}; expected finite ones")
        return Inputs(form, inputs, threshold)

    def answer(self, requests: Sequence[Inputs]) -> Answers:
        """Classify the frames of all requests together, whatever their payload forms are. The answers keep the order of the
        requests."""
        if len(requests) == 1:
            return self.run(self.activation_of(requests), requests[0].threshold)
        threshold = np.concatenate([each.threshold for each in requests])
        if len({each.form for each in requests}) == 1:
            return self.run(self.activation_of(requests), threshold)
        activation = np.empty((len(threshold), *self.bundle.activation_shape), np.float32)
        row_forms = np.repeat([each.form for each in requests], [each.frames for each in requests])
        for form in set(row_forms.tolist()):
            activation[row_forms == form] = self.activation_of([each for each in requests if each.form == form])
        return self.run(activation, threshold)

    def activation_of(self, requests: Sequence[Inputs]) -> np.ndarray:
        """The activation, float32 (n, ...), of requests that all have the same payload form."""
        first = requests[0]
        tensors = first.tensors
        if len(requests) > 1:
            tensors = {name: np.concatenate([each.tensors[name] for each in requests]) for name in tensors}
        if first.form == FP32:
            return tensors["activation"]
        activation: np.ndarray = self._form_graphs[first.form].run(["activation"], tensors)[0]
        return activation

    def run(self, activation: np.ndarray, threshold: np.ndarray) -> Answers:
        """Classify n frames. activation: float32 (n, ...); threshold: float32 (n, 1)."""
        if self._staged is None:
            return self._run_flat(activation, threshold)
        if self.runs_in_stages:
            answers = Answers(*self._staged.run(activation, threshold))
        else:
            answers = self._run_flat(activation, threshold)
        # Plain numbers, because NumPy's functions took 40 us more here, 2 to 3 % of the time of the smallest tail.
        exits = answers.exit.tolist()
        work = sum(self._work_to[exit_] for exit_ in exits) / len(exits)
        self._work += min(1.0, len(exits) / FRAMES_SEEN) * (work - self._work)
        return answers

    def _run_flat(self, activation: np.ndarray, threshold: np.ndarray) -> Answers:
        return Answers(*self._flat.run(OUTPUTS, {"activation": activation, "threshold": threshold}))


def forms_of(bundle: Bundle) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
    """Payload forms that the host of a bundle accepts, from the smallest, with datatype and shape of each tensor."""
    return {form: inputs_of(form, bundle) for form in FORMS if form == FP32 or "from_" + form in bundle.graphs}


def work_to_exits(bundle: Bundle, ends: list[int]) -> dict[int, float]:
    """Share of the tail's work up to the end of the stage in which an exit lies, for each exit behind the split (from 1).

    Args:
        ends: last exit of each stage; empty = no stages, and then the result is empty.
    """
    if not ends:
        return {}
    costs = [0.0, *bundle.relative_costs]
    done = costs[bundle.split]  # work that the device has done
    exits = range(bundle.split + 1, len(costs))
    whole = costs[-1] - done
    return {each: (costs[next(end for end in ends if end >= each)] - done) / whole for each in exits}
