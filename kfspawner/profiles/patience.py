"""What the API refuses for a moment longer: it is busy, or the namespace was just made."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kfspawner.errors import ClusterBusy, ClusterDenied, ClusterUnreachable

T = TypeVar("T")

# How often to ask again, and for how many seconds.
_RETRY = 0.2
_PATIENCE = 10.0

# The API server has yet to take note of a new binding or account, or to count
# for the first time what a new quota limits. A quota that is full is none of these.
_PASSING = re.compile(
    r'forbidden: User ".*" cannot |status unknown for quota|error looking up service account'
)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return what `call` does; where it is refused for what will pass, ask again for seconds."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        pause = _RETRY
        try:
            return await call()
        except ClusterDenied as error:
            if not _PASSING.search(error.cause) or time.monotonic() > deadline:
                raise
        except ClusterUnreachable:
            if time.monotonic() > deadline:
                raise
        except ClusterBusy as error:
            pause = max(_RETRY, error.retry_after)
            if time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause)
