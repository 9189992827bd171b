"""Checks the payload forms of a bundle (device/payload/forms): the host must compute with what the device meant to send.

What is checked, on any frames, synthetic ones included:

* uint8: the host's graph gives the same bits as NumPy does, and the restored activation differs from the activation by at most
  half a quantisation step. The step is computed from the activation and the levels in the manifest, not from the range
  that the form sends, so that a wrong scale, a swapped channel and a range that is cut off are all found.
* coefficients: the rebuilt pixels are those of DefQ in NumPy, and the activation is that of the head for these pixels, up
  to the rounding of float32.
* both: the tail gives the same label and exit as for the activation itself, on every frame that is no tie. A frame is
  a tie if random errors of TIE_MARGIN times the bound above change its answer too: two classes, or a confidence and the
  threshold, lie so close together that any rounding may change the answer. This is a property of the frame and not of the form:
  noise has many ties, photographs few.
"""

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from device.defence.defq import DefQ
from device.errors import DataError
from device.payload.forms.coefficients import packed_coefficients, steps_of
from device.payload.forms.uint8 import quantised, restored
from export.networks.weights import to_tensor
from export.onnx.parity import compare_pixels, pixels_of, session, without_defq

TIE_MARGIN = 4
DRAWS = 8  # of random errors, each added and subtracted
MOST_CHANGED = 0.01  # of the frames: a few draws may miss a tie
ROUNDING = 1e-4  # relative to the largest value of an activation: graphs add in different orders; found: 1e-6
FLOAT = float(np.finfo(np.float32).eps)


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
        models: ``head``, ``tail``, ``from_uint8`` and ``from_coefficients``.
        steps: the table of DefQ, (8, 8).
        levels: of an activation as uint8, as in the manifest.
        frames: uint8 (n, h, w, c); ``origin`` names them.

    Raises:
        DataError: one of the checks failed.
    """
    head = _Head(session(models["head"]))
    tail = session(models["tail"])
    answers = _Answers("uint8", tail, threshold)
    _check_uint8(head, session(models["from_uint8"]), levels, answers, frames, origin)
    answers.check(origin)
    answers = _Answers("coefficients", tail, threshold)
    _check_coefficients(head, models["from_coefficients"], steps, answers, frames, origin)
    answers.check(origin)


def check_restored(activation: np.ndarray, back: np.ndarray, levels: int, name: str) -> float:
    """Compare a restored activation with the activation, each float32 (1, ...).

    Args:
        name: of the frame, for the error.

    Returns:
        The bound: half a quantisation step, in the activation's units.

    Raises:
        DataError: a value differs by more than half a step, beyond what float32 rounds.
    """
    exact = activation.astype(np.float64)
    step = float(exact.max() - exact.min()) / levels
    bound = step / 2
    rounding = 3 * FLOAT * (levels * step + float(np.abs(exact).max()))
    worst = np.abs(back.astype(np.float64) - exact).max()
    if not worst <= bound + rounding:  # also for values that are no numbers
        raise DataError(
            f"uint8: the activation of {name} is restored with an error of {worst:.3g}; expected at most {bound:.3g}, half a "
            f"step of its range over {levels} levels; report this with the model"
        )
    return bound


class _Head(NamedTuple):
    session: onnxruntime.InferenceSession

    def activation(self, image: np.ndarray) -> np.ndarray:
        """The activation of an image float32 (1, c, h, w), with a threshold at which no frame leaves."""
        feed = {"image": image, "threshold": np.full(1, 2, np.float32), **without_defq(self.session)}
        found: np.ndarray = self.session.run(["activation"], feed)[0]
        return found


class _Answers:
    """Compares the answers of the tail for activations as they are with those for activations as a form restores them."""

    def __init__(self, form: str, tail: onnxruntime.InferenceSession, threshold: float) -> None:
        self.form = form
        self.frames = self.ties = self.changed = 0
        self._tail = tail
        self._threshold = threshold
        self._generator = np.random.default_rng(0)

    def add(self, activation: np.ndarray, back: np.ndarray, bound: float) -> None:
        """Args: two activations float32 (1, ...), and by how much a value of ``back`` may be wrong."""
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


def _check_uint8(
    head: _Head,
    from_uint8: onnxruntime.InferenceSession,
    levels: int,
    answers: _Answers,
    frames: np.ndarray,
    origin: str,
) -> None:
    for index, image in enumerate(to_tensor(frames).numpy()):
        activation = head.activation(image[None])
        packed = quantised(activation, levels)
        back = from_uint8.run(None, {"activation_uint8": packed.values, "activation_range": packed.range})[0]
        if not np.array_equal(restored(packed), back):
            raise DataError(
                f"activations from uint8 differ from NumPy for frame {index} of the {origin}; expected the same; "
                "report this with the versions of onnxruntime and numpy"
            )
        bound = check_restored(activation, back, levels, f"frame {index} of the {origin}")
        answers.add(activation, back, bound)


def _check_coefficients(
    head: _Head, model: onnx.ModelProto, steps: np.ndarray, answers: _Answers, frames: np.ndarray, origin: str
) -> None:
    """Frames whose coefficients do not fit into the form are left out: the device sends them as uint8."""
    whole, rebuilt = session(model), pixels_of(model)
    defq, table = DefQ(steps), steps_of(np.asarray(steps, np.float32))
    pixels: list[np.ndarray] = []
    planes: list[np.ndarray] = []
    sent: list[np.ndarray] = []
    for index, frame in enumerate(frames):
        channels = frame.shape[2]
        coefficients = None if table is None else packed_coefficients(defq.levels(frame), channels, table)
        if coefficients is None:
            continue
        feed = {"coefficients": coefficients, "steps": table}
        sent.append(frame)
        planes.append(defq.planes(frame).copy())
        pixels.append(rebuilt.run(["pixels"], feed)[0][0])
        activation, back = head.activation(pixels[-1][None]), whole.run(None, feed)[0]
        bound = ROUNDING * float(np.abs(activation).max())
        worst = np.abs(back - activation).max()
        if not worst <= bound:
            raise DataError(
                f"coefficients: the activation of frame {index} of the {origin} differs from the head's by {worst:.3g}; "
                f"expected at most {bound:.3g}; report this with the model"
            )
        answers.add(activation, back, bound)
    compare_pixels("DefQ by way of coefficients", pixels, planes, sent, steps, origin)
