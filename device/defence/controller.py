"""Decides which defence the next frame gets. Nothing else on the device knows the modes off, on, gated and auto."""

import sys
from typing import Dict, Optional, Type

from device.bundle.reader import Bundle
from device.defence.base import Defence, Treatment
from device.defence.gate import Gate
from device.defence.gated import Gated
from device.defence.monitor import Monitor
from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.errors import UsageError

DEFENCES: Dict[str, Type[Defence]] = {"off": Undefended, "on": Quantised, "gated": Gated}
"""The modes that stand for one defence. A new defence is a file in this folder and a line here."""
AUTO = "auto"
MODES = (*DEFENCES, AUTO)
NEEDED_PARTS: Dict[str, str] = {**{mode: kind.needs for mode, kind in DEFENCES.items() if kind.needs}, AUTO: "monitor"}
"""The modes that need an optional part of the bundle, each with the name of that part."""


class Controller:
    """Names the defence for each frame, and sees what was done to it and where it left.

    The mode ``auto`` leaves frames as they are, and quantises all of them from an alarm of the monitor to its all-clear.
    All but ``mode`` is for the pipeline's thread alone.

    Args:
        bundle: tables, gate and shares of exits.
        rad: relative accuracy drop in percent; the default is the bundle's.
        mode: one of MODES, to begin with.
        monitor: sees every exit; ``auto`` needs one, and in the other modes it only warns.
        threshold: confidence from which a frame leaves, instead of the bundle's for ``rad``.

    Raises:
        UsageError: the bundle lacks what the mode needs.
    """

    def __init__(
        self,
        bundle: Bundle,
        rad: Optional[int] = None,
        mode: str = "on",
        monitor: Optional[Monitor] = None,
        threshold: Optional[float] = None,
    ) -> None:
        self._bundle = bundle
        self._rad = bundle.default_rad if rad is None else rad
        self._threshold = threshold
        self._defences: Dict[str, Defence] = {}
        self.monitor = monitor
        self.mode = mode
        """One of MODES, as it is set now."""
        self.set_mode(mode)

    @classmethod
    def of(cls, bundle: Bundle, rad: int, mode: str, watch: bool = False, learn: int = 0) -> "Controller":
        """A controller with a monitor where one is needed.

        Args:
            watch: let the monitor warn in the other modes than ``auto`` too.
            learn: the first so many frames are clean, and the monitor takes its usual shares of exits from them.

        Raises:
            UsageError: the bundle lacks what the mode or the monitor needs.
        """
        monitor = _monitor_of(bundle, rad, learn) if watch or mode == AUTO else None
        return cls(bundle, rad, mode, monitor)

    @property
    def modes(self) -> Dict[str, str]:
        """Each mode, and why this run cannot take it: one sentence, empty where it can."""
        reasons = {mode: kind.missing(self._bundle) for mode, kind in DEFENCES.items()}
        no_monitor = "found no monitor in this bundle, which DefQ auto needs; expected on or off"
        reasons[AUTO] = "" if self.monitor is not None else no_monitor
        return reasons

    def set_mode(self, mode: str) -> None:
        """Take another mode from the next frame on.

        Raises:
            UsageError: no such mode, or the bundle lacks what it needs.
        """
        reason = self.modes.get(mode, "found {} for DefQ; expected one of {}".format(mode, ", ".join(MODES)))
        if reason:
            raise UsageError(reason)
        if mode != AUTO:
            self._defence_of(mode)  # made here, so that no frame waits for it
        self.mode = mode

    @property
    def defence(self) -> Defence:
        """The defence for the next frame."""
        if self.mode == AUTO:
            return self._defence_of("on" if self.active else "off")
        return self._defence_of(self.mode)

    @property
    def active(self) -> bool:
        """Whether frames are quantised now: all of them, or those that the gate finds."""
        if self.mode == AUTO:
            return self.monitor is not None and self.monitor.attacked
        return self.mode != "off"

    @property
    def gate(self) -> Optional[Gate]:
        """The bundle's gate; None where it has none."""
        return self._bundle.gate

    def describe(self) -> str:
        """The mode and the settings of its defence, for the line at the start of a run."""
        settings = "" if self.mode == AUTO else self._defence_of(self.mode).describe()
        return "{} ({})".format(self.mode, settings) if settings else self.mode

    def saw(self, treatment: Treatment, exit_: int, index: int) -> None:
        """Take what was really done to a frame, and tell of an alarm or an all-clear on stderr.

        Args:
            exit_: 1-based exit of the device that the frame left at; 0 for a frame that stays.
            index: of the frame.
        """
        monitor = self.monitor
        if monitor is None or not monitor.see(exit_, treatment.quantised):
            return
        if monitor.attacked:
            told, defq = "warning: frames leave so late that an attack is likely, found at frame {}", "on"
        else:
            told, defq = "frames leave as usual again, found at frame {}", "off"
        told = told.format(index) + ("; DefQ goes {}".format(defq) if self.mode == AUTO else "")
        print(told, file=sys.stderr, flush=True)

    def _defence_of(self, mode: str) -> Defence:
        if mode not in self._defences:
            self._defences[mode] = DEFENCES[mode](self._bundle, self._rad, self._threshold)
        return self._defences[mode]


def _monitor_of(bundle: Bundle, rad: int, learn: int) -> Monitor:
    """The attack monitor with the bundle's usual shares of exits.

    Raises:
        UsageError: the bundle has none.
    """
    if rad not in bundle.monitor:
        raise UsageError("found no monitor in bundle {}; expected the usual shares of exits in it; calibrate them with: "
                         "defq monitor --model {}, and export the bundle again".format(
                             bundle.path, bundle.model))  # fmt: skip
    return Monitor(bundle.monitor[rad], bundle.split, learn=learn)
