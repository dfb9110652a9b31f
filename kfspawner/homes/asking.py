"""The hub asks for what a profile's servers mount besides homes, and waits until it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from kfspawner.errors import ObjectExists, ObjectMissing
from kfspawner.homes.mounts import Mount, read_mounts, write_mounts
from kfspawner.labels import MOUNTS_ANNOTATION
from kfspawner.profiles.api import Api

# How often to read a Profile anew that somebody else writes meanwhile.
_TRIES = 5
# Profiles that are written at once.
_AT_ONCE = 16


async def drop_mounts(api: Api, profiles: Iterable[str], person: str) -> None:
    """Have nothing mounted for a person any more, in any of `profiles`.

    Raises
    ------
    ClusterError
        If that cannot be written on one of them; on the others it is.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def drop(profile: str) -> None:
        async with turns:
            with suppress(ObjectMissing):
                await ask_for_mounts(api, profile, person, {}, others=True)

    for it in await asyncio.gather(*map(drop, profiles), return_exceptions=True):
        if isinstance(it, BaseException):
            raise it


async def ask_for_mounts(
    api: Api, profile: str, person: str, wanted: Mapping[str, Mount], *, others: bool = False
) -> None:
    """Have `wanted` written on a Profile, as all that is mounted there for a person and for all.

    Parameters
    ----------
    api, profile
        The cluster, and the Profile's name.
    person
        Whose mounts they are; those that are for all of the profile are theirs too.
    wanted
        The mounts by their claims.
    others
        Whether what is for all of the profile stays as it is.

    Raises
    ------
    ClusterError
        If it cannot be written.
    """
    replaced = (person,) if others else (person, "")

    def change(written: Mapping[str, Mount]) -> dict[str, Mount]:
        kept = {claim: it for claim, it in written.items() if it.person not in replaced}
        return {**kept, **wanted}

    await _rewrite(api, profile, change)


async def take_off(api: Api, profile: str, mounts: Mapping[str, Mount]) -> None:
    """Have some mounts written on a Profile no more; those that are others by now stay.

    Raises
    ------
    ClusterError
        If it cannot be written.
    """

    def change(written: Mapping[str, Mount]) -> dict[str, Mount]:
        return {claim: it for claim, it in written.items() if mounts.get(claim) != it}

    with suppress(ObjectMissing):
        await _rewrite(api, profile, change)


async def _rewrite(
    api: Api, profile: str, change: Callable[[Mapping[str, Mount]], dict[str, Mount]]
) -> None:
    for last in range(_TRIES):
        obj = await api.get("Profile", profile)
        if obj is None:
            raise ObjectMissing(f"preparing profile {profile}", "there is none any more", "go back")
        written = read_mounts(obj)
        mounts = change(written)
        if mounts == written:
            return
        metadata = {
            # With its version: what somebody else writes meanwhile is not undone.
            "resourceVersion": obj["metadata"]["resourceVersion"],
            "annotations": {MOUNTS_ANNOTATION: write_mounts(mounts) if mounts else None},
        }
        try:
            await api.patch("Profile", profile, {"metadata": metadata})
        except ObjectExists:
            if last == _TRIES - 1:
                raise
        else:
            return
