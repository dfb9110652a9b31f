"""The cluster -> the mirror of it: a list, then a watch, and again when that ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from kfspawner.errors import ClusterError, VersionExpired
from kfspawner.profiles import pace
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.mirror import Mirror
from kfspawner.profiles.resources import Selection
from kfspawner.profiles.seen import Key, key_of

_LOG = logging.getLogger(__name__)

# Seconds between two lists. What a watch did not tell, the list after it does.
_LIST_SECONDS = 600.0


class Follower:
    """Has a mirror be like the cluster.

    Parameters
    ----------
    api, mirror
        The cluster, and the mirror of it.
    tell
        Called with which object is new, changed or gone.
    """

    def __init__(self, api: Api, mirror: Mirror, tell: Callable[[Key], None]) -> None:
        self._api = api
        self._mirror = mirror
        self._tell = tell

    def notice(self, event: str | None, obj: Object) -> None:
        """Take note of what a watch told: ``ADDED``, ``MODIFIED``, ``DELETED``; None in a list."""
        news = self._mirror.drop(obj) if event == "DELETED" else self._mirror.put(obj)
        if news:
            self._tell(key_of(obj))

    async def list(self, selection: Selection) -> str:
        """Compare what is known with all that there is, and return the version to watch from."""
        known = self._mirror.versions(selection.kind)
        present: set[Key] = set()
        version = ""
        async with aclosing(self._api.pages(selection)) as pages:
            async for found, version in pages:  # noqa: B007
                for it in found:
                    present.add(key_of(it))
                    self.notice(None, it)
        for key in self._mirror.forget(selection.kind, known, present):
            self._tell(key)
        return version

    async def follow(self, selection: Selection, listed: asyncio.Event) -> None:
        """List and watch for ever; `listed` is set once all is known."""

        async def list_and_watch() -> None:
            try:
                version = await self.list(selection)
                listed.set()
                await self._watch(selection, version)
            except VersionExpired:
                pass
            except ClusterError as error:
                _LOG.warning("%s", error)

        await pace.keep_on(list_and_watch)

    async def _watch(self, selection: Selection, version: str) -> None:
        """Go on from `version`, watch after watch, until it is time for a list."""
        end = time.monotonic() + _LIST_SECONDS
        while time.monotonic() < end:
            async with aclosing(self._api.watch(selection, version)) as events:
                async for event, it in events:
                    version = it["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        self.notice(event, it)
            await asyncio.sleep(pace.SOON)
