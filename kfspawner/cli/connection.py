"""What every command that asks the cluster begins and ends with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kfspawner.errors import InputError
from kfspawner.profiles.api import Api

T = TypeVar("T")


def on_cluster(work: Callable[[Api], Awaitable[T]]) -> T:
    """Return what `work` returns for the cluster that this process may reach."""

    async def connected() -> T:
        async with await Api.connect() as api:
            return await work(api)

    return asyncio.run(connected())


def no_such_profile(doing: str, name: str) -> InputError:
    """Return the error that a Profile which is not there stands for."""
    return InputError(
        doing, f"there is no profile {name}", "see `kfspawner profiles list` for those there are"
    )
