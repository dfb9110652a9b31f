"""Puts files away on the export, gives them back, and deletes what was put away."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from kfspawner.errors import HomeError, ObjectExists
from kfspawner.homes.ledger import Request, Volume
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Standing, Step, is_profiles
from kfspawner.homes.steps import Steps
from kfspawner.homes.volume import make_archive_volume, make_restored_volume

# The steps that an archive is asked for.
OF_ARCHIVES = (Step.RESTORE, Step.HAND_OVER, Step.PURGE, Step.REFUSE)

_LOG = logging.getLogger(__name__)


class Archives(Steps):
    """The steps that move files away from their place, and back to it."""

    async def _answer(self, step: Step, archive: Volume, standing: Standing) -> None:
        """Do what is asked for of an archive."""
        match step:
            case Step.RESTORE:
                await self._restore(archive, standing)
            case Step.HAND_OVER if archive.heir:
                await self._hand_over(archive, archive.heir)
            case Step.PURGE:
                await self._purge(archive)
            case Step.REFUSE:
                raise _refusal(archive, standing)

    async def _archive(self, volume: Volume) -> None:
        archived = volume.archived
        if volume.request == Request.ARCHIVE:
            # One whose profile is gone is put away whoever still has it mounted.
            await self._check_elsewhere(volume.place)
        await self._on_export(self._export.move, volume.place.directory, archived.directory)
        with suppress(ObjectExists):
            await self._api.create(make_archive_volume(volume, self._settings.server))
        await self._delete("PersistentVolume", volume.name, volume.uid)
        _LOG.info("archived %s as %s", volume.place, archived.directory)

    async def _check_elsewhere(self, place: Place) -> None:
        """Refuse to put files away that pods of other profiles use."""
        if names := await self._mounted_elsewhere(place):
            raise HomeError(
                f"archiving {place}",
                f"pods in other profiles have it mounted: {', '.join(names)}",
                "stop them first; nothing was touched",
            )

    async def _restore(self, archive: Volume, standing: Standing) -> None:
        """Give files back: their volume is there first, and says from where they come.

        So nobody who comes meanwhile is given an empty home in their place.
        """
        place, archived = archive.place, archive.archived
        namespace_uid = standing.namespace.uid if standing.namespace else ""
        if not standing.is_restoring:
            if await self._on_export(self._export.has, place.directory):
                raise HomeError(
                    f"giving back {place}, archived {archive.archived_as}",
                    f"there is a directory {place.directory} on {self._settings.server} already",
                    "neither was touched; look at it, and move it away",
                )
            restored = make_restored_volume(archive, namespace_uid, self._settings.server)
            try:
                await self._api.create(restored)
            except ObjectExists:
                # Another's that is going, or this one, made by who was quicker: the
                # watch tells which.
                return
        await self._on_export(self._export.move, archived.directory, place.directory)
        await self._delete("PersistentVolume", archive.name, archive.uid)
        _LOG.info("gave back %s, archived as %s", archive.place, archived.directory)

    async def _hand_over(self, archive: Volume, heir: Place) -> None:
        """Make an archive somebody else's; whose its files are is seen to when they are used."""
        given = replace(archive, place=heir)
        await self._on_export(self._export.move, archive.directory, given.directory)
        with suppress(ObjectExists):
            await self._api.create(make_archive_volume(given, self._settings.server))
        await self._delete("PersistentVolume", archive.name, archive.uid)
        _LOG.info("made %s, archived %s, %s", archive.place, archive.archived_as, heir)

    async def _purge(self, archive: Volume) -> None:
        doing = f"deleting {archive.place}, archived {archive.archived_as}"
        retention, since = self._settings.retention, archive.archived_at
        if retention is None or since is None:
            raise HomeError(
                doing,
                "nothing is ever deleted here",
                "set KFSPAWNER_RETENTION of the provisioner, such as 30d",
            )
        if since + retention > self._now():
            raise HomeError(
                doing,
                f"it is kept until {since + retention:%Y-%m-%d %H:%M} UTC",
                "wait, or set KFSPAWNER_RETENTION of the provisioner to less",
            )
        await self._on_export(self._export.remove, archive.directory, seconds=None)
        await self._delete("PersistentVolume", archive.name, archive.uid)
        _LOG.info("deleted %s, for good", archive.directory)


def _refusal(archive: Volume, standing: Standing) -> HomeError:
    doing = f"giving back {archive.place}, archived {archive.archived_as}"
    if archive.request not in (Request.RESTORE, Request.HAND_OVER, Request.PURGE):
        return HomeError(doing, f"{archive.request!r:.40} is no request", "see `kfspawner homes`")
    if archive.request == Request.HAND_OVER:
        return HomeError(doing, "nobody is named whose it is to be", "see `kfspawner homes`")
    if not is_profiles(standing.namespace):
        return HomeError(
            doing, f"there is no profile {archive.place.profile}", "make it first, and ask again"
        )
    return HomeError(
        doing,
        "there are files in its place now",
        "neither was touched; archive those first with `kfspawner homes archive`",
    )
