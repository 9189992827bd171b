"""The two switches of the page. What is asked for in a server thread takes effect in the loop's thread, between frames."""

import threading
from typing import Any, Dict, Optional

from device.defence.ladder import RUNGS
from device.errors import UsageError
from device.loop.pipeline import Attack, Pipeline
from device.preview.attackers import Attacker


class Switches:
    """Attack on or off; DefQ in one of the controller's modes.

    Args:
        pipeline: is switched; its settings are where the switches begin.
        attacker: None where there is none, and ``why_not`` says why.
        attack: what the pipeline is given for the attacker; the default is the attacker itself.
    """

    def __init__(
        self, pipeline: Pipeline, attacker: Optional[Attacker], why_not: str = "", attack: Optional[Attack] = None
    ) -> None:
        self.attack = False
        self.defq = pipeline.controller.mode
        self._pipeline = pipeline
        self._attacker = attacker
        self._attack = attacker if attack is None else attack
        self._why_not = why_not
        self._lock = threading.Lock()
        self._changed = False

    def ask(self, wanted: Dict[str, Any]) -> None:
        """Take ``{"attack": bool}``, ``{"defq": MODE}`` or both; from any thread.

        Raises:
            UsageError: something else, or what this run cannot do; nothing is switched then.
        """
        unknown = sorted(set(wanted) - {"attack", "defq"})
        if unknown or not wanted:
            raise UsageError("found {} to switch; expected attack or defq".format(", ".join(unknown)[:80] or "nothing"))
        attack, defq = wanted.get("attack", self.attack), wanted.get("defq", self.defq)
        if not isinstance(attack, bool):
            raise UsageError("found {} for the attack; expected true or false".format(repr(attack)[:80]))
        modes = self._pipeline.controller.modes
        if not isinstance(defq, str) or defq not in modes:
            raise UsageError("found {} for DefQ; expected one of {}".format(repr(defq)[:80], ", ".join(modes)))
        if attack and self._attacker is None:
            raise UsageError("found no attack to switch on ({})".format(self._why_not))
        if modes[defq]:
            raise UsageError(modes[defq])
        self._pipeline.controller.prepare(defq)  # here, and not between two frames
        with self._lock:
            self.attack, self.defq, self._changed = attack, defq, True

    def apply(self) -> None:
        """Do what was asked for; called in the loop's thread between two frames."""
        if self._changed:
            with self._lock:
                attack, defq, self._changed = self.attack, self.defq, False
            self._pipeline.attack = self._attack if attack else None
            self._pipeline.controller.set_mode(defq)

    def to_dict(self) -> Dict[str, Any]:
        """Where the switches stand, ready for JSON."""
        attacker, controller = self._attacker, self._pipeline.controller
        return {
            "attack": {
                "on": self.attack,
                "available": attacker is not None,
                "kind": "none" if attacker is None else attacker.kind,
                "text": self._why_not if attacker is None else attacker.describe(),
            },
            "defq": {
                "mode": self.defq,
                "active": controller.active,
                "rung": RUNGS[controller.rung],
                "changed_at": controller.changed_at,
                "unavailable": {mode: reason for mode, reason in controller.modes.items() if reason},
            },
        }
