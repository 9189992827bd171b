"""An engine that starts when it is needed."""

import threading

from device.engines.base import Engine
from device.engines.sleeping import SleepingEngine
from device.errors import EngineError


class Counted(Engine):
    def __init__(self):
        self.ran, self.closed = [], 0

    def run(self, image, threshold, defq=False):
        self.ran.append((image.shape, threshold))

    def close(self):
        self.closed += 1


def test_it_starts_once_and_is_warm_when_it_is_there(bundle):
    made, go = [], threading.Event()

    def start():
        go.wait(10)
        made.append(Counted())
        return made[-1]

    sleeping = SleepingEngine(bundle, start)
    assert sleeping.engine is None
    for _ in range(3):
        sleeping.wake()
    assert sleeping.engine is None
    go.set()
    engine = sleeping.wait()
    assert made == [engine]
    assert engine.ran == [((1, 3, 16, 16), 2.0)]
    sleeping.close()
    assert (engine.closed, sleeping.engine) == (1, None)


def test_one_that_never_woke_closes_too(bundle):
    SleepingEngine(bundle, Counted).close()


def test_an_engine_that_does_not_start_is_one_sentence(bundle, capsys):
    def start():
        raise EngineError("found no memory; expected some; buy some")

    sleeping = SleepingEngine(bundle, start)
    assert sleeping.wait() is None
    assert capsys.readouterr().err == "warning: the hardened twin sleeps on: found no memory; expected some; buy some\n"
    sleeping.close()
