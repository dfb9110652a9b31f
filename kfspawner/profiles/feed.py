"""What happens to the objects of a kind, told for ever: lists, and watches that go on."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import aclosing
from typing import Protocol

from kfspawner.errors import ClusterBusy, ClusterError, ClusterUnreachable, VersionExpired
from kfspawner.profiles import pace
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.resources import Selection

# Seconds that a watch lasts. Less than a minute after it was last heard of, one
# that is dead has been left.
WATCH_SECONDS = 30
# At most so many seconds are waited because the API server asks for it.
_LONGEST_WAIT = 20.0


class Sink(Protocol):
    """Whoever is told."""

    async def load(self) -> str:
        """Learn all anew, and return the version from which there will be more."""

    def take(self, event: str, it: Object) -> None:
        """Learn that an object was ``ADDED``, ``MODIFIED`` or ``DELETED``."""


class Feed:
    """Tells a sink what happens, in order and nothing twice, however often the watch breaks.

    A watch that breaks goes on where it was. All is loaded anew where the API
    server does not remember that far back, and where its answer is an error
    that leaves open whether something was lost.

    Parameters
    ----------
    api, selection
        Where, and of what.
    log
        Told when the API stops answering, and when it answers again.

    Attributes
    ----------
    trouble
        Why there is nothing new; None while there is no reason.
    """

    def __init__(self, api: Api, selection: Selection, log: logging.Logger) -> None:
        self.trouble: ClusterError | None = None
        self._api = api
        self._selection = selection
        self._log = log
        self._version = ""
        self._confirmed = -math.inf

    @property
    def version(self) -> str:
        """What is told is newer than this; empty before anything was loaded."""
        return self._version

    @property
    def age(self) -> float:
        """Seconds since the API server last said that this is all there is."""
        return time.monotonic() - self._confirmed

    async def follow(self, sink: Sink, *, anew: bool = False) -> None:
        """Load, if need be or `anew`, then watch, for ever; until this is cancelled."""
        if anew:
            self._version = ""
        await pace.keep_on(lambda: self._follow_once(sink))

    async def _follow_once(self, sink: Sink) -> None:
        try:
            await self._load_and_watch(sink)
        except VersionExpired as error:
            self._log.info("Listing %s objects again: %s", self._selection.kind, error.cause)
            self._version = ""
        except ClusterError as error:
            self._fail(error)
            if isinstance(error, ClusterBusy):
                await asyncio.sleep(min(error.retry_after, _LONGEST_WAIT))
            elif not isinstance(error, ClusterUnreachable):
                self._version = ""
        except Exception:  # noqa: BLE001
            # A defect: a view that is read anew serves people better than one
            # that stands still for ever.
            self._log.exception("Following %s objects failed", self._selection.kind)
            self._version = ""

    async def _load_and_watch(self, sink: Sink) -> None:
        if not self._version:
            begun = time.monotonic()
            self._version = await sink.load()
            self._confirm(begun)
        useful = True
        while useful:
            # The API server ends each in time, and the next begins at once.
            begun = time.monotonic()
            await self._watch(sink)
            useful = time.monotonic() - begun > pace.USEFUL

    async def _watch(self, sink: Sink) -> None:
        watch = self._api.watch(self._selection, self._version, WATCH_SECONDS, self._confirm)
        async with aclosing(watch) as events:
            async for event, it in events:
                version = it["metadata"]["resourceVersion"]
                if is_newer(version, self._version):
                    if event != "BOOKMARK":
                        sink.take(event, it)
                    self._version = version
                self._confirm()
        self._confirm()

    def _confirm(self, at: float | None = None) -> None:
        self._confirmed = time.monotonic() if at is None else at
        if self.trouble is not None:
            self._log.warning("The view of %s objects is up to date again", self._selection.kind)
        self.trouble = None

    def _fail(self, error: ClusterError) -> None:
        if self.trouble is None:
            self._log.warning(
                "The view of %s objects stands still: %s", self._selection.kind, error
            )
        self.trouble = error


def is_newer(version: str, than: str) -> bool:
    """Say whether one resourceVersion of a kind comes after another.

    They are numbers that grow; where they are not, whatever differs is new.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
