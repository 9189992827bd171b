import asyncio
import threading

import numpy as np
import pytest

from host.batching import Batcher, Overloaded
from host.tail import Answers, Inputs


class Engine:
    """Answers each frame with its own value; runs a batch only when it is let go."""

    def __init__(self, held=False):
        self.batches = []
        self.gate = threading.Semaphore(0 if held else 1000)
        self.running = threading.Event()

    def __call__(self, requests):
        activation = np.concatenate([each.tensors["activation"] for each in requests])
        threshold = np.concatenate([each.threshold for each in requests])
        self.running.set()
        assert self.gate.acquire(timeout=10)
        self.batches.append(len(activation))
        if (activation < 0).any():
            raise RuntimeError("negative")
        return Answers(activation[:, 0].astype(np.int64), threshold[:, 0], np.full(len(activation), 4))


def frames(*values):
    return Inputs(
        "fp32", {"activation": np.array(values, np.float32)[:, None]}, np.full((len(values), 1), 0.5, np.float32)
    )


def with_batcher(engine, scenario, **options):
    async def go():
        batcher = Batcher(engine, **options)
        batcher.start()
        try:
            return await asyncio.wait_for(scenario(batcher), 20)
        finally:
            await batcher.stop()

    return asyncio.run(go())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_requests_join_while_the_engine_is_busy_and_answers_find_their_owner():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until(engine.running.is_set)
        others = [asyncio.ensure_future(batcher.infer(frames(*values))) for values in ((2,), (3, 4), (5,))]
        await until(lambda: batcher._frames == 4)
        for _ in range(2):
            engine.gate.release()
        return await asyncio.gather(first, *others)

    results = with_batcher(engine, scenario)
    assert engine.batches == [1, 4]
    assert [result.answers.label.tolist() for result in results] == [[1], [2], [3, 4], [5]]
    assert [result.batch for result in results] == [1, 4, 4, 4]


def test_a_batch_never_exceeds_its_limit():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until(engine.running.is_set)
        others = [asyncio.ensure_future(batcher.infer(frames(*range(3)))) for _ in range(4)]
        await until(lambda: batcher._frames == 12)
        for _ in range(9):
            engine.gate.release()
        await asyncio.gather(first, *others)

    with_batcher(engine, scenario, max_batch=8)
    assert engine.batches == [1, 6, 6]


def test_a_lone_request_waits_no_longer_than_the_bound():
    engine = Engine()

    async def scenario(batcher):
        batcher._last_batch = 8  # as after a busy time
        loop = asyncio.get_running_loop()
        started = loop.time()
        await batcher.infer(frames(1))
        return loop.time() - started

    assert 0.04 < with_batcher(engine, scenario, max_wait_s=0.05) < 5


def test_a_failing_batch_fails_alone():
    engine = Engine()

    async def scenario(batcher):
        with pytest.raises(RuntimeError, match="negative"):
            await batcher.infer(frames(-1))
        return await batcher.infer(frames(7))

    assert with_batcher(engine, scenario).answers.label.tolist() == [7]


def test_a_client_that_leaves_does_not_disturb_its_neighbours():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until(engine.running.is_set)
        leaver, stayer = (asyncio.ensure_future(batcher.infer(frames(value))) for value in (2, 3))
        await until(lambda: batcher._frames == 2)
        leaver.cancel()
        for _ in range(2):
            engine.gate.release()
        return await asyncio.gather(first, stayer)

    assert with_batcher(engine, scenario)[1].answers.label.tolist() == [3]


def test_overload_is_refused_at_once():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until(engine.running.is_set)
        waiting = asyncio.ensure_future(batcher.infer(frames(1, 2, 3)))
        await until(lambda: batcher._frames == 3)
        with pytest.raises(Overloaded):
            await batcher.infer(frames(4, 5))
        for _ in range(2):
            engine.gate.release()
        await asyncio.gather(first, waiting)

    with_batcher(engine, scenario, max_waiting=4)
