"""Waits for conditions that other threads, tasks or processes make true."""

import asyncio
import time

PAUSE_S = 0.005


def until(condition, seconds=10.0):
    """Return what ``condition()`` returns once that is true; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(PAUSE_S)
    return found


async def until_async(condition, seconds=10.0):
    """As ``until``; the other tasks of the event loop run meanwhile."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not become true in time"
        await asyncio.sleep(PAUSE_S)
    return found
