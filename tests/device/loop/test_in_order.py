"""Answers are handed over when they come, in the order of frames, and the loop waits for none of them."""

import threading

import numpy as np
import pytest

from device.cameras.base import Camera, Frame
from device.engines.base import HeadResult
from device.link.deadline import Deadline
from device.link.host_request import HostAnswer, HostRequest
from device.loop.sinks import Sink
from tests.device.loop.fakes import make_pipeline

PATIENCE_S = 20.0  # of a test that is about to fail


class GivenHost:
    """A host client whose answers the test gives; each request is in ``requests`` once it is submitted."""

    timeout_s = PATIENCE_S

    def __init__(self, connections=4):
        self.connections = connections
        self.requests = []
        self.deadline = Deadline.after(PATIENCE_S)

    def submit(self, frame, wait, threshold=None, may_pay=None):
        self.requests.append(HostRequest(frame, None, self.deadline))
        return self.requests[-1]

    def answer(self, place, label=1):
        self.requests[place].finish(HostAnswer(label, 0.9, 4))


class GivenCamera(Camera):
    """Gives a frame when the test says so; its value says whether it leaves on the device."""

    live = True

    def __init__(self):
        super().__init__()
        self.asked = threading.Semaphore(0)  # a read begins: the loop has nothing left to do
        self.frames = []
        self.came = threading.Semaphore(0)
        self._next = 0

    def give(self, leaves):
        self.frames.append(leaves)
        self.came.release()

    def read(self):
        self.asked.release()
        assert self.came.acquire(timeout=PATIENCE_S)
        leaves = self.frames[self._next]
        if leaves is None:
            return None
        self._next += 1
        return Frame(self._next - 1, np.full((16, 16, 3), 255 * leaves, np.uint8), None, 0.0)


class Engine:
    """White frames leave."""

    def __init__(self, bundle):
        self._activation = np.zeros((1, *bundle.activation_shape), np.float32)

    def run(self, image, threshold, defq=False):
        return HeadResult(0, 1.0, 1, None) if image.max() else HeadResult(0, 0.1, 0, self._activation)


class Written(Sink):
    def __init__(self):
        self.decisions = []
        self.more = threading.Semaphore(0)
        self.fails = None

    def write(self, decision, frame, pixels):
        if self.fails is not None:
            raise self.fails
        self.decisions.append(decision)
        self.more.release()

    def wait(self, count):
        for _ in range(count):
            assert self.more.acquire(timeout=PATIENCE_S)
        return [(each.index, each.source) for each in self.decisions]


class Running:
    def __init__(self, bundle, connections=4):
        self.host, self.camera, self.sink = GivenHost(connections), GivenCamera(), Written()
        self.pipeline = make_pipeline(bundle, Engine(bundle), sink=self.sink, host=self.host)
        self.raised = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.idle()

    def _run(self):
        try:
            self.pipeline.run(self.camera)
        except Exception as error:
            self.raised.append(error)

    def idle(self):
        """Wait until the loop waits for a frame."""
        assert self.camera.asked.acquire(timeout=PATIENCE_S)

    def give(self, leaves):
        self.camera.give(leaves)
        self.idle()

    def end(self):
        self.camera.give(None)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def running(bundle):
    started = []

    def start(**options):
        started.append(Running(bundle, **options))
        return started[-1]

    yield start
    for each in started:
        each.camera.give(None)


def test_an_answer_is_written_although_no_further_frame_comes(running):
    run = running()
    run.give(False)
    assert run.sink.decisions == []
    run.host.answer(0)
    assert run.sink.wait(1) == [(0, "host")]
    run.end()


def test_a_frame_is_given_up_at_its_deadline_although_no_further_frame_comes(running):
    run = running()
    run.host.deadline = Deadline(0.0)
    run.give(False)
    assert run.sink.wait(1) == [(0, "fallback")]
    run.end()


def test_the_order_of_frames_is_kept(running):
    run = running()
    for leaves in (False, True, False, True):
        run.give(leaves)
    run.host.answer(1)
    assert run.sink.decisions == []  # frame 0 has no answer yet
    run.host.answer(0)
    assert run.sink.wait(4) == [(0, "host"), (1, "edge"), (2, "host"), (3, "edge")]
    run.give(True)
    assert run.sink.wait(1)[-1] == (4, "edge")
    run.end()
    assert run.pipeline.summary.to_dict()["frames"] == 5


def test_times_end_when_a_decision_is_written(running):
    run = running()
    for leaves in (False, True):
        run.give(leaves)
    threading.Event().wait(0.2)
    run.host.answer(0)
    run.sink.wait(2)
    run.end()
    first, second = run.sink.decisions
    assert first.ms["total"] >= first.ms["host"] >= 200
    assert "order" not in first.ms
    assert second.ms["total"] >= second.ms["order"] >= 150  # it left on the device, but was out with the first alone
    for each in run.sink.decisions:
        parts = sum(each.ms.get(stage, 0) for stage in ("resize", "defq", "head", "host", "order"))
        assert parts <= each.ms["total"] + 1e-6
        assert each.ms["age"] >= each.ms["total"]


def test_a_run_ends_with_all_answers(running):
    run = running()
    run.give(False)
    run.camera.give(None)
    run.host.answer(0)
    assert run.sink.wait(1) == [(0, "host")]


def test_what_the_sink_raises_ends_the_run(running):
    """Also where it is raised in the thread that waits for answers, whose exceptions would otherwise be lost."""
    run = running()
    run.give(False)
    run.sink.fails = BrokenPipeError("the reader has gone")
    run.host.answer(0)
    run.end()
    assert [type(each) for each in run.raised] == [BrokenPipeError]


def test_files_with_one_connection_go_one_frame_at_a_time(running):
    run = running(connections=1)
    run.camera.live = False
    run.camera.give(False)
    while not run.host.requests:
        threading.Event().wait(0.01)
    assert not run.camera.asked.acquire(timeout=0.1)  # it waits for the answer
    run.host.answer(0)
    run.idle()
    run.end()
