"""All objects of one kind as they are now: one list, then one watch that goes on where it broke."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from kfspawner.errors import ClusterError, VersionExpired
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.pace import keep_on
from kfspawner.profiles.resources import Selection

T = TypeVar("T")


class LiveObjects(Generic[T]):
    """What `read` makes of the objects of a kind, kept up by `follow`.

    While the API does not answer, it stays as it was last seen.

    Parameters
    ----------
    api, kind
        Where, and of what.
    read
        What is kept of an object; None for nothing.
    log
        Told when the API stops answering, and when it answers again.

    Attributes
    ----------
    found
        By namespace, empty for kinds without one, and by name.
    loaded
        Whether all objects were seen once.
    trouble
        Why it may be out of date; None while it is not.
    """

    def __init__(
        self, api: Api, kind: str, read: Callable[[Object], T | None], log: logging.Logger
    ) -> None:
        self.found: dict[str, dict[str, T]] = {}
        self.loaded = False
        self.trouble: ClusterError | None = None
        self._api = api
        self._kind = kind
        self._read = read
        self._log = log
        self._version = ""
        self._news = asyncio.Event()

    @property
    def news(self) -> asyncio.Event:
        """Is set at the next change, and never again: ask anew after it."""
        return self._news

    def put(self, it: Object) -> None:
        """Take in an object that was just written, unless the watch has told of it already."""
        if it["metadata"]["name"] not in self.found.get(_namespace(it), {}):
            self._keep(it)
            self._tell()

    async def follow(self) -> None:
        """List, then watch, for ever; until this is cancelled."""
        await keep_on(self._follow_once)

    async def _follow_once(self) -> None:
        try:
            await self._list_and_watch()
        except VersionExpired:
            self._version = ""
        except ClusterError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001
            # A defect: a view that is read anew serves people better than one
            # that stands still for ever.
            self._log.exception("Following %s objects failed", self._kind)
            self._version = ""

    async def _list_and_watch(self) -> None:
        if not self._version:
            items, version = await self._api.list(self._kind)
            self.found = {}
            for it in items:
                self._keep(it)
            self._version = version
            self.loaded = True
            self._recover()
            self._tell()
        async with aclosing(self._api.watch(Selection(self._kind), self._version)) as events:
            async for event, it in events:
                self._take(event, it)
        self._recover()

    def _take(self, event: str, it: Object) -> None:
        if event == "DELETED":
            self.found.get(_namespace(it), {}).pop(it["metadata"]["name"], None)
        elif event != "BOOKMARK":
            self._keep(it)
        self._version = it["metadata"]["resourceVersion"]
        self._recover()
        self._tell()

    def _keep(self, it: Object) -> None:
        kept = self._read(it)
        there = self.found.setdefault(_namespace(it), {})
        if kept is None:
            there.pop(it["metadata"]["name"], None)
        else:
            there[it["metadata"]["name"]] = kept

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _fail(self, error: ClusterError) -> None:
        if self.trouble is None:
            self._log.warning("The view of %s objects stands still: %s", self._kind, error)
        self.trouble = error
        self._tell()

    def _recover(self) -> None:
        if self.trouble is not None:
            self._log.warning("The view of %s objects is up to date again", self._kind)
        self.trouble = None


def _namespace(it: Object) -> str:
    return str(it["metadata"].get("namespace") or "")
