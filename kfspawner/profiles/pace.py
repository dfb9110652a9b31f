"""What is done for ever, and more slowly while it is of no use."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

# Seconds before the next turn: after one that was of use, and at most.
SOON = 0.2
LATE = 5.0
# A turn that lasted this long was of use.
USEFUL = 5.0


async def keep_on(turn: Callable[[], Awaitable[None]]) -> NoReturn:
    """Take one turn after the other, until this is cancelled or a turn raises."""
    pause = SOON
    while True:
        begun = time.monotonic()
        await turn()
        useful = time.monotonic() - begun > USEFUL
        pause = SOON if useful else min(2 * pause, LATE)
        # Not in step with others that lost the same connection.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
