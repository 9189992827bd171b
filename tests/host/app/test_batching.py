"""The queue before the tail: batches, bounds, and clients that leave."""

import asyncio
import threading

import numpy as np
import pytest

from host.app.batching import Batcher, EngineStuck, Overloaded
from host.app.tail import Answers, Inputs
from tests.host.waits import until_async


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


def test_requests_join_while_the_engine_is_busy_and_answers_find_their_owner():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until_async(engine.running.is_set)
        others = [asyncio.ensure_future(batcher.infer(frames(*values))) for values in ((2,), (3, 4), (5,))]
        await until_async(lambda: batcher.waiting_frames == 4)
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
        await until_async(engine.running.is_set)
        others = [asyncio.ensure_future(batcher.infer(frames(*range(3)))) for _ in range(4)]
        await until_async(lambda: batcher.waiting_frames == 12)
        for _ in range(9):
            engine.gate.release()
        await asyncio.gather(first, *others)

    with_batcher(engine, scenario, max_batch=8)
    assert engine.batches == [1, 6, 6]


def test_a_lone_request_waits_for_others_after_a_busy_time_and_no_longer_than_the_bound():
    """Real time passes here, because the bound is one of time."""
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until_async(engine.running.is_set)
        others = [asyncio.ensure_future(batcher.infer(frames(value))) for value in range(8)]
        await until_async(lambda: batcher.waiting_frames == 8)
        engine.gate.release(20)
        await asyncio.gather(first, *others)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await batcher.infer(frames(1))
        return loop.time() - started

    assert with_batcher(engine, scenario, max_wait_s=0.05) > 0.04
    assert engine.batches == [1, 8, 1]


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
        await until_async(engine.running.is_set)
        leaver, stayer = (asyncio.ensure_future(batcher.infer(frames(value))) for value in (2, 3))
        await until_async(lambda: batcher.waiting_frames == 2)
        leaver.cancel()
        for _ in range(2):
            engine.gate.release()
        return await asyncio.gather(first, stayer)

    assert with_batcher(engine, scenario)[1].answers.label.tolist() == [3]


def test_overload_is_refused_at_once():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(1)))
        await until_async(engine.running.is_set)
        waiting = asyncio.ensure_future(batcher.infer(frames(1, 2, 3)))
        await until_async(lambda: batcher.waiting_frames == 3)
        with pytest.raises(Overloaded):
            await batcher.infer(frames(4, 5))
        for _ in range(2):
            engine.gate.release()
        await asyncio.gather(first, waiting)

    with_batcher(engine, scenario, max_waiting=4)


def test_a_client_with_large_requests_does_not_hold_up_one_with_small_ones():
    """With one queue for all clients, the small request would wait for all frames before it."""
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(0), "greedy"))
        await until_async(engine.running.is_set)
        greedy = [asyncio.ensure_future(batcher.infer(frames(*range(8)), "greedy")) for _ in range(10)]
        await until_async(lambda: batcher.waiting_frames == 80)
        modest = asyncio.ensure_future(batcher.infer(frames(5), "modest"))
        await until_async(lambda: batcher.waiting_frames == 81)
        for _ in range(30):
            engine.gate.release()
        batch = (await modest).batch
        done = len(engine.batches)
        await asyncio.gather(first, *greedy)
        return batch, done

    batch, done = with_batcher(engine, scenario, max_batch=8)
    assert batch <= 8
    assert done <= 4  # the one that ran, one that began before it, its own, and one that may end meanwhile


def test_one_client_cannot_take_all_places():
    engine = Engine(held=True)

    async def scenario(batcher):
        first = asyncio.ensure_future(batcher.infer(frames(0), "greedy"))
        await until_async(engine.running.is_set)
        greedy = [asyncio.ensure_future(batcher.infer(frames(1), "greedy")) for _ in range(20)]
        await until_async(lambda: sum(each.done() for each in greedy) == 15)
        modest = asyncio.ensure_future(batcher.infer(frames(5), "modest"))
        await until_async(lambda: batcher.waiting_frames == 6)
        for _ in range(30):
            engine.gate.release()
        await asyncio.gather(first, modest)
        return await asyncio.gather(*greedy, return_exceptions=True)

    refused = [each for each in with_batcher(engine, scenario, max_waiting=10) if isinstance(each, Overloaded)]
    assert len(refused) == 15


def test_stop_answers_what_runs_and_what_waits():
    engine = Engine(held=True)
    others = set(threading.enumerate())  # of other tests, whose engines never answer

    async def go():
        batcher = Batcher(engine, max_batch=2)
        batcher.start()
        asked = [asyncio.ensure_future(batcher.infer(frames(value))) for value in range(5)]
        await until_async(engine.running.is_set)
        stopping = asyncio.ensure_future(batcher.stop())
        for _ in range(5):
            engine.gate.release()
            await asyncio.sleep(0)
        await asyncio.wait_for(stopping, 20)
        assert all(each.done() for each in asked)
        return [each.result().answers.label.tolist() for each in asked]

    assert asyncio.run(go()) == [[0], [1], [2], [3], [4]]
    assert not any(thread.name == "tail" for thread in set(threading.enumerate()) - others)


def test_an_engine_that_does_not_answer_is_told_to_all_and_stop_does_not_wait_for_it():
    engine, said = Engine(held=True), []

    async def go():
        batcher = Batcher(engine, max_batch=1, timeout_s=0.05, report=said.append)
        batcher.start()
        asked = [asyncio.ensure_future(batcher.infer(frames(value))) for value in range(3)]
        for each in asked:
            with pytest.raises(EngineStuck, match=r"the engine has not answered for 0\.05 s"):
                await asyncio.wait_for(each, 20)
        with pytest.raises(EngineStuck):
            await batcher.infer(frames(9))
        assert batcher.waiting_frames == 0
        engine.gate.release()  # it answers after all
        await until_async(lambda: not batcher.stuck)
        engine.gate.release()
        assert (await batcher.infer(frames(7))).answers.label.tolist() == [7]
        last = asyncio.ensure_future(batcher.infer(frames(8)))
        with pytest.raises(EngineStuck):
            await asyncio.wait_for(last, 20)
        await asyncio.wait_for(batcher.stop(), 20)

    asyncio.run(go())
    engine.gate.release()
    assert [sentence.partition(";")[0] for sentence in said] == [
        "the engine has not answered for 0.05 s", "the engine answers again", "the engine has not answered for 0.05 s"
    ]  # fmt: skip
