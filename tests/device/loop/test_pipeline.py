import json
import threading
import time

import cv2
import numpy as np
import pytest

from device.cameras import Camera, Frame
from device.defence.gate import Gate, GateStage, noise_level
from device.defence.monitor import ExitShares, Monitor
from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.engines import HeadResult, OnnxRuntimeEngine
from device.link.host_client import HostClient
from device.loop.preprocess import Preprocessor
from device.loop.sinks import Sink, to_line
from tests.device.conftest import make_pipeline


class ListCamera(Camera):
    def __init__(self, frames, live=False, labels=None):
        super().__init__()
        self.live = live
        self._items = [
            Frame(index, frame, None if labels is None else int(labels[index]), time.monotonic())
            for index, frame in enumerate(frames)
        ]

    def read(self):
        return self._items.pop(0) if self._items else None


class ListSink(Sink):
    def __init__(self):
        self.decisions = []

    def write(self, decision, frame, pixels):
        self.decisions.append(decision)


@pytest.fixture
def run(bundle):
    opened = []

    def go(camera, url=None, defq=False, stop=None, limit=None, gate=None, rad=None, **options):
        host = None
        if url:
            host = HostClient(url, bundle, 0.62, **options)
            opened.append(host)
        sink = ListSink()
        pipeline = make_pipeline(bundle, OnnxRuntimeEngine(bundle, 1), 0.62, defq, host, sink, gate, rad)
        summary = pipeline.run(camera, limit, stop)
        return sink.decisions, summary.to_dict()

    yield go
    for host in opened:
        host.close()


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


@pytest.mark.parametrize("connections", [1, 4])
def test_host_answers_in_frame_order(run, fake_host, frames, expected, connections):
    decisions, figures = run(ListCamera(frames), fake_host.url, connections=connections)
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"] == {"edge": 41, "host": 19, "fallback": 0}
    assert figures["frames_to_host"] == 19 == fake_host.requests
    assert figures["bytes_to_host"] == sum(decision.bytes_sent for decision in decisions)
    host = [decision for decision in decisions if decision.source == "host"]
    assert {(decision.label_id, decision.exit) for decision in host} == {(2, 4)}
    assert all(decision.ms["total"] >= decision.ms["host"] > 0 for decision in host)


@pytest.mark.parametrize("payload", ["fp32", "uint8", "coefficients"])
def test_decisions_and_summary_tell_the_payload(run, fake_host, frames, payload):
    fake_host.forms = ["coefficients", "uint8", "fp32"]
    decisions, figures = run(ListCamera(frames), fake_host.url, defq=True, payload=payload)
    sent = [decision for decision in decisions if decision.source == "host"]
    assert {decision.payload for decision in sent} == {payload}
    assert {decision.payload for decision in decisions if decision.source == "edge"} == {None}
    assert json.loads(to_line(sent[0]))["payload"] == payload
    assert figures["payloads"] == {payload: {"frames": len(sent), "bytes": figures["bytes_to_host"]}}
    assert set(fake_host.received) == {payload}


def test_the_gate_sends_coefficients_of_the_table_of_each_frame(run, fake_host, frames):
    fake_host.forms = ["coefficients", "uint8", "fp32"]
    weak = GateStage(0.0, {5: 2.0}, np.full((8, 8), 25, np.float32))
    middle = float(np.median([noise_level(frame) for frame in frames]))
    strong = GateStage(middle, {5: 2.0}, np.full((8, 8), 40, np.float32))
    gate, blind = Gate([strong, weak]), Gate([strong._replace(level=1e9)])
    run(ListCamera(frames), fake_host.url, defq=True, gate=gate, rad=5, payload="coefficients")
    assert fake_host.received == ["coefficients"] * 60
    assert {steps[0] for steps in fake_host.steps} == {25, 40}
    run(ListCamera(frames), fake_host.url, defq=True, gate=blind, payload="coefficients")
    assert set(fake_host.received[60:]) == {"uint8"}  # frames that the gate lets pass are not quantised


def test_host_that_dies_mid_run_loses_no_frame(run, fake_host, frames):
    class Dying(ListCamera):
        def read(self):
            if len(self._items) == 30:
                fake_host.stop()
            return super().read()

    decisions, figures = run(Dying(frames), fake_host.url, connections=2)
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"]["fallback"] > 0
    assert figures["sources"]["host"] > 0
    assert sum(figures["sources"].values()) == 60


def test_live_frames_never_wait_for_a_silent_host(run, fake_host, frames):
    fake_host.mode = "silent"
    started = time.perf_counter()
    decisions, figures = run(ListCamera(frames, live=True), fake_host.url, connections=1, timeout_s=0.5)
    assert time.perf_counter() - started < 3
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"] == {"edge": 41, "host": 0, "fallback": 19}


def test_frames_that_cannot_be_used_are_skipped_and_named_once(run, frames, capsys):
    odd = [np.zeros((16, 16, 4), np.uint8), np.full((16, 16, 3), np.nan), np.zeros((2, 2, 2, 3), np.uint8)]
    decisions, figures = run(ListCamera([frames[0], *odd, frames[1]]))
    assert [decision.index for decision in decisions] == [0, 4]
    assert figures["skipped"] == 3
    assert capsys.readouterr().err.count("is skipped: found a frame of type uint8 and shape (16, 16, 4)") == 1


def test_black_frames_are_frames(run):
    decisions, _ = run(ListCamera([np.zeros((480, 640, 3), np.uint8)] * 3), defq=True)
    assert len(decisions) == 3


def test_limit_and_stop(run, frames):
    assert len(run(ListCamera(frames), limit=7)[0]) == 7
    stop = threading.Event()
    stop.set()
    assert run(ListCamera(frames), stop=stop)[1]["frames"] == 0


def test_defq_changes_what_the_head_sees(bundle, frames):
    image = Undefended(bundle, 5).treat(frames[0]).image
    assert image.shape == (1, 3, 16, 16)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0], frames[0].transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert 0.001 < np.abs(Quantised(bundle, 5).treat(frames[0]).image - image).mean() < 0.2


@pytest.mark.parametrize("shape", [(480, 640, 3), (8, 8, 3), (100, 16), (16, 16, 1), (16, 16, 3)])
def test_any_size_and_grey_become_the_input(bundle, shape):
    pixels = Preprocessor(bundle).resize(np.full(shape, 77, np.uint8))
    assert pixels.shape == (16, 16, 3)
    assert (pixels == 77).all()


def test_colour_becomes_grey_for_a_grey_network(bundle):
    grey = bundle._replace(input_shape=(1, 16, 16))
    pixels = Preprocessor(grey).resize(np.full((20, 20, 3), 50, np.uint8))
    assert Quantised(grey, 5).treat(pixels).image.shape == (1, 1, 16, 16)


def test_fused_heads_are_told_whether_to_quantise(bundle, frames):
    class Engine:
        seen = []

        def run(self, image, threshold, defq=False):
            self.seen.append((float(image[0, 0, 0, 0]), defq))
            return HeadResult(0, 1.0, 1, None)

    fused = bundle._replace(defq_fused=True)
    for defq in (True, False):
        make_pipeline(fused, Engine(), 0.5, defq).run(ListCamera(frames[:1]))
    value = frames[0][0, 0, 0] / np.float32(255)
    assert [(pytest.approx(seen), defq) for seen, defq in Engine.seen] == [(value, True), (value, False)]


STAGE = GateStage(1.5, {5: 0.5, 10: 0.4}, np.full((8, 8), 30, np.float32))
GATE = Gate([STAGE])


@pytest.fixture
def clean_and_noisy(frames):
    """Two frames of the same patches; the second has noise of its own in every channel."""
    coarse = frames[0][::4, ::4].repeat(4, axis=0).repeat(4, axis=1)
    clean = cv2.GaussianBlur(coarse, (0, 0), 2)
    noisy = np.clip(clean + np.random.RandomState(0).normal(0, 10, clean.shape), 0, 255).astype(np.uint8)
    assert noise_level(clean) < STAGE.level < noise_level(noisy)
    return [clean, noisy]


def image_of(defence, pixels):
    return defence.treat(pixels).image.copy()


class RecordingEngine:
    """Keeps what the head is given; no frame leaves."""

    def __init__(self, bundle):
        self.seen = []
        self._activation = np.zeros((1, *bundle.activation_shape), np.float32)

    def run(self, image, threshold, defq=False):
        self.seen.append((image.copy(), threshold, defq))
        return HeadResult(0, 0.1, 0, self._activation)


@pytest.mark.parametrize(("rad", "lower"), [(None, 0.5), (5, 0.5), (10, 0.4)])
def test_gate_quantises_noisy_frames_alone_and_lowers_their_threshold(bundle, clean_and_noisy, rad, lower):
    engine, sink = RecordingEngine(bundle), ListSink()
    summary = make_pipeline(bundle, engine, 0.62, True, None, sink, GATE, rad).run(ListCamera(clean_and_noisy * 2))
    other = Quantised(bundle._replace(table=STAGE.table), 5)  # the gate's table for every frame
    images = [image_of(Undefended(bundle, 5), clean_and_noisy[0]), image_of(other, clean_and_noisy[1])] * 2
    for (image, _, _), expected in zip(engine.seen, images):
        np.testing.assert_array_equal(image, expected)
    assert not np.array_equal(images[1], image_of(Quantised(bundle, 5), clean_and_noisy[1]))
    assert [seen[1:] for seen in engine.seen] == [(0.62, False), (lower, False)] * 2
    assert [decision.attacked for decision in sink.decisions] == [False, True] * 2
    assert summary.to_dict()["attacked_frames"] == 2
    assert "; 2 counted as attacked" in summary.text()


def test_a_weak_stage_takes_what_lies_below_the_strong_one(bundle, clean_and_noisy):
    clean, noisy = clean_and_noisy
    between = noise_level(noisy) + 0.1
    weak = STAGE._replace(thresholds={5: 0.3, 10: 0.2}, table=np.full((8, 8), 12, np.float32))
    strong = STAGE._replace(level=between)
    louder = np.clip(clean + np.random.RandomState(1).normal(0, 40, clean.shape), 0, 255).astype(np.uint8)
    engine, sink = RecordingEngine(bundle), ListSink()
    make_pipeline(bundle, engine, 0.62, True, None, sink, Gate([strong, weak])).run(ListCamera([clean, noisy, louder]))
    assert [threshold for _, threshold, _ in engine.seen] == [0.62, 0.3, 0.5]
    assert [decision.attacked for decision in sink.decisions] == [False, True, True]
    with_weak, with_strong = (Quantised(bundle._replace(table=stage.table), 5) for stage in (weak, strong))
    np.testing.assert_array_equal(engine.seen[1][0], image_of(with_weak, noisy))
    np.testing.assert_array_equal(engine.seen[2][0], image_of(with_strong, louder))
    assert not np.array_equal(image_of(with_weak, noisy), image_of(with_strong, noisy))


def test_gate_leaves_the_table_of_a_fused_head_off(bundle, clean_and_noisy):
    fused, plain = RecordingEngine(bundle), RecordingEngine(bundle)
    make_pipeline(bundle._replace(defq_fused=True), fused, 0.62, True, gate=GATE).run(ListCamera(clean_and_noisy))
    make_pipeline(bundle, plain, 0.62, True, gate=GATE).run(ListCamera(clean_and_noisy))
    assert [seen[1:] for seen in fused.seen] == [(0.62, False), (0.5, False)]
    for (image, _, _), (expected, _, _) in zip(fused.seen, plain.seen):
        np.testing.assert_array_equal(image, expected)


def test_gate_sees_the_frame_at_the_size_of_the_network(bundle, clean_and_noisy):
    engine, sink = RecordingEngine(bundle), ListSink()
    large = [frame.repeat(20, axis=0).repeat(30, axis=1) for frame in clean_and_noisy]
    make_pipeline(bundle, engine, 0.62, True, None, sink, GATE).run(ListCamera(large))
    assert [noise_level(frame) for frame in large] < [STAGE.level] * 2  # fine noise is coarse up there
    assert [decision.attacked for decision in sink.decisions] == [False, True]


@pytest.mark.parametrize("connections", [1, 4])
def test_lower_threshold_goes_on_to_the_host(bundle, fake_host, clean_and_noisy, connections):
    host, sink = HostClient(fake_host.url, bundle, 0.62, connections), ListSink()
    frames = [*clean_and_noisy, clean_and_noisy[1]]
    make_pipeline(bundle, RecordingEngine(bundle), 0.62, True, host, sink, GATE).run(ListCamera(frames))
    host.close()
    normal, lower = [[pytest.approx(0.62)]], [[0.5]]
    got = fake_host.thresholds if connections == 1 else sorted(fake_host.thresholds, reverse=True)
    assert got == [normal, lower, lower]
    assert [(decision.source, decision.attacked) for decision in sink.decisions] == [
        ("host", False), ("host", True), ("host", True)
    ]  # fmt: skip


def test_gate_that_finds_nothing_or_all_is_defq_off_or_on(run, bundle, frames):
    def outcome(**options):
        decisions, figures = run(ListCamera(frames), **options)
        shown = [(decision.label_id, decision.confidence, decision.exit, decision.source) for decision in decisions]
        return shown, figures.get("attacked_frames")

    same = {5: 0.62}
    assert outcome(defq=True, gate=Gate([GateStage(1e9, same, bundle.table)])) == (outcome(defq=False)[0], 0)
    assert outcome(defq=True, gate=Gate([GateStage(0.0, same, bundle.table)])) == (outcome(defq=True)[0], 60)
    assert outcome(defq=False, gate=Gate([GateStage(0.0, {5: 0.0}, bundle.table)])) == outcome(
        defq=False
    )  # off stays off


def test_frames_of_other_modes_carry_no_mark(run, frames):
    for defq in (True, False):
        decisions, figures = run(ListCamera(frames[:2]), defq=defq)
        assert [decision.attacked for decision in decisions] == [None, None]
        assert "attacked_frames" not in figures


class RememberingSink(Sink):
    def __init__(self):
        self.seen = []

    def write(self, decision, frame, pixels):
        self.seen.append((decision, frame, pixels))


def test_defq_may_be_switched_between_two_frames(bundle, frames):
    engine, sink = RecordingEngine(bundle), RememberingSink()
    pipeline = make_pipeline(bundle, engine, 0.62, False, None, sink)
    pipeline.run(ListCamera(frames[:1]))
    pipeline.controller.set_mode("on")
    pipeline.run(ListCamera(frames[:1]))
    assert [decision.quantised for decision, _, _ in sink.seen] == [False, True]
    assert not np.array_equal(engine.seen[0][0], engine.seen[1][0])
    np.testing.assert_array_equal(engine.seen[1][0], image_of(Quantised(bundle, 5), frames[0]))


def test_an_attack_changes_what_the_network_sees_and_takes_no_time(bundle, frames):
    engine, sink = RecordingEngine(bundle), RememberingSink()
    pipeline = make_pipeline(bundle, engine, 0.62, False, None, sink)

    def attack(frame, pixels):
        time.sleep(0.05)
        return 255 - pixels

    pipeline.attack = attack
    pipeline.run(ListCamera(frames[:2]))
    for (decision, frame, pixels), original, (image, _, _) in zip(sink.seen, frames, engine.seen):
        np.testing.assert_array_equal(pixels, 255 - original)
        np.testing.assert_array_equal(frame.pixels, original)
        np.testing.assert_allclose(image[0] * 255, pixels.transpose(2, 0, 1), atol=1e-3)
        assert decision.ms["total"] < 50


class LeavingEngine:
    """Every frame leaves at exit 1, or none does."""

    def __init__(self, bundle):
        self.leaves = True
        self._activation = np.zeros((1, *bundle.activation_shape), np.float32)

    def run(self, image, threshold, defq=False):
        return HeadResult(0, 1.0, 1, None) if self.leaves else HeadResult(0, 0.1, 0, self._activation)


def test_auto_follows_the_monitor(bundle, frames, capsys):
    shares = ExitShares(*(np.array(each) for each in ([0.8, 0.2], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7])))
    engine, sink = LeavingEngine(bundle), RememberingSink()
    pipeline = make_pipeline(bundle, engine, 0.62, "auto", None, sink, monitor=Monitor(shares, 1))
    pipeline.run(ListCamera(list(frames) * 2))
    engine.leaves = False
    pipeline.run(ListCamera(list(frames) * 2))
    quantised = [decision.quantised for decision, _, _ in sink.seen]
    first = quantised.index(True)
    assert 120 < first < 150
    assert all(quantised[first:])
    engine.leaves = True
    pipeline.run(ListCamera(list(frames) * 4))
    assert not sink.seen[-1][0].quantised
    assert pipeline.summary.to_dict()["alarms"] == 1
    told = capsys.readouterr().err
    assert "an attack is likely" in told
    assert "as usual again" in told


@pytest.mark.parametrize("mode", ["off", "on", "gated", "auto"])
@pytest.mark.parametrize("suspected", [False, True])
@pytest.mark.parametrize("gate", [None, GATE])
def test_the_monitor_is_told_what_was_done_to_each_frame(bundle, clean_and_noisy, gate, suspected, mode):
    """Auto quantises all frames, also where the bundle has a gate, as its shares of exits have it."""
    if mode == "gated" and gate is None:
        pytest.skip("needs a gate")

    class Watching:
        attacked, alarms, seen = suspected, 0, ()

        def see(self, exit_, quantised):
            self.seen += (quantised,)
            return False

        def settle(self):
            pass

    monitor, sink = Watching(), ListSink()
    pipeline = make_pipeline(bundle, RecordingEngine(bundle), 0.62, mode, None, sink, gate, monitor=monitor)
    pipeline.run(ListCamera(clean_and_noisy * 2))
    expected = {"off": [False, False], "on": [True, True], "gated": [False, True], "auto": [suspected, suspected]}[mode]
    assert list(monitor.seen) == [decision.quantised for decision in sink.decisions] == expected * 2
    marks = [False, True] if mode == "gated" else [None, None]
    assert [decision.attacked for decision in sink.decisions] == marks * 2


def test_losses_of_a_camera_count_once(bundle, frames):
    """However many runs there are, and whenever they are looked at."""
    camera = ListCamera(list(frames[:4]))
    camera.skipped, camera.dropped = 2, 3  # before the first run
    pipeline = make_pipeline(bundle, LeavingEngine(bundle), 0.62, False)
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
    pipeline = make_pipeline(bundle, LeavingEngine(bundle), 0.62, False)
    pipeline.before_frame = lambda: seen.append(pipeline.summary.skipped)
    pipeline.run(Losing(frames[:2]))
    assert seen == [0, 1, 2]


def test_a_monitor_warns_without_switching(bundle, frames, capsys):
    shares = ExitShares(*(np.array(each) for each in ([0.8, 0.2], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7])))
    engine, sink = LeavingEngine(bundle), RememberingSink()
    engine.leaves = False
    pipeline = make_pipeline(bundle, engine, 0.62, False, None, sink, monitor=Monitor(shares, 1))
    pipeline.run(ListCamera(frames))
    assert not any(decision.quantised for decision, _, _ in sink.seen)
    assert "an attack is likely" in capsys.readouterr().err
    assert pipeline.summary.alarms == 1


def test_frame_age_counts_from_the_sensor(bundle, frames):
    camera, sink = ListCamera(frames[:1], live=True), RememberingSink()
    camera._items[0] = camera._items[0]._replace(timestamp_s=time.monotonic() - 0.25)
    pipeline = make_pipeline(bundle, LeavingEngine(bundle), 0.62, False, None, sink)
    pipeline.run(camera)
    decision = sink.seen[0][0]
    assert decision.ms["age"] == pytest.approx(250 + decision.ms["total"], abs=30)
    assert pipeline.summary.to_dict()["age_ms"]["p50"] == pytest.approx(decision.ms["age"])
