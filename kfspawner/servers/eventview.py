"""The hub's view of the events of servers that start."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, suppress

from kfspawner.errors import ClusterError
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.feed import Feed
from kfspawner.profiles.news import News
from kfspawner.profiles.resources import Selection
from kfspawner.servers.slim import slim_event

# For how many seconds a start waits for the watch to begin.
_PATIENCE = 3.0
# What is kept of one pod's events.
_MOST = 64
# How often it is looked for what is no longer asked about.
_SWEEP_SECONDS = 30.0


class EventView:
    """The events of servers' pods that somebody asks about.

    It begins with the first of them, and keeps nothing of other pods, nor of
    those that nobody has asked about for minutes.

    Parameters
    ----------
    api, selection
        Where, and of what: events of pods.
    waiting
        Who waits for news of a pod: they are told of its events too.
    log
        Told when the API stops answering, and when it answers again.
    """

    def __init__(self, api: Api, selection: Selection, waiting: News, log: logging.Logger) -> None:
        self.first_load_future: asyncio.Future[None] = asyncio.Future()
        self._api = api
        self._selection = selection
        self._waiting = waiting
        self._log = log
        self._feed = Feed(api, selection, log)
        self._kept: dict[str, dict[str, Object]] = {}
        self._swept = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> ClusterError | None:
        """Why there is nothing new; None while there is no reason."""
        return self._feed.trouble

    @property
    def running(self) -> bool:
        """Whether it is kept up."""
        return self._task is not None and not self._task.done()

    @property
    def events(self) -> list[Object]:
        """All that are kept, the latest last."""
        return sorted((it for kept in self._kept.values() for it in kept.values()), key=_time)

    def of(self, key: str) -> list[Object]:
        """Return the events of the pod ``<namespace>/<name>``, the latest last.

        Whoever asks once is heard: what comes in the next minutes is kept too.
        """
        self._waiting.want(key)
        return sorted(self._kept.get(key, {}).values(), key=_time)

    async def start(self) -> None:
        """Keep it up from now on, until `stop`."""
        await self.stop()
        self._task = asyncio.create_task(self._feed.follow(self))

    async def stop(self) -> None:
        """Keep it up no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ready(self, seconds: float = _PATIENCE) -> None:
        """Return once no event that comes now is missed, or after `seconds`.

        A server starts without its events too.
        """
        await asyncio.wait({self.first_load_future}, timeout=seconds)

    # What the feed tells.

    async def load(self) -> str:
        """Learn what was missed, and return from where there will be more."""
        first = not self.first_load_future.done()
        fresh: dict[str, dict[str, Object]] = {}
        version = ""
        async with aclosing(self._api.pages(self._selection)) as pages:
            async for page, version in pages:  # noqa: B007
                if first:
                    # Nobody who starts now has any yet.
                    break
                for it in page:
                    _keep(fresh, it, self._waiting)
        if first:
            self.first_load_future.set_result(None)
        else:
            self._kept = fresh
            self._waiting.tell_all()
        return version

    def take(self, event: str, it: Object) -> None:
        """Learn of one event."""
        self._sweep()
        if event == "DELETED":
            # The API server forgets them after an hour.
            self._kept.get(_key_of(it), {}).pop(it["metadata"]["name"], None)
        elif _keep(self._kept, it, self._waiting):
            self._waiting.tell(_key_of(it))

    def _sweep(self) -> None:
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self._swept = time.monotonic()
            self._waiting.forget_unwanted()
            self._kept = {k: it for k, it in self._kept.items() if self._waiting.is_wanted(k)}


def _keep(into: dict[str, dict[str, Object]], it: Object, waiting: News) -> bool:
    """Keep an event if somebody asks about its pod; say whether it was."""
    key = _key_of(it)
    if not waiting.is_wanted(key):
        return False
    kept = into.setdefault(key, {})
    kept[it["metadata"]["name"]] = slim_event(it)
    if len(kept) > _MOST:
        del kept[min(kept, key=lambda name: _time(kept[name]))]
    return True


def _key_of(event: Object) -> str:
    about = event["involvedObject"]
    return f"{about.get('namespace', '')}/{about.get('name', '')}"


def _time(event: Object) -> str:
    return str(
        event["lastTimestamp"] or event["eventTime"] or event["metadata"]["creationTimestamp"]
    )
