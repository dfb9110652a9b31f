"""Names that something is to be done about, each by one worker at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class WorkQueue:
    """A queue in which a name is at most once.

    - A name that is added while it waits is not added again.
    - A name that is added while it is worked on is handed out again afterwards,
      and never to two workers at a time.
    - A name that is put off comes back after a while: each time in a row that
      it is put off, after twice as long.
    - A name that comes all the time comes more slowly: somebody undoes what is
      done about it.

    Parameters
    ----------
    shortest, longest
        How long a name is put off the first time, and at most, in seconds.
    burst, period
        How many times in so many seconds a name is handed out at once.
    pause
        How long it waits when it was handed out as often as that.
    """

    def __init__(
        self,
        *,
        shortest: float = 1.0,
        longest: float = 60.0,
        burst: int = 120,
        period: float = 60.0,
        pause: float = 3.0,
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._burst = burst
        self._period = period
        self._pause = pause
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        # What is to be done, whether it waits or is being worked on.
        self._asked: set[str] = set()
        self._active: set[str] = set()
        self._taken: dict[str, deque[float]] = {}
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._asked | self._active)

    def add(self, name: str) -> None:
        """Ask for something to be done about `name`."""
        if name not in self._asked:
            self._asked.add(name)
            if name not in self._active:
                self._hand_out(name)

    async def get(self) -> str:
        """Wait for a name, and take it until `done` or `put_off`."""
        name = await self._waiting.get()
        self._asked.discard(name)
        self._active.add(name)
        self._taken.setdefault(name, deque(maxlen=self._burst)).append(_now())
        return name

    def done(self, name: str) -> None:
        """Give a name back: all is well with it."""
        self._failures.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer:
            timer.cancel()
        self._release(name)

    def put_off(self, name: str) -> float:
        """Give a name back, to come again, and return in how many seconds."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        delay = min(self._shortest * 2.0 ** min(failures - 1, 30), self._longest)
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay, self.add, name)
        self._release(name)
        return delay

    def failures(self, name: str) -> int:
        """Return how many times in a row a name was put off."""
        return self._failures.get(name, 0)

    def forget(self, name: str) -> None:
        """Forget how often a name came: it does not come again."""
        self._taken.pop(name, None)

    def _release(self, name: str) -> None:
        self._active.discard(name)
        if name in self._asked:
            self._hand_out(name)

    def _hand_out(self, name: str) -> None:
        taken = self._taken.get(name)
        if taken and len(taken) == self._burst and _now() - taken[0] < self._period:
            loop = asyncio.get_running_loop()
            loop.call_later(self._pause, self._waiting.put_nowait, name)
        else:
            self._waiting.put_nowait(name)


def _now() -> float:
    return asyncio.get_running_loop().time()
