"""The tail of a bundle in ONNX Runtime: in stages while frames leave early, as one flat graph while none does."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime

from device.bundle.reader import Bundle
from device.errors import EngineError, WireError
from device.payload.forms import FORMS, FP32, inputs_of
from device.protocol.tensors import DTYPES
from device.system.json_text import shown
from host.app.tail_stages import Stages

OUTPUTS = ["label", "confidence", "exit"]
# Each cut costs up to a tenth of a small tail's time, so stages must save more than that; they do when frames leave.
STAGES_BELOW = 0.7  # of the tail's work, which a frame needs on average
FRAMES_SEEN = 64  # over about how many frames that average goes


class Answers(NamedTuple):
    """label int64 (n,), confidence float32 (n,), exit int64 (n,), 1-based."""

    label: np.ndarray
    confidence: np.ndarray
    exit: np.ndarray


class Inputs(NamedTuple):
    """A checked request of n frames. tensors: those of its payload form, (n, ...) each; threshold: float32 (n, 1)."""

    form: str
    tensors: dict[str, np.ndarray]
    threshold: np.ndarray

    @property
    def frames(self) -> int:
        return len(self.threshold)


class Tail:
    """Runs exits k+1 to the final classifier for a batch, behind the graph of each request's payload form.

    Which way is faster depends on the traffic: stages skip what frames that left no longer need, and lose a little at
    each cut when nobody leaves, as under attack. Both ways give the same answers, exits among them, so every batch
    tells how much work its frames would have needed in stages, and the next one runs the better way.

    Args:
        bundle: where the tail comes from.
        threads: of ONNX Runtime; 0 = all cores.
        stages: False never cuts the tail: half the memory, and a batch takes as long whatever its frames are.

    Attributes:
        forms: the payload forms that it takes, from the smallest -> datatype and shape of each tensor.

    Raises:
        BundleError: a graph was changed, or has values in another file.
        EngineError: ONNX Runtime cannot load one.
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
            cut = Stages(model, self._session) if stages else None
            self._before = {form: self._session(graph) for form, graph in small.items()}
        except Exception as error:  # its exceptions have no public base class
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} could not load a graph of {bundle.path} ({str(error)[:200]}); install the onnxruntime of requirements-host.txt"
            ) from error
        self._stages = cut if cut and len(cut.ends) > 1 else None
        if self._stages:
            self._work_to = _work_to(bundle, self._stages.ends)
        self._work = 0.0  # that frames need; clean traffic until frames say otherwise

    def _session(self, model: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # a server's cores are shared with its own event loop: threads that spin would take them from it
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def checked(self, tensors: dict[str, np.ndarray], max_batch: int) -> Inputs:
        """The inputs of a request, or a sentence on what is wrong with them.

        Args:
            tensors: those of one payload form, (n, ...) each, and, if wanted, ``threshold`` float32 (n, 1).

        Returns:
            Its inputs; the threshold of the bundle's default RAD where the request has none.

        Raises:
            WireError: another name, type or shape, more than ``max_batch`` frames, or values that are not finite.
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
        # one pass instead of three: a sum is finite unless a value is not, or values near the limit of float32 add up
        for name, array in (*inputs.items(), ("threshold", threshold)):
            if array.dtype.kind != "f":
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                total = array.sum()
            if not np.isfinite(total) and not np.isfinite(array).all():
                raise WireError(f"found NaN or infinite values in {name}; expected finite ones")
        return Inputs(form, inputs, threshold)

    def answer(self, requests: Sequence[Inputs]) -> Answers:
        """Classify the frames of all requests together, whatever their forms; the answers are in their order."""
        if len(requests) == 1:
            return self.run(self._activation(requests), requests[0].threshold)
        threshold = np.concatenate([each.threshold for each in requests])
        if len({each.form for each in requests}) == 1:
            return self.run(self._activation(requests), threshold)
        activation = np.empty((len(threshold), *self.bundle.activation_shape), np.float32)
        row_forms = np.repeat([each.form for each in requests], [each.frames for each in requests])
        for form in set(row_forms.tolist()):
            activation[row_forms == form] = self._activation([each for each in requests if each.form == form])
        return self.run(activation, threshold)

    def _activation(self, requests: Sequence[Inputs]) -> np.ndarray:
        """What the tail takes, of requests of one form."""
        first = requests[0]
        tensors = first.tensors
        if len(requests) > 1:
            tensors = {name: np.concatenate([each.tensors[name] for each in requests]) for name in tensors}
        if first.form == FP32:
            return tensors["activation"]
        activation: np.ndarray = self._before[first.form].run(["activation"], tensors)[0]
        return activation

    def run(self, activation: np.ndarray, threshold: np.ndarray) -> Answers:
        """Classify. activation: float32 (n, ...); threshold: float32 (n, 1)."""
        if self._stages is None:
            return self._run_flat(activation, threshold)
        staged = self._work < STAGES_BELOW
        answers = Answers(*self._stages.run(activation, threshold)) if staged else self._run_flat(activation, threshold)
        # plain numbers: NumPy's calls took some 40 us more here, 2 to 3 % of the smallest tail's time
        exits = answers.exit.tolist()
        work = sum(self._work_to[exit_] for exit_ in exits) / len(exits)
        self._work += min(1.0, len(exits) / FRAMES_SEEN) * (work - self._work)
        return answers

    def _run_flat(self, activation: np.ndarray, threshold: np.ndarray) -> Answers:
        return Answers(*self._flat.run(OUTPUTS, {"activation": activation, "threshold": threshold}))


def forms_of(bundle: Bundle) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
    """The payload forms that the host of a bundle takes, from the smallest -> datatype and shape of each tensor."""
    return {form: inputs_of(form, bundle) for form in FORMS if form == FP32 or "from_" + form in bundle.graphs}


def _work_to(bundle: Bundle, ends: list[int]) -> dict[int, float]:
    """Exit, 1-based -> share of the tail's work to the end of the stage that holds it."""
    costs = [0.0, *bundle.relative_costs]
    done = costs[bundle.split]  # on the device
    exits = range(bundle.split + 1, len(costs))
    whole = costs[-1] - done
    return {each: (costs[next(end for end in ends if end >= each)] - done) / whole for each in exits}
