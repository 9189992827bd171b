"""The way of a frame through the loop, without a host."""

import numpy as np
import pytest

from device.defence.gate import Gate, GateStage, noise_level
from device.defence.monitor import ExitShares, Monitor
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.system.stop_flag import StopFlag
from tests.device.loop.fakes import KeptSink, LeavingEngine, ListCamera, RecordingEngine, make_pipeline


@pytest.fixture
def run(bundle):
    """Decisions and figures of the frames of a camera, with a real head."""

    def go(camera, mode="off", stop=None, limit=None, bundle=bundle):
        sink = KeptSink()
        summary = make_pipeline(bundle, OnnxRuntimeEngine(bundle, 1), mode, sink).run(camera, limit, stop)
        return sink.decisions, summary.to_dict()

    return go


def test_edge_only_answers_with_the_last_device_exit_as_fallback(run, bundle, frames, expected):
    decisions, figures = run(ListCamera(frames, labels=expected["label"]))
    assert [decision.index for decision in decisions] == list(range(len(frames)))
    for decision, exit_ in zip(decisions, expected["exit"]):
        assert (decision.source, decision.exit) == (("edge", exit_) if exit_ <= 2 else ("fallback", 2))
        assert decision.label == bundle.labels[decision.label_id]
        assert decision.bytes_sent == 0
    assert figures["sources"] == {"edge": 41, "host": 0, "fallback": 19}
    assert figures["edge_exit_ratio"] == pytest.approx(41 / 60)
    assert figures["t3_er"] == pytest.approx(41 / 60)  # a fallback frame did not leave
    assert figures["exit_histogram"] == [30, 30, 0, 0, 0]
    assert 0.5 < figures["accuracy"] <= 1


def test_frames_that_cannot_be_used_are_skipped_and_named_once(run, frames, capsys):
    odd = [np.zeros((16, 16, 4), np.uint8), np.full((16, 16, 3), np.nan), np.zeros((2, 2, 2, 3), np.uint8)]
    decisions, figures = run(ListCamera([frames[0], *odd, frames[1]]))
    assert [decision.index for decision in decisions] == [0, 4]
    assert figures["skipped"] == 3
    assert capsys.readouterr().err.count("is skipped: found a frame of type uint8 and shape (16, 16, 4)") == 1


def test_black_frames_are_frames(run):
    decisions, _ = run(ListCamera([np.zeros((480, 640, 3), np.uint8)] * 3), mode="on")
    assert len(decisions) == 3


def test_limit_and_stop(run, frames):
    assert len(run(ListCamera(frames), limit=7)[0]) == 7
    stop = StopFlag()
    stop.set()
    assert run(ListCamera(frames), stop=stop)[1]["frames"] == 0


def test_the_head_is_given_what_the_treatment_says(bundle, gated_bundle, clean_and_noisy):
    """Image, threshold, and whether a head with DefQ inside is to apply it."""
    fused = bundle._replace(defq_fused=True)
    for mode, own, told in (
        ("off", bundle, False),
        ("on", bundle, False),
        ("on", fused, True),
        ("gated", gated_bundle, False),
    ):
        engine = RecordingEngine(own)
        pipeline = make_pipeline(own, engine, mode)
        pipeline.run(ListCamera(clean_and_noisy))
        for pixels, (image, threshold, defq) in zip(clean_and_noisy, engine.seen):
            treatment = pipeline.controller.defence.treat(pixels)
            np.testing.assert_array_equal(image, treatment.image)
            assert (threshold, defq) == (treatment.threshold, treatment.fused) == (threshold, told)


def test_another_mode_holds_from_the_next_frame_on(bundle, frames):
    engine, sink = RecordingEngine(bundle), KeptSink()
    pipeline = make_pipeline(bundle, engine, sink=sink)
    modes = iter(["off", "on", "off"])
    pipeline.before_frame = lambda: pipeline.controller.set_mode(next(modes))
    pipeline.run(ListCamera([frames[0]] * 3), limit=3)
    assert [decision.quantised for decision in sink.decisions] == [False, True, False]
    images = [image for image, _, _ in engine.seen]
    np.testing.assert_array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_decisions_and_summary_say_which_frames_counted_as_attacked(gated_bundle, clean_and_noisy):
    sink = KeptSink()
    pipeline = make_pipeline(gated_bundle, RecordingEngine(gated_bundle), "gated", sink)
    summary = pipeline.run(ListCamera(clean_and_noisy * 2))
    assert [decision.attacked for decision in sink.decisions] == [False, True] * 2
    assert [decision.quantised for decision in sink.decisions] == [False, True] * 2
    assert summary.to_dict()["attacked_frames"] == 2


@pytest.mark.parametrize("mode", ["on", "off"])
def test_frames_of_other_modes_carry_no_mark(run, frames, mode):
    decisions, figures = run(ListCamera(frames[:2]), mode)
    assert [decision.attacked for decision in decisions] == [None, None]
    assert "attacked_frames" not in figures


def test_gate_sees_the_frame_at_the_size_of_the_network(gated_bundle, clean_and_noisy):
    engine, sink = RecordingEngine(gated_bundle), KeptSink()
    large = [frame.repeat(20, axis=0).repeat(30, axis=1) for frame in clean_and_noisy]
    make_pipeline(gated_bundle, engine, "gated", sink).run(ListCamera(large))
    assert [noise_level(frame) for frame in large] < [
        gated_bundle.gate.stages[0].level
    ] * 2  # fine noise is coarse up there
    assert [decision.attacked for decision in sink.decisions] == [False, True]


def test_gate_that_finds_nothing_or_all_is_defq_off_or_on(run, bundle, frames):
    def outcome(mode, gate=None):
        decisions, figures = run(ListCamera(frames), mode, bundle=bundle._replace(gate=gate))
        shown = [(decision.label_id, decision.confidence, decision.exit, decision.source) for decision in decisions]
        return shown, figures.get("attacked_frames")

    nothing, everything = (Gate([GateStage(level, {5: 0.62}, bundle.table)]) for level in (1e9, 0.0))
    assert outcome("gated", nothing) == (outcome("off")[0], 0)
    assert outcome("gated", everything) == (outcome("on")[0], 60)
    assert outcome("off", everything) == outcome("off")  # off stays off


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        return self.now_s

    monotonic = perf_counter


def test_an_attack_changes_what_the_network_sees_and_takes_no_time(bundle, frames, monkeypatch):
    engine, sink, clock = RecordingEngine(bundle), KeptSink(), Clock()
    for module in ("pipeline", "frame_job"):
        monkeypatch.setattr("device.loop.{}.time".format(module), clock)
    pipeline = make_pipeline(bundle, engine, sink=sink)

    def attack(frame, pixels):
        clock.now_s += 5.0
        return 255 - pixels

    pipeline.attack = attack
    pipeline.run(ListCamera(frames[:2]))
    assert [decision.ms["total"] for decision in sink.decisions] == [0.0, 0.0]
    for original, frame, pixels, (image, _, _) in zip(frames, sink.frames, sink.pixels, engine.seen):
        np.testing.assert_array_equal(pixels, 255 - original)
        np.testing.assert_array_equal(frame.pixels, original)
        np.testing.assert_allclose(image[0] * 255, pixels.transpose(2, 0, 1), atol=1e-3)


def test_auto_follows_the_monitor(bundle, frames, capsys):
    shares = ExitShares(*(np.array(each) for each in ([0.8, 0.2], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7])))
    engine, sink = LeavingEngine(bundle), KeptSink()
    pipeline = make_pipeline(bundle, engine, "auto", sink, monitor=Monitor(shares, 1))
    pipeline.run(ListCamera(list(frames) * 2))
    engine.leaves = False
    pipeline.run(ListCamera(list(frames) * 2))
    quantised = [decision.quantised for decision in sink.decisions]
    first = quantised.index(True)
    assert 120 < first < 150
    assert all(quantised[first:])
    engine.leaves = True
    pipeline.run(ListCamera(list(frames) * 4))
    assert not sink.decisions[-1].quantised
    assert pipeline.summary.to_dict()["alarms"] == 1
    told = capsys.readouterr().err
    assert "an attack is likely" in told
    assert "as usual again" in told


def test_a_monitor_warns_without_switching(bundle, frames, capsys):
    shares = ExitShares(*(np.array(each) for each in ([0.8, 0.2], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7])))
    engine, sink = LeavingEngine(bundle), KeptSink()
    engine.leaves = False
    pipeline = make_pipeline(bundle, engine, sink=sink, monitor=Monitor(shares, 1))
    pipeline.run(ListCamera(frames))
    assert not any(decision.quantised for decision in sink.decisions)
    assert "an attack is likely" in capsys.readouterr().err
    assert pipeline.summary.alarms == 1


def test_losses_of_a_camera_count_once(bundle, frames):
    """Frames that a camera lost are counted once, for any number of runs and at any time of asking."""
    camera = ListCamera(list(frames[:4]))
    camera.skipped, camera.dropped = 2, 3  # before the first run
    pipeline = make_pipeline(bundle, LeavingEngine(bundle))
    for more in (0, 1, 0):
        camera.skipped += more
        figures = pipeline.run(camera, 1).to_dict()
    assert (figures["skipped"], figures["dropped"], figures["reopened"]) == (3, 3, 0)
    other = ListCamera([np.zeros((2, 2, 2, 3), np.uint8)])
    other.dropped = 1
    assert pipeline.run(other).skipped == 4  # the frame that cannot be used
    assert pipeline.summary.dropped == 4


def test_losses_are_seen_while_the_run_goes_on(bundle, frames):
    class Losing(ListCamera):
        def read(self):
            self.skipped += 1
            return super().read()

    seen = []
    pipeline = make_pipeline(bundle, LeavingEngine(bundle))
    pipeline.before_frame = lambda: seen.append(pipeline.summary.skipped)
    pipeline.run(Losing(frames[:2]))
    assert seen == [0, 1, 2]


def test_frame_age_counts_from_the_sensor(bundle, frames):
    sink = KeptSink()
    pipeline = make_pipeline(bundle, LeavingEngine(bundle), sink=sink)
    pipeline.run(ListCamera(frames[:1], live=True, age_s=0.25))
    (decision,) = sink.decisions
    assert decision.ms["age"] >= 250 + decision.ms["total"] - 1e-3
    assert pipeline.summary.to_dict()["age_ms"]["p50"] == pytest.approx(decision.ms["age"])
