"""What an administrator asks the provisioner to do with files, and its answer."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kfspawner.cli.home_listing import Home, find_homes
from kfspawner.errors import HomeError, InputError
from kfspawner.homes.ledger import Request, Volume, read_volume
from kfspawner.homes.place import Place
from kfspawner.labels import HEIR_ANNOTATION, REQUEST_ANNOTATION, TROUBLE_ANNOTATION
from kfspawner.profiles.api import Api

# How often the provisioner's answer is looked for, and for how many seconds.
_RETRY = 0.3
_PATIENCE = 60.0
_NO_ANSWER = "look at `kubectl -n kfspawner-homes logs deploy/provisioner`; it is still asked for"


async def archive(api: Api, place: Place) -> str:
    """Have a place's files put away, and return the stamp that they have from then on.

    Raises
    ------
    InputError
        If there are none, or if a pod has them mounted.
    HomeError
        If the provisioner does not do it.
    """
    doing = f"archiving {place}"
    homes = await find_homes(api, place.profile)
    home = _live(doing, homes, place)
    if home.pods:
        raise InputError(
            doing, f"pods have it mounted: {', '.join(home.pods)}", "stop the server and the runs"
        )
    if home.volume is None and home.claim:
        raise InputError(
            doing,
            "it has no volume, so nothing of it is in use",
            f"see why: {home.claim.trouble}"
            if home.claim.trouble
            else "see `kfspawner homes show`",
        )
    if home.volume is None:
        raise InputError(
            doing,
            f"its volume is of StorageClass {home.storage_class or 'default'}, and not on NFS",
            "delete its claim with kubectl, after its PersistentVolume is set to Retain",
        )
    before = _stamps(homes, place)
    await _ask(api, doing, home.volume, Request.ARCHIVE)
    made = set(_stamps(await find_homes(api, place.profile), place)) - set(before)
    if not made:
        raise HomeError(doing, "somebody deleted its volume meanwhile", "look on the export for it")
    return max(made)


async def restore(api: Api, place: Place, stamp: str) -> str:
    """Have archived files given back, and return the stamp that they had.

    Parameters
    ----------
    api, place
        Whose files.
    stamp
        Which of the archives; empty where there is one.

    Raises
    ------
    InputError
        If there is none, or more than one.
    HomeError
        If the provisioner does not do it; its words.
    """
    doing = f"giving back {place}"
    homes = await find_homes(api, place.profile)
    archive_ = _choose(doing, homes, place, stamp)
    await _ask(api, doing, archive_, Request.RESTORE)
    return archive_.archived_as


def _choose(doing: str, homes: Sequence[Home], place: Place, stamp: str) -> Volume:
    """Return the archive of a place that is meant; InputError if there is none, or one of more."""
    stamps = _stamps(homes, place)
    if stamp not in ("", *stamps) or not stamps:
        raise InputError(
            doing,
            f"there is no archive {stamp} of it" if stamp else "nothing of it is archived",
            f"its archives are {', '.join(stamps)}" if stamps else "see `kfspawner homes list`",
        )
    if len(stamps) > 1 and not stamp:
        raise InputError(
            doing,
            f"there are {len(stamps)} archives of it",
            f"choose one with --from: {', '.join(stamps)}",
        )
    chosen = stamp or stamps[0]
    return next(it for it in _archives(homes) if it.place == place and it.archived_as == chosen)


async def hand_over(api: Api, place: Place, stamp: str, heir: Place) -> str:
    """Have archived files given to somebody else, and return the stamp that they had.

    Parameters
    ----------
    api, place, stamp
        As of `restore`.
    heir
        Whose home they become.

    Raises
    ------
    InputError
        If that cannot be: nothing was touched.
    HomeError
        If the provisioner does not do it; its words.
    """
    doing = f"giving {place} to {heir.person!r:.80}"
    _check_heir(doing, place, heir)
    if await api.get("Profile", heir.profile) is None:
        raise InputError(
            doing,
            f"there is no profile {heir.profile}",
            f"a profile of one's own is made at the first sign-in: let {heir.person!r:.80} sign in",
        )
    there = [it for it in await find_homes(api, heir.profile) if it.place == heir]
    if any(not it.is_archive for it in there):
        raise InputError(
            doing,
            f"there is {heir} already",
            "neither was touched; put that away with "
            f"`kfspawner homes archive {heir.profile} {shlex.quote(heir.person)}`",
        )
    archive_ = _choose(doing, await find_homes(api, place.profile), place, stamp)
    said = {HEIR_ANNOTATION: f"{heir.profile}/{heir.person}"}
    await _ask(api, doing, archive_, Request.HAND_OVER, said)
    return await restore(api, heir, archive_.archived_as)


def _check_heir(doing: str, place: Place, heir: Place) -> None:
    if place.is_folder:
        raise InputError(doing, "a folder is its profile's", "name the person whose home it was")
    if not heir.person or heir.directory == place.directory:
        raise InputError(
            doing, "that is no other person", "give the new name as JupyterHub has it, after --to"
        )


async def purge(api: Api, archives: Sequence[Home]) -> None:
    """Have archives deleted, for good.

    Raises
    ------
    HomeError
        If the provisioner refuses one; those before it are gone.
    """
    for volume in _archives(archives):
        doing = f"deleting {volume.place}, archived {volume.archived_as}"
        await _ask(api, doing, volume, Request.PURGE)


def older_than(homes: Sequence[Home], age: timedelta) -> list[Home]:
    """Return the archives that are at least so old."""
    latest = datetime.now(UTC) - age
    return [
        it
        for it in homes
        for volume in _archives([it])
        if volume.archived_at and volume.archived_at <= latest
    ]


async def _ask(
    api: Api, doing: str, asked: Volume, request: Request, more: Mapping[str, str] | None = None
) -> None:
    """Ask for something about a volume, and return when it is done: then it is gone."""
    annotations = {REQUEST_ANNOTATION: request.value, TROUBLE_ANNOTATION: None, **(more or {})}
    await api.patch("PersistentVolume", asked.name, {"metadata": {"annotations": annotations}})
    deadline = time.monotonic() + _PATIENCE
    trouble = ""
    while time.monotonic() < deadline:
        await asyncio.sleep(_RETRY)
        obj = await api.get("PersistentVolume", asked.name)
        volume = read_volume(obj) if obj else None
        if volume is None or volume.uid != asked.uid:
            return
        trouble = volume.trouble
        if trouble and not volume.request:
            # The provisioner's words are whole.
            raise InputError("the provisioner refuses", trouble, "ask again once that is mended")
    said = trouble or f"the provisioner did not do it in {_PATIENCE:.0f} s"
    raise HomeError(doing, said, _NO_ANSWER)


def _live(doing: str, homes: Sequence[Home], place: Place) -> Home:
    for home in homes:
        if home.place == place and not _archives([home]):
            return home
    raise InputError(doing, "there are no files there", "see `kfspawner homes list`")


def _archives(homes: Sequence[Home]) -> list[Volume]:
    return [it.volume for it in homes if it.volume and it.volume.is_archive]


def _stamps(homes: Sequence[Home], place: Place) -> list[str]:
    """Return when a place's files were archived, the last time last."""
    return sorted(it.archived_as for it in _archives(homes) if it.place == place)
