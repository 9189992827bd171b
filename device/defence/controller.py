"""Decides which defence and which graphs the next frame gets. Nothing else on the device knows the modes off, on, gated, auto and twin."""

import sys
from typing import Dict, NamedTuple, Optional, Type

from device.bundle.reader import Bundle
from device.bundle.twin import Twin
from device.defence.base import Defence, Treatment
from device.defence.gate import Gate
from device.defence.gated import Gated
from device.defence.ladder import DEFQ, PEACE, TWIN, Ladder, TwinShares
from device.defence.monitor import Monitor
from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.engines.base import Engine
from device.engines.sleeping import SleepingEngine
from device.errors import UsageError

DEFENCES: Dict[str, Type[Defence]] = {"off": Undefended, "on": Quantised, "gated": Gated}
"""The modes that stand for one defence. A new defence is a file in this folder and a line here."""
AUTO = "auto"
ON_TWIN = "twin"
MODES = (*DEFENCES, AUTO, ON_TWIN)
NEEDED_PARTS: Dict[str, str] = {**{mode: kind.needs for mode, kind in DEFENCES.items() if kind.needs}, AUTO: "monitor"}
"""The modes that need an optional part of the bundle, each with the name of that part."""


ALARM = "warning: frames leave so late that an attack is likely, found at frame {}"
PAST_DEFQ = "warning: frames leave late behind DefQ too, so that the attacker is likely to know it, found at frame {}"
ALL_CLEAR = "frames leave as usual again, found at frame {}"


class HardenedTwin(NamedTuple):
    """The bundle's hardened twin, and the engine that runs its head once it is awake."""

    twin: Twin
    head: SleepingEngine


class Controller:
    """Names the defence for each frame and the engine that runs it, and sees what was done to it and where it left.

    The mode ``auto`` leaves frames as they are, quantises all of them from an alarm of the monitor to its all-clear, and has the
    hardened twin answer where DefQ does not help (device/defence/ladder.py). The mode ``twin`` has it answer every frame.
    All but ``mode`` is for the pipeline's thread alone.

    Args:
        bundle: tables, gate and shares of exits.
        rad: relative accuracy drop in percent; the default is the bundle's.
        mode: one of MODES, to begin with.
        monitor: sees every exit; ``auto`` needs one, and in the other modes it only warns.
        threshold: confidence from which a frame leaves, instead of the bundle's for ``rad``.
        twin: the hardened twin; None where the bundle carries none.

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
        twin: Optional[HardenedTwin] = None,
    ) -> None:
        self._bundle = bundle
        self._rad = bundle.default_rad if rad is None else rad
        self._threshold = threshold
        self._defences: Dict[str, Defence] = {}
        self._twin = twin
        self._twin_defence: Optional[Defence] = None
        if twin is not None:  # made here, so that no frame waits for it
            self._twin_defence = DEFENCES["on" if twin.twin.quantised else "off"](twin.twin.bundle, self._rad)
        self.monitor = monitor
        self.ladder: Optional[Ladder] = None
        """Of the mode ``auto``; None without a monitor."""
        self.changed_at: Optional[int] = None
        """Frame after which ``auto`` took another rung the last time; None where it never did."""
        if monitor is not None:
            shares = bundle.monitor.get(self._rad)
            self.ladder = Ladder(monitor, shares, bundle.split, _shares_of(twin, self._rad))
        self.mode = mode
        """One of MODES, as it is set now."""
        self.prepare(mode)
        self.set_mode(mode)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        rad: int,
        mode: str,
        watch: bool = False,
        learn: int = 0,
        twin: Optional[HardenedTwin] = None,
    ) -> "Controller":
        """A controller with a monitor where one is needed.

        Args:
            watch: let the monitor warn in the other modes than ``auto`` too.
            learn: the first so many frames are clean, and the monitor takes its usual shares of exits from them.

        Raises:
            UsageError: the bundle lacks what the mode or the monitor needs.
        """
        monitor = _monitor_of(bundle, rad, learn) if watch or mode == AUTO else None
        return cls(bundle, rad, mode, monitor, twin=twin)

    @property
    def modes(self) -> Dict[str, str]:
        """Each mode, and why this run cannot take it: one sentence, empty where it can."""
        reasons = {mode: kind.missing(self._bundle) for mode, kind in DEFENCES.items()}
        no_monitor = "found no monitor in this bundle, which DefQ auto needs; expected on or off"
        reasons[AUTO] = "" if self.monitor is not None else no_monitor
        no_twin = "found no hardened twin in bundle {}; expected one whose exits are all on the device; make it with: defq harden --model {}, and export the bundle again with --twin head"
        reasons[ON_TWIN] = "" if self._twin is not None else no_twin.format(self._bundle.path, self._bundle.model)
        return reasons

    def prepare(self, mode: str) -> None:
        """Start what a mode needs, which may take seconds. Any thread but the loop's may call this before it asks for ``set_mode``."""
        if mode == ON_TWIN and self._twin is not None:
            self._twin.head.wait()

    def set_mode(self, mode: str) -> None:
        """Take another mode from the next frame on.

        Raises:
            UsageError: no such mode, or the bundle lacks what it needs.
        """
        reason = self.modes.get(mode, "found {} for DefQ; expected one of {}".format(mode, ", ".join(MODES)))
        if reason:
            raise UsageError(reason)
        if mode == ON_TWIN and self._twin is not None and self._twin.head.engine is None:
            raise UsageError("found a hardened twin that has not been started; expected one that runs here; see the warnings, or "
                             "choose another mode")  # fmt: skip
        for each in ("off", "on") if mode == AUTO else (mode,) if mode in DEFENCES else ():
            self._defence_of(each)  # made here, so that no frame waits for it
        self.mode = mode

    @property
    def rung(self) -> int:
        """PEACE, DEFQ or TWIN of device/defence/ladder.py: what the next frame gets, in every mode."""
        if self.mode == AUTO and self.ladder is not None:
            return self.ladder.rung
        return TWIN if self.mode == ON_TWIN else PEACE if self.mode == "off" else DEFQ

    @property
    def engine(self) -> Optional[Engine]:
        """The engine of the hardened twin where it answers the next frame; None for the engine of the network itself."""
        return self._twin.head.engine if self._twin is not None and self.rung == TWIN else None

    @property
    def defence(self) -> Defence:
        """The defence for the next frame."""
        rung = self.rung
        if rung == TWIN and self._twin_defence is not None:
            return self._twin_defence
        if self.mode == AUTO:
            return self._defence_of("on" if rung == DEFQ else "off")
        return self._defence_of(self.mode)

    @property
    def active(self) -> bool:
        """Whether frames are defended now: all of them, or those that the gate finds."""
        return self.rung != PEACE

    @property
    def gate(self) -> Optional[Gate]:
        """The bundle's gate; None where it has none."""
        return self._bundle.gate

    def describe(self) -> str:
        """The mode and the settings of its defence, for the line at the start of a run."""
        if self.mode == ON_TWIN:
            return "twin (the hardened twin answers every frame)"
        settings = "" if self.mode == AUTO else self._defence_of(self.mode).describe()
        return "{} ({})".format(self.mode, settings) if settings else self.mode

    def saw(self, treatment: Treatment, exit_: int, index: int) -> None:
        """Take what was really done to a frame, and tell of an alarm or an all-clear on stderr.

        Args:
            exit_: 1-based exit of the device that the frame left at; 0 for a frame that stays.
            index: of the frame.
        """
        if self.mode == AUTO and self.ladder is not None:
            self._climb(self.ladder, treatment, exit_, index)
        elif self.monitor is not None and self.mode != ON_TWIN and self.monitor.see(exit_, treatment.quantised):
            told = ALARM if self.monitor.attacked else ALL_CLEAR
            print(told.format(index), file=sys.stderr, flush=True)

    def _climb(self, ladder: Ladder, treatment: Treatment, exit_: int, index: int) -> None:
        """Let the ladder see a frame, wake the twin with the first frame behind DefQ, and tell of another rung."""
        before = ladder.rung
        if before == DEFQ and self._twin is not None:  # the monitor may have raised its alarm in another mode
            self._twin.head.wake()
        ready = self._twin is not None and self._twin.head.engine is not None
        if not ladder.see(before, exit_, treatment.quantised, ready):
            return
        self.changed_at = index
        now = ladder.rung
        told = {
            (PEACE, DEFQ): ALARM + "; DefQ goes on",
            (DEFQ, PEACE): ALL_CLEAR + "; DefQ goes off",
            (DEFQ, TWIN): PAST_DEFQ + "; the hardened twin answers",
            (TWIN, DEFQ): "DefQ is tried again after frame {}; the hardened twin sleeps",
            (TWIN, PEACE): ALL_CLEAR + "; the hardened twin sleeps",
        }[before, now]
        print(told.format(index), file=sys.stderr, flush=True)

    def _defence_of(self, mode: str) -> Defence:
        if mode not in self._defences:
            self._defences[mode] = DEFENCES[mode](self._bundle, self._rad, self._threshold)
        return self._defences[mode]


def _shares_of(twin: Optional[HardenedTwin], rad: int) -> Optional[TwinShares]:
    """The shares of the twin's exits that its rung has; None where there is no twin, or none with a monitor."""
    shares = None if twin is None else twin.twin.bundle.monitor.get(rad)
    if twin is None or shares is None:
        return None
    return TwinShares(
        *((shares.clean_defq, shares.attacked_defq) if twin.twin.quantised else (shares.clean, shares.attacked))
    )


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
