"""Whatever happens, in whatever order it is told: the view comes to what there is."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfspawner.errors import ClusterError, ClusterUnreachable
from kfspawner.profiles import pace
from kfspawner.profiles.api import Object
from kfspawner.profiles.resources import Selection
from kfspawner.servers.podview import PodView
from tests.fakes.api import FakeApi
from tests.fakes.servers import make_pod

SERVERS = Selection("Pod", labels="component=singleuser-server")
NAMES = ("a", "b", "c")
OUTAGE = ClusterUnreachable("watching pods", "the Kubernetes API did not answer", "try again")
REFUSED = ClusterError("watching pods", "500 etcd", "try again")


class UnrulyApi(FakeApi):
    """Tells again what it has told, where it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Object]] = []
        self.again: list[int] = []

    async def watch(
        self,
        selection: Selection,
        version: str,
        seconds: int = 30,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        async for event, it in super().watch(selection, version, seconds, opened):
            while self.again and self.told:
                yield copy.deepcopy(self.told[self.again.pop() % len(self.told)])
            self.told.append((event, copy.deepcopy(it)))
            yield event, it


class Story:
    """A cluster, a view of it, and what happens to both."""

    def __init__(self) -> None:
        self.api = UnrulyApi()
        self.view = PodView(self.api, SERVERS, logging.getLogger("sequences"))
        # Answers that have not reached the view yet.
        self.answers: list[Object] = []
        self.waited: list[tuple[str, asyncio.Event, Any]] = []

    async def take(self, step: str, name: str, number: int) -> None:
        await getattr(self, step)(name, number)

    async def write(self, name: str, number: int) -> None:
        self.answers.append(self.api.put(make_pod(name, podIP=f"10.0.0.{number}")))

    async def delete(self, name: str, _: int) -> None:
        if ("Pod", "vision", name) in self.api.objects:
            self.api.remove("Pod", name, "vision")

    async def recreate(self, name: str, number: int) -> None:
        await self.delete(name, number)
        await self.write(name, number)

    async def unlabel(self, name: str, _: int) -> None:
        if pod := self.api.objects.get(("Pod", "vision", name)):
            self.api.put({**pod, "metadata": {**pod["metadata"], "labels": {}}})

    async def answer(self, _: str, number: int) -> None:
        if self.answers:
            self.view.put(self.answers.pop(number % len(self.answers)))

    async def gone(self, name: str, _: int) -> None:
        known = self.view.pods.get(f"vision/{name}")
        if known and ("Pod", "vision", name) not in self.api.objects:
            self.view.drop(f"vision/{name}", known["metadata"]["uid"])

    async def replay(self, _: str, number: int) -> None:
        self.api.again += [number, number + 1]

    async def forget(self, _: str, __: int) -> None:
        self.api.expire()

    async def sever(self, _: str, number: int) -> None:
        self.api.refusals["watch Pod"] = [OUTAGE] * (1 + number % 3)

    async def refuse(self, _: str, __: int) -> None:
        self.api.refusals["watch Pod"] = [REFUSED]
        self.api.refusals["list Pod"] = [OUTAGE]

    async def restart(self, _: str, __: int) -> None:
        await self.view.start()

    async def anew(self, _: str, __: int) -> None:
        self.view._begun -= 3600
        await self.view.again()

    async def wait(self, name: str, _: int) -> None:
        key = f"vision/{name}"
        self.waited.append((key, self.view.changed(key), self.view.pods.get(key)))

    async def time(self, _: str, number: int) -> None:
        await asyncio.sleep(0.001 * (number % 4))

    def truth(self) -> dict[str, Any]:
        fits = (it for it in self.api._select(SERVERS))
        return {
            f"vision/{it['metadata']['name']}": (it["metadata"]["uid"], it["status"]["podIP"])
            for it in fits
        }

    def seen(self) -> dict[str, Any]:
        return {
            key: (it["metadata"]["uid"], it["status"]["podIP"])
            for key, it in self.view.pods.items()
        }


OFTEN = ("write", "delete", "recreate", "answer", "time", "time", "replay")
SELDOM = ("unlabel", "gone", "forget", "sever", "refuse", "restart", "anew", "wait")
STEPS = st.sampled_from(OFTEN * 2 + SELDOM)
STORIES = st.lists(
    st.tuples(STEPS, st.sampled_from(NAMES), st.integers(0, 255)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=150)
@given(STORIES)
@example([("time", "a", 0), ("write", "a", 0), ("forget", "a", 0)])
def test_the_view_comes_to_what_there_is(story: list[tuple[str, str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "SOON", 0.0005)
        patch.setattr(pace, "LATE", 0.002)
        asyncio.run(_live(story))


async def _live(story: list[tuple[str, str, int]]) -> None:
    told = Story()
    await told.view.start()
    for step, name, number in story:
        await told.take(step, name, number)
    # One more thing that is told: a watch that was broken is asked again.
    told.api.put(make_pod("last"))
    async with asyncio.timeout(5):
        while told.seen() != told.truth():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    # It stays so, and late answers change nothing.
    for answer in told.answers:
        told.view.put(answer)
    for _ in range(5):
        await asyncio.sleep(0.0005)
    assert told.seen() == told.truth()
    for key, event, before in told.waited:
        assert event.is_set() or told.view.pods.get(key) == before
    await told.view.stop()
