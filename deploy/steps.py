"""A list of steps, printed as they happen, with the time that each took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_BAR_WIDTH = 24
# Where nobody watches a terminal, a line now and then says that it still works.
_LOG_PERIOD_SECONDS = 30.0


class Progress:
    """How far one step is; any thread may move it."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self.note = ""

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` parts are finished, and what is at hand."""
        self.done, self.total, self.note = done, max(total, done), note

    def __str__(self) -> str:
        if not self.total:
            return self.note
        filled = _BAR_WIDTH * self.done // self.total
        bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
        return f"{bar} {100 * self.done // self.total:3d}% {self.note}".rstrip()


class Steps:
    """Print steps with elapsed times; on a terminal, redraw a progress bar."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self.seconds: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the first step could begin."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            self._clear()
            print(f"        {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """Time the block as the step `title`, and keep a bar moving meanwhile."""
        progress = Progress()
        ended = threading.Event()
        begun = time.monotonic()
        ticker = threading.Thread(target=self._tick, args=(title, progress, begun, ended))
        ticker.start()
        mark = "✗"
        try:
            yield progress
            mark = "✓"
        finally:
            ended.set()
            ticker.join()
            taken = time.monotonic() - begun
            self.seconds[title] = taken
            with self._lock:
                self._clear()
                print(f"{taken:6.1f}s {mark} {title}", file=self._out, flush=True)

    def _tick(self, title: str, progress: Progress, begun: float, ended: threading.Event) -> None:
        while not ended.wait(0.5 if self._live else _LOG_PERIOD_SECONDS):
            line = f"{time.monotonic() - begun:6.1f}s … {title} {progress}".rstrip()
            with self._lock:
                self._clear()
                print(line[:110], end="" if self._live else "\n", file=self._out, flush=True)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=self._out)
