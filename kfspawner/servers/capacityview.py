"""The hub's view of what is free in the cluster: one for all people and pages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from weakref import WeakKeyDictionary

from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.live import LiveObjects
from kfspawner.profiles.resources import Selection
from kfspawner.servers.capacity import Node, Use, find_rooms, read_node, read_use
from kfspawner.servers.fitting import Capacity

_Kind = LiveObjects[Node] | LiveObjects[Use] | LiveObjects[Object]

# Pods that have ended take nothing.
_UNENDED = "status.phase!=Succeeded,status.phase!=Failed"
# How long what was worked out stands, in seconds.
_FRESH = 1.0
# For how many seconds nobody has to ask until it is not kept up any more.
_IDLE = 600.0
# What was last confirmed so many seconds ago is old.
_OLD = 60.0


class CapacityView:
    """Nodes, the pods on them and the quotas of namespaces, followed while somebody asks.

    However many ask, the API is listed once and then watched. While it does not
    answer, all stays as it was last seen.

    Parameters
    ----------
    api
        Where they are.
    log
        Told when the view stands still, and when it goes on.
    """

    def __init__(self, api: Api, log: logging.Logger) -> None:
        self._nodes = LiveObjects[Node](api, Selection("Node"), read_node, log)
        self._pods = LiveObjects[Use](api, Selection("Pod", fields=_UNENDED), read_use, log)
        self._quotas = LiveObjects[Object](api, Selection("ResourceQuota"), _slim_quota, log)
        self._task: asyncio.Task[None] | None = None
        self._asked = time.monotonic()
        self._made = 0.0
        self._known: tuple[bool, ...] = ()
        self._capacity = Capacity()

    @property
    def trouble(self) -> str:
        """Why it may not be told what is free, as a sentence; empty while there is no reason."""
        for kind in self._kinds:
            if kind.trouble and not _is_known(kind):
                return f"What is free may be out of date: {kind.trouble.cause}."
        return ""

    async def now(self, seconds: float = 1.0) -> Capacity:
        """Return what is free, as far as it is known within so many seconds."""
        self.want()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for kind in self._kinds:
                    while kind.trouble is None and not _is_known(kind):
                        await kind.news.wait()
        known = tuple(kind.loaded for kind in self._kinds)
        if known != self._known or time.monotonic() - self._made >= _FRESH:
            self._capacity, self._known = self._work_out(), known
            self._made = time.monotonic()
        return self._capacity

    def want(self) -> None:
        """See to it that it is known soon, and for a while, what is free."""
        self._asked = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    def uses(self) -> Iterator[Use]:
        """Yield what each pod takes or waits for, as it was last seen."""
        for there in self._pods.found.values():
            yield from there.values()

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes, as they were last seen."""
        yield from self._nodes.found.get("", {}).values()

    async def end(self) -> None:
        """Keep it up no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def _kinds(self) -> tuple[_Kind, ...]:
        return self._nodes, self._pods, self._quotas

    async def _follow(self) -> None:
        """Keep it up until nobody has asked for a while."""
        following = [asyncio.create_task(kind.follow(anew=True)) for kind in self._kinds]
        try:
            while (left := self._asked + _IDLE - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    def _work_out(self) -> Capacity:
        rooms = None
        if self._nodes.loaded and self._pods.loaded:
            rooms = find_rooms(self.nodes(), self.uses())
        quotas = {where: tuple(it.values()) for where, it in self._quotas.found.items()}
        return Capacity(rooms, quotas, self._pods.found)


def _is_known(kind: _Kind) -> bool:
    return kind.loaded and kind.age < _OLD


def _slim_quota(it: Object) -> Object:
    named = {"name": it["metadata"]["name"]}
    return {"metadata": named, "spec": it.get("spec") or {}, "status": it.get("status") or {}}


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityView] = WeakKeyDictionary()


def shared_capacity(connect: Callable[[], Api], log: logging.Logger) -> CapacityView:
    """Return the one view of this process."""
    loop = asyncio.get_running_loop()
    if loop not in _shared:
        _shared[loop] = CapacityView(connect(), log)
    return _shared[loop]
