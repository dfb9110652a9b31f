"""Who waits for news of which object."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakValueDictionary

# For how many seconds what somebody asked about stays wanted.
LINGER = 300.0


class News:
    """Events that are set at the next news of an object, by its key.

    Nothing is kept for those who wait no longer.
    """

    def __init__(self) -> None:
        self._waiting: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._following: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._wanted: dict[str, float] = {}

    def of(self, key: str) -> asyncio.Event:
        """Return what is set at the next news of `key`, and never again: ask anew after it."""
        self.want(key)
        return _one_of(self._waiting, key)

    def quietly(self, key: str) -> asyncio.Event:
        """Return the same for who follows `key` for long: it does not become wanted."""
        return _one_of(self._following, key)

    def want(self, key: str) -> None:
        """Take note that somebody asks about `key`."""
        self._wanted[key] = time.monotonic()

    def is_wanted(self, key: str) -> bool:
        """Say whether somebody waits for news of `key`, or has asked about it lately."""
        asked = self._wanted.get(key)
        return key in self._waiting or (asked is not None and time.monotonic() - asked < LINGER)

    def forget_unwanted(self) -> None:
        """Keep nothing of what nobody has asked about lately."""
        for key in [it for it in self._wanted if not self.is_wanted(it)]:
            del self._wanted[key]

    def tell(self, key: str) -> None:
        """Wake who waits for `key`; until they ask anew, it stays wanted."""
        event = self._waiting.pop(key, None)
        if event is not None:
            self.want(key)
            event.set()
        event = self._following.pop(key, None)
        if event is not None:
            event.set()

    def tell_all(self) -> None:
        """Wake everyone who waits."""
        for key in {*self._waiting, *self._following}:
            self.tell(key)


def _one_of(events: WeakValueDictionary[str, asyncio.Event], key: str) -> asyncio.Event:
    event = events.get(key)
    if event is None:
        event = events[key] = asyncio.Event()
    return event
