"""FairExecutor and shares: what one client puts in takes nothing from another's part."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.app.fairness import IDLE_CLIENTS, FairExecutor, FairQueue, SharedBudget
from tests.host.waits import until_async


def taken(queue, count=None):
    return [queue.take() for _ in range(len(queue) if count is None else count)]


def test_items_of_one_client_keep_their_order():
    queue = FairQueue()
    for number, work in enumerate((5, 1, 9, 1)):
        queue.put("a", work, number)
    assert queue.first() == 0
    assert taken(queue) == [0, 1, 2, 3]


def test_one_who_asks_for_little_goes_before_the_backlog_of_one_who_asks_for_much():
    queue = FairQueue()
    for number in range(10):
        queue.put("greedy", 32, f"greedy {number}")
    assert taken(queue, 2) == ["greedy 0", "greedy 1"]
    queue.put("modest", 1, "modest")
    assert queue.take() == "modest"
    assert queue.take() == "greedy 2"


def test_clients_that_want_all_get_the_same_work_whatever_the_size_of_their_requests():
    queue = FairQueue()
    for _ in range(20):
        queue.put("large", 32, ("large", 32))
    for _ in range(640):
        queue.put("small", 1, ("small", 1))
    done = {"large": 0, "small": 0}
    while len(queue) > 300:
        client, work = queue.take()
        done[client] += work
        assert abs(done["large"] - done["small"]) <= 64


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 32)) | st.none(), max_size=60))
def test_nothing_is_lost_and_each_client_keeps_its_order(steps):
    """In the list, None means that an item is taken."""
    queue, put, got = FairQueue(), [], []
    for number, step in enumerate(steps):
        if step:
            queue.put(*step, (step[0], number))
            put.append((step[0], number))
        elif len(queue):
            got.append(queue.take())
    got += taken(queue)
    assert sorted(got) == sorted(put)
    for client in "abc":
        assert [each for each in got if each[0] == client] == [each for each in put if each[0] == client]


def test_clients_that_have_gone_are_forgotten_even_if_the_queue_is_never_empty():
    queue = FairQueue()
    queue.put("", 1, 0)
    for number in range(3 * IDLE_CLIENTS):
        queue.put(str(number), 1, number)
        queue.take()
    assert queue.known_clients <= IDLE_CLIENTS + 2


def test_one_client_may_hold_half_and_leaves_room_for_the_next():
    shares = SharedBudget(100)
    while shares.take("a", 1):
        pass
    assert shares.held == 50
    while shares.take("b", 1):
        pass
    assert shares.held == 75
    assert shares.take("c", 10)
    shares.give_back("a", 50)
    assert shares.take("b", 10)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40)), max_size=40))
def test_shares_never_go_beyond_their_total(steps):
    shares, held = SharedBudget(100), []
    for client, amount in steps:
        if shares.take(client, amount):
            held.append((client, amount))
        assert shares.held == sum(amount for _, amount in held) <= 100
    for client, amount in held:
        shares.give_back(client, amount)
    assert shares.held == 0


class Slow:
    """A function that says that it runs, and ends when it is let go."""

    def __init__(self):
        self.running = 0
        self.order = []
        self.gate = threading.Semaphore(0)

    def __call__(self, name):
        self.running += 1
        assert self.running == 1
        self.order.append(name)
        assert self.gate.acquire(timeout=10)
        self.running -= 1
        return name


def test_slow_functions_run_one_at_a_time_and_the_clients_take_turns():
    async def run():
        turns, slow = FairExecutor(), Slow()
        calls = [("a", 10), ("a", 10), ("a", 10), ("b", 1)]
        tasks = [
            asyncio.ensure_future(turns.run(client, work, lambda name=f"{client}{number}": slow(name)))
            for number, (client, work) in enumerate(calls)
        ]
        await asyncio.sleep(0)
        for _ in tasks:
            slow.gate.release()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 20) == ["a0", "a1", "a2", "b3"]
        assert slow.order == ["a0", "a1", "b3", "a2"]

    asyncio.run(run())


@pytest.mark.parametrize("steps", range(8))
def test_a_turn_that_nobody_wants_any_more_goes_to_the_next(monkeypatch, steps):
    """One caller leaves while it waits. Another leaves ``steps`` rounds of the event loop after the function before it has
    ended; in one of these rounds its turn has come, though it does not know yet."""

    async def run():
        ended = asyncio.Event()

        async def in_the_loop(function):
            await ended.wait()
            return function()

        monkeypatch.setattr(asyncio, "to_thread", in_the_loop)
        executor, order = FairExecutor(), []
        tasks = [asyncio.ensure_future(executor.run("a", 1, lambda n=n: order.append(n))) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        ended.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.wait_for(tasks[3], 20)
        assert [each for each in order if each != 2] == [0, 3]

    asyncio.run(run())


def test_the_next_turn_waits_for_a_function_that_runs_though_its_caller_has_gone():
    async def run():
        turns, slow = FairExecutor(), Slow()
        tasks = [asyncio.ensure_future(turns.run("a", 1, lambda number=number: slow(number))) for number in range(2)]
        await until_async(lambda: slow.running)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert slow.order == [0]
        slow.gate.release(2)
        assert await asyncio.wait_for(tasks[1], 20) == 1

    asyncio.run(run())


def test_a_slow_function_that_fails_passes_its_turn_on():
    async def run():
        turns = FairExecutor()

        def fail():
            raise ValueError("bad")

        with pytest.raises(ValueError, match="bad"):
            await turns.run("a", 1, fail)
        assert await asyncio.wait_for(turns.run("a", 1, lambda: 7), 20) == 7

    asyncio.run(run())
