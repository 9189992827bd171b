"""Which defence a frame gets, in every mode."""

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.bundle.twin import read_twin
from device.defence.base import Treatment
from device.defence.controller import DEFENCES, MODES, Controller, HardenedTwin
from device.defence.ladder import DEFQ, PEACE, TWIN
from device.defence.monitor import ExitShares
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.engines.sleeping import SleepingEngine
from device.errors import EngineError, UsageError

SHARES = ExitShares(*(np.array(each) for each in ([0.8, 0.2], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7])))


class GivenMonitor:
    """Believes in an attack when the test says so; keeps what it is told."""

    def __init__(self):
        self.attacked = False
        self.alarms = 0
        self.seen = []
        self.then = None  # what it believes after the next frame

    def see(self, exit_, quantised):
        self.seen.append((exit_, quantised))
        before = self.attacked
        if self.then is not None:
            self.attacked = self.then
        return self.attacked != before


@pytest.fixture
def monitor():
    return GivenMonitor()


def watched(bundle):
    return bundle._replace(monitor={5: SHARES, 10: SHARES})


def treatment(table=None):
    return Treatment(np.zeros((1, 3, 16, 16), np.float32), 0.5, table)


def test_a_mode_for_every_defence_and_auto_and_the_twin():
    assert list(MODES) == [*DEFENCES, "auto", "twin"]
    assert {"off", "on", "gated"} <= set(DEFENCES)


@pytest.mark.parametrize("mode", sorted(DEFENCES))
def test_each_mode_has_its_defence(gated_bundle, mode):
    controller = Controller(gated_bundle, 5, mode)
    assert controller.mode == mode
    assert type(controller.defence) is DEFENCES[mode]
    assert controller.defence is controller.defence  # its work space is kept
    assert controller.active is (mode != "off")


def test_the_default_is_all_frames_at_the_threshold_of_the_bundle(bundle, frames):
    controller = Controller(bundle)
    assert controller.mode == "on"
    assert controller.defence.treat(frames[0]).threshold == bundle.thresholds[bundle.default_rad]


@pytest.mark.parametrize("rad", [5, 10])
def test_the_defence_has_the_threshold_of_the_rad(bundle, frames, rad):
    for mode in ("off", "on"):
        assert Controller(bundle, rad, mode).defence.treat(frames[0]).threshold == bundle.thresholds[rad]
        assert Controller(bundle, rad, mode, threshold=0.25).defence.treat(frames[0]).threshold == 0.25


def test_another_mode_holds_for_the_next_frame(gated_bundle, frames):
    controller = Controller(gated_bundle, 5, "off")
    for mode, quantised in (("on", True), ("off", False), ("on", True)):
        controller.set_mode(mode)
        assert (controller.mode, controller.defence.treat(frames[0]).quantised) == (mode, quantised)


def test_modes_that_a_run_cannot_take_have_a_reason(bundle, gated_bundle, monitor):
    assert {mode for mode, reason in Controller(bundle).modes.items() if reason} == {"gated", "auto", "twin"}
    reasons = Controller(bundle).modes
    assert "found no monitor" in reasons["auto"]
    assert "no gate in bundle" in reasons["gated"]
    assert "found no hardened twin in bundle" in reasons["twin"]
    assert {mode for mode, reason in Controller(gated_bundle, monitor=monitor).modes.items() if reason} == {"twin"}


@pytest.mark.parametrize(
    ("mode", "told"), [("gated", "no gate"), ("auto", "no monitor"), ("maybe", "found maybe for DefQ")]
)
def test_a_mode_that_is_refused_changes_nothing(bundle, mode, told):
    controller = Controller(bundle, 5, "on")
    with pytest.raises(UsageError, match=told):
        controller.set_mode(mode)
    assert (controller.mode, type(controller.defence)) == ("on", DEFENCES["on"])
    with pytest.raises(UsageError, match=told):
        Controller(bundle, 5, mode)


def test_auto_quantises_all_frames_while_an_attack_is_believed_in(gated_bundle, clean_and_noisy, monitor):
    """Also where the bundle has a gate: the monitor's usual shares of exits are those of all frames and the bundle's table."""
    controller = Controller(gated_bundle, 5, "auto", monitor)
    for attacked in (False, True, False):
        monitor.attacked = attacked
        assert (controller.mode, controller.active) == ("auto", attacked)
        assert type(controller.defence) is DEFENCES["on" if attacked else "off"]
        treatments = [controller.defence.treat(pixels) for pixels in clean_and_noisy]
        assert [each.quantised for each in treatments] == [attacked, attacked]
        assert [each.found for each in treatments] == [None, None]


@pytest.mark.parametrize("mode", ["off", "on", "gated", "auto"])
@pytest.mark.parametrize("suspected", [False, True])
def test_the_monitor_is_told_what_was_done_to_each_frame(gated_bundle, clean_and_noisy, monitor, mode, suspected):
    monitor.attacked = suspected
    controller = Controller(gated_bundle, 5, mode, monitor)
    for exit_, pixels in enumerate(clean_and_noisy):
        controller.saw(controller.defence.treat(pixels), exit_, exit_)
    expected = {"off": [False, False], "on": [True, True], "gated": [False, True], "auto": [suspected, suspected]}[mode]
    assert monitor.seen == list(enumerate(expected))


@pytest.mark.parametrize(("mode", "more"), [("off", ""), ("on", ""), ("auto", "; DefQ goes ")])
def test_alarms_and_all_clears_are_told_once(bundle, monitor, capsys, mode, more):
    controller = Controller(bundle, 5, mode, monitor)
    controller.saw(treatment(), 1, 7)
    assert capsys.readouterr().err == ""
    monitor.then = True
    controller.saw(treatment(), 0, 8)
    alarm = "warning: frames leave so late that an attack is likely, found at frame 8"
    assert capsys.readouterr().err == alarm + (more and more + "on") + "\n"
    monitor.then = False
    controller.saw(treatment(bundle.table), 1, 9)
    assert capsys.readouterr().err == "frames leave as usual again, found at frame 9" + (more and more + "off") + "\n"


@pytest.fixture
def twin(twin_folder):
    """Asleep; its engine runs once it is awake."""
    found = read_twin(load_bundle(twin_folder))
    head = SleepingEngine(found.bundle, lambda: OnnxRuntimeEngine(found.bundle, 1))
    yield HardenedTwin(found, head)
    head.close()


def test_the_mode_twin_has_the_twin_answer_every_frame(bundle, frames, twin):
    controller = Controller(bundle, 5, "twin", twin=twin)
    treated = controller.defence.treat(frames[0])
    assert controller.engine is twin.head.engine
    assert (treated.threshold, treated.quantised) == (0.5, True)
    controller.set_mode("off")
    assert controller.engine is None
    assert controller.defence.treat(frames[0]).threshold == bundle.thresholds[5]


def test_a_twin_that_does_not_start_is_refused(bundle, twin):
    asleep = HardenedTwin(twin.twin, SleepingEngine(twin.twin.bundle, refuses))
    with pytest.raises(UsageError, match="found a hardened twin that has not been started"):
        Controller(bundle, 5, "twin", twin=asleep)


def refuses():
    raise EngineError("found no memory; expected some; buy some")


def test_auto_wakes_the_twin_at_an_alarm_and_climbs_to_it_behind_defq(bundle, frames, twin, monitor, capsys):
    controller = Controller(watched(bundle), 5, "auto", monitor, twin=twin)
    controller.ladder = ladder = GivenLadder()
    assert (controller.engine, twin.head.engine) == (None, None)
    ladder.then = DEFQ
    controller.saw(treatment(), 0, 8)
    assert (controller.rung, controller.changed_at) == (DEFQ, 8)
    assert twin.head.wait() is not None
    assert controller.engine is None
    ladder.then = TWIN
    controller.saw(treatment(bundle.table), 0, 20)
    assert controller.engine is twin.head.engine
    assert controller.defence.treat(frames[0]).threshold == 0.5
    ladder.then = DEFQ
    controller.saw(treatment(bundle.table), 5, 200)
    assert controller.engine is None
    assert ladder.seen == [(PEACE, False), (DEFQ, True), (TWIN, True)]
    assert capsys.readouterr().err.splitlines() == [
        "warning: frames leave so late that an attack is likely, found at frame 8; DefQ goes on",
        "warning: frames leave late behind DefQ too, so that the attacker is likely to know it, found at frame 20; the hardened twin answers",
        "DefQ is tried again after frame 200; the hardened twin sleeps",
    ]


class AsleepHead:
    engine, woken = None, 0

    def wake(self):
        self.woken += 1


def test_an_alarm_of_another_mode_wakes_the_twin_in_auto(bundle, twin, monitor):
    head = AsleepHead()
    controller = Controller(watched(bundle), 5, "off", monitor, twin=HardenedTwin(twin.twin, head))
    monitor.then = True
    controller.saw(treatment(), 0, 1)
    controller.set_mode("auto")
    assert controller.rung == DEFQ
    controller.saw(treatment(bundle.table), 0, 2)
    assert head.woken == 1


class GivenLadder:
    def __init__(self):
        self.rung, self.then, self.seen = PEACE, PEACE, []

    def see(self, rung, exit_, quantised, twin_ready):
        self.seen.append((rung, twin_ready))
        changes, self.rung = self.then != rung, self.then
        return changes


def test_without_a_monitor_nothing_is_told(bundle, capsys):
    controller = Controller(bundle)
    controller.saw(treatment(), 0, 1)
    assert (controller.monitor, capsys.readouterr().err) == (None, "")


def test_a_monitor_is_made_where_it_is_needed(bundle):
    assert Controller.of(watched(bundle), 5, "on").monitor is None
    assert not Controller.of(watched(bundle), 5, "on", watch=True).monitor.learning
    assert Controller.of(watched(bundle), 10, "auto", learn=20).monitor.learning


@pytest.mark.parametrize(("mode", "watch"), [("auto", False), ("off", True)])
def test_a_bundle_without_a_monitor_is_one_sentence(bundle, mode, watch):
    with pytest.raises(UsageError, match="found no monitor in bundle .*; calibrate them with"):
        Controller.of(bundle, 5, mode, watch)


def test_the_gate_is_that_of_the_bundle(bundle, gated_bundle):
    assert Controller(bundle).gate is None
    assert Controller(gated_bundle).gate is gated_bundle.gate


def test_mode_and_settings_are_told_at_the_start_of_a_run(gated_bundle, monitor):
    told = [Controller(gated_bundle, 5, mode, monitor).describe() for mode in ("off", "on", "gated", "auto")]
    assert told == ["off", "on", "gated (noise level 1.50, threshold 0.50)", "auto"]
