"""Checks the payload forms of a bundle: the host must compute with what the device meant to send.

Each form checks what its graph restores by a bound of its own (export/onnx/forms). For all forms alike, the tail must give the same
label and exit as for the activation itself, on every frame that is no tie, whatever the frames are. A frame is a tie if random errors
of TIE_MARGIN times the bound change its answer too: two classes, or a confidence and the threshold, lie so close together that
any rounding may change the answer. This is a property of the frame and not of the form: noise has many ties, photographs few.
"""

import numpy as np
import onnx
import onnxruntime

from device.errors import DataError
from export.onnx.forms.base import Case, Restoration
from export.onnx.forms.find import form_modules
from export.onnx.parity import session

TIE_MARGIN = 4
DRAWS = 8  # of random errors, each added and subtracted
MOST_CHANGED = 0.01  # of the frames: a few draws may miss a tie


def check_forms(
    models: dict[str, onnx.ModelProto],
    steps: np.ndarray,
    levels: int,
    threshold: float,
    frames: np.ndarray,
    origin: str,
) -> None:
    """Check what the docstring of this module says, and print the result.

    Args:
        models: ``head``, ``tail`` and the graph of each form, ``from_NAME``.
        steps: the table of DefQ, (8, 8).
        levels: of an activation as uint8, as in the manifest.
        frames: uint8 (n, h, w, c); ``origin`` names them.

    Raises:
        DataError: one of the checks failed.
    """
    head, tail = session(models["head"]), session(models["tail"])
    for form, module in form_modules().items():
        answers = TailAnswers(form, tail, threshold)
        for each in module.restorations(Case(models[f"from_{form}"], head, steps, levels, frames, origin)):
            answers.add(each)
        answers.check(origin)


class TailAnswers:
    """Compares the answers of the tail for activations as they are with those for activations as a form restores them."""

    def __init__(self, form: str, tail: onnxruntime.InferenceSession, threshold: float) -> None:
        self.form = form
        self.frames = self.ties = self.changed = 0
        self._tail = tail
        self._threshold = threshold
        self._generator = np.random.default_rng(0)

    def add(self, frame: Restoration) -> None:
        """Compare the answers for one frame."""
        activation, back, bound = frame
        self.frames += 1
        if self._alike(np.concatenate([activation, back])):
            return
        most = TIE_MARGIN * bound
        errors = self._generator.uniform(-most, most, (DRAWS, *activation.shape[1:])).astype(np.float32)
        if self._alike(np.concatenate([activation, activation + errors, activation - errors])):
            self.changed += 1
        else:
            self.ties += 1

    def check(self, origin: str) -> None:
        """Print how often the tail answers as with float32.

        Raises:
            DataError: it answers otherwise on more frames without a tie than a few draws can miss.
        """
        same = self.frames - self.ties - self.changed
        found = (
            f"{self.form}: the tail answers as with float32 on {same} of {self.frames} {origin}, and otherwise on {self.ties} at "
            f"a tie and {self.changed} at none"
        )
        print(found)
        if self.changed > max(1, MOST_CHANGED * self.frames):
            raise DataError(f"{found}; expected at most {MOST_CHANGED:.0%} at none; report this with the model")

    def _alike(self, activations: np.ndarray) -> bool:
        limits = np.full((len(activations), 1), self._threshold, np.float32)
        label, exit_ = self._tail.run(["label", "exit"], {"activation": activations, "threshold": limits})
        return bool((label == label[0]).all() and (exit_ == exit_[0]).all())
