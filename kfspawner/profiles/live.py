"""All objects of one kind as they are now, by a list and what is told after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from kfspawner.errors import ClusterError
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.feed import Feed, is_newer
from kfspawner.profiles.news import News
from kfspawner.profiles.resources import Selection

T = TypeVar("T")
Found = dict[str, dict[str, T]]


class LiveObjects(Generic[T]):
    """What `read` makes of the objects of a kind, kept up by `follow`.

    While the API does not answer, it stays as it was last seen.

    Parameters
    ----------
    api, selection
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
    """

    def __init__(
        self,
        api: Api,
        selection: Selection,
        read: Callable[[Object], T | None],
        log: logging.Logger,
    ) -> None:
        self.found: Found[T] = {}
        self.loaded = False
        self._api = api
        self._selection = selection
        self._read = read
        self._log = log
        self._feed = Feed(api, selection, log)
        self._news = asyncio.Event()
        self._waiting = News()
        # What `put` told before the watch did, by key: its version.
        self._ahead: dict[str, tuple[str, str, str]] = {}
        # The uids that `drop` told to be gone before the watch did.
        self._gone: set[str] = set()

    @property
    def trouble(self) -> ClusterError | None:
        """Why it may be out of date; None while it is not."""
        return self._feed.trouble

    @property
    def age(self) -> float:
        """Seconds since the API server last said that this is how things are."""
        return self._feed.age

    @property
    def news(self) -> asyncio.Event:
        """Is set at the next change, and never again: ask anew after it."""
        return self._news

    def changed(self, key: str) -> asyncio.Event:
        """Return what is set at the next news of an object, and never again: ask anew after it.

        Parameters
        ----------
        key
            ``<namespace>/<name>``, or the name alone for kinds without namespaces.
        """
        return self._waiting.of(key)

    def put(self, it: Object) -> None:
        """Take in an object that was just written, unless there was news after that."""
        namespace, name, key = _place(it)
        version = it["metadata"]["resourceVersion"]
        ahead = self._ahead.get(key)
        known = ahead[2] if ahead else self._feed.version
        if it["metadata"].get("uid") in self._gone or not is_newer(version, known):
            return
        self._ahead[key] = (namespace, name, version)
        self._keep(self.found, it)
        self._tell(key)

    def drop(self, key: str, uid: str) -> None:
        """Take note that the object of that uid, which is known, is gone."""
        self._gone.add(uid)
        namespace, _, name = key.rpartition("/")
        self._remove(namespace, name)

    async def follow(self, *, anew: bool = False) -> None:
        """List, then watch, for ever; until this is cancelled."""
        await self._feed.follow(self, anew=anew)

    # What the feed tells.

    async def load(self) -> str:
        """List all anew, portion by portion, and return the version of the list."""
        fresh: Found[T] = {}
        settled = set(self._gone)
        version = ""
        async with aclosing(self._api.pages(self._selection)) as pages:
            async for page, version in pages:  # noqa: B007
                for it in page:
                    if it["metadata"].get("uid") not in self._gone:
                        self._keep(fresh, it)
        # What was put in while the list was read may be newer than it.
        self._ahead = {k: it for k, it in self._ahead.items() if is_newer(it[2], version)}
        for namespace, name, _ in self._ahead.values():
            value = self.found.get(namespace, {}).get(name)
            if value is not None:
                fresh.setdefault(namespace, {})[name] = value
        self._gone -= settled
        self.found = fresh
        self.loaded = True
        self._tell(None)
        return version

    def take(self, event: str, it: Object) -> None:
        """Learn of one object."""
        namespace, name, key = _place(it)
        uid = it["metadata"].get("uid")
        ahead = self._ahead.get(key)
        if ahead and is_newer(ahead[2], it["metadata"]["resourceVersion"]):
            return
        self._ahead.pop(key, None)
        if event == "DELETED":
            self._gone.discard(uid)
            self._remove(namespace, name)
        elif uid not in self._gone:
            self._keep(self.found, it)
            self._tell(key)

    def _keep(self, into: Found[T], it: Object) -> None:
        namespace, name, key = _place(it)
        try:
            kept = self._read(it)
        except Exception:  # noqa: BLE001
            # A defect, or an object that nobody thought of: it is no end of the others.
            self._log.exception("Following %s objects failed at %s", self._selection.kind, key)
            kept = None
        if kept is not None:
            into.setdefault(namespace, {})[name] = kept
        elif name in into.get(namespace, {}):
            _discard(into, namespace, name)

    def _remove(self, namespace: str, name: str) -> None:
        _discard(self.found, namespace, name)
        self._tell(f"{namespace}/{name}" if namespace else name)

    def _tell(self, key: str | None) -> None:
        self._news.set()
        self._news = asyncio.Event()
        if key is None:
            self._waiting.tell_all()
        else:
            self._waiting.tell(key)


def _discard(found: Found[T], namespace: str, name: str) -> None:
    there = found.get(namespace, {})
    there.pop(name, None)
    if not there:
        found.pop(namespace, None)


def _place(it: Object) -> tuple[str, str, str]:
    namespace, name = str(it["metadata"].get("namespace") or ""), str(it["metadata"]["name"])
    return namespace, name, f"{namespace}/{name}" if namespace else name
