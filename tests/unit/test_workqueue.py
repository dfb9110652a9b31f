"""The queue of names: once each, one worker each, later each time it fails."""

from __future__ import annotations

import asyncio

import pytest

from kfspawner.profiles.workqueue import WorkQueue


async def drained(queue: WorkQueue) -> list[str]:
    """Return what is there to be worked on at once."""
    found = []
    while True:
        try:
            found.append(await asyncio.wait_for(queue.get(), 0.01))
        except TimeoutError:
            return found


async def test_a_name_waits_once() -> None:
    queue = WorkQueue()
    for name in ("a", "b", "a", "a"):
        queue.add(name)

    assert len(queue) == 2
    assert await drained(queue) == ["a", "b"]


async def test_a_name_has_one_worker_and_is_not_forgotten() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert await drained(queue) == []

    queue.done("a")
    assert await drained(queue) == ["a"]
    queue.done("a")
    assert await drained(queue) == []
    assert len(queue) == 0


async def test_a_name_that_fails_comes_back_later_each_time() -> None:
    queue = WorkQueue(shortest=1, longest=60)
    delays = []
    for _ in range(8):
        queue.add("a")
        await queue.get()
        delays.append(queue.put_off("a"))
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert queue.failures("a") == 8

    queue.add("a")
    queue.done(await queue.get())
    assert queue.failures("a") == 0
    queue.add("a")
    assert queue.put_off(await queue.get()) == 1


async def test_it_comes_back_by_itself() -> None:
    queue = WorkQueue(shortest=0.02)
    queue.add("a")
    queue.put_off(await queue.get())
    assert await drained(queue) == []

    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_success_cancels_what_was_put_off() -> None:
    queue = WorkQueue(shortest=0.03)
    queue.add("a")
    queue.put_off(await queue.get())
    queue.add("a")
    queue.done(await queue.get())

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.1)


async def test_a_name_that_comes_all_the_time_comes_more_slowly() -> None:
    queue = WorkQueue(burst=3, period=60, pause=0.05)
    for _ in range(3):
        queue.add("a")
        assert await drained(queue) == ["a"]
        queue.done("a")
    queue.add("a")
    queue.add("b")
    assert await drained(queue) == ["b"]

    assert await asyncio.wait_for(queue.get(), 1) == "a"
    queue.add("a")
    queue.done("a")
    queue.forget("a")
    queue.add("c")
    assert await drained(queue) == ["c"]
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_a_name_that_came_long_ago_comes_at_once() -> None:
    queue = WorkQueue(burst=2, period=0.05, pause=60)
    for _ in range(2):
        queue.add("a")
        queue.done(await queue.get())
    await asyncio.sleep(0.06)
    queue.add("a")

    assert await drained(queue) == ["a"]
