"""Takes the steps of `plan.py`, on the export and on the cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from kfspawner.errors import Error, ExportUnreachable, HomeError, ObjectExists, ObjectMissing
from kfspawner.homes.export import Export, Ownership
from kfspawner.homes.ledger import Claim, Volume, is_mounted
from kfspawner.homes.place import FOLDERS, Archived, Place
from kfspawner.homes.plan import Standing, Step, is_profiles
from kfspawner.homes.volume import (
    Server,
    make_archive_mark,
    make_archive_volume,
    make_rebinding,
    make_restored_volume,
    make_volume,
)
from kfspawner.labels import (
    CHANGED_ANNOTATION,
    MEASURED_ANNOTATION,
    REQUEST_ANNOTATION,
    TROUBLE_ANNOTATION,
    USED_ANNOTATION,
    USER_ANNOTATION,
    USERNAME_ANNOTATION,
)
from kfspawner.profiles.api import Api

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_HOME_MODE = 0o700
_FOLDER_MODE = 0o2770
# The export answers sooner, or its mount says that it does not. A walk through
# all files of a home has no such limit.
_EXPORT_SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """What the provisioner may do, and where.

    Attributes
    ----------
    server
        The export, as nodes mount it.
    retention
        How old an archive must be before anybody can have it deleted; None for
        never.
    """

    server: Server
    retention: timedelta | None = None


class Provisioner:
    """Does what is to be done about a place.

    Parameters
    ----------
    api, export, settings
        The cluster, the export as this process has it mounted, and what may be done.
    now
        The time.
    """

    def __init__(
        self,
        api: Api,
        export: Export,
        settings: Settings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._export = export
        self._settings = settings
        self._now = now

    async def take(self, step: Step, standing: Standing) -> None:
        """Take one step; what keeps it from that is written where people look.

        Raises
        ------
        Error
            If it could not be taken, and is to be tried again.
        """
        try:
            await self._take(step, standing)
        except Error as error:
            archive = standing.asked
            if archive and step in (Step.RESTORE, Step.PURGE, Step.REFUSE):
                await self._say("PersistentVolume", archive, str(error), keep=_may_pass(error))
                if _may_pass(error):
                    raise
                return
            if standing.volume and step != Step.REBIND:
                await self._say("PersistentVolume", standing.volume, str(error), keep=True)
            elif standing.claim:
                await self._say("PersistentVolumeClaim", standing.claim, str(error), keep=True)
            raise

    async def _take(self, step: Step, standing: Standing) -> None:
        claim, volume, archive = standing.claim, standing.volume, standing.asked
        namespace_uid = standing.namespace.uid if standing.namespace else ""
        match step:
            case Step.PROVISION if claim and claim.place:
                await self._provision(claim, claim.place, namespace_uid)
            case Step.REBIND if claim and volume:
                await self._rebind(volume, claim, namespace_uid)
            case Step.MARK if volume:
                mark = make_archive_mark(volume, self._now())
                # Where somebody else was quicker, the watch tells what it is now.
                with suppress(ObjectExists, ObjectMissing):
                    await self._api.patch("PersistentVolume", volume.name, mark)
            case Step.UNCLAIM if claim:
                await self._unclaim(claim)
            case Step.ARCHIVE if volume:
                await self._archive(volume)
            case Step.RESTORE if archive:
                await self._restore(archive, namespace_uid)
            case Step.PURGE if archive:
                await self._purge(archive)
            case Step.REFUSE if archive:
                raise _refusal(archive, standing)

    async def _provision(self, claim: Claim, place: Place, namespace_uid: str) -> None:
        mode = _FOLDER_MODE if place.is_folder else _HOME_MODE
        await self._on_export(self._export.make, place.directory, Ownership(*claim.ids, mode))
        if not place.is_folder:
            await self._make_mount_point(place, claim.ids)
        # One that is there was made for the same claim a moment ago, or the watch
        # tells of it next.
        with suppress(ObjectExists):
            await self._api.create(make_volume(claim, namespace_uid, self._settings.server))
        await self._forget_trouble(claim)

    async def _make_mount_point(self, place: Place, ids: tuple[int, int]) -> None:
        """Make the directory of a home where the profile's folder is mounted.

        What the node makes in its place is root's.
        """
        above = f"{place.directory}/{FOLDERS}"
        for directory in (above, f"{above}/{place.profile}"):
            try:
                await self._on_export(self._export.make, directory, Ownership(*ids, 0o755))
            except ExportUnreachable:
                raise
            except HomeError as error:
                # Files of their own, from before: they stay.
                _LOG.info("%s", error)
                return

    async def _rebind(self, volume: Volume, claim: Claim, namespace_uid: str) -> None:
        doing = f"giving {volume.place} to claim {claim.name}"
        namespace, name, uid = volume.claim
        if (namespace, name) != (claim.namespace, claim.name):
            other = await self._api.get("PersistentVolumeClaim", name, namespace)
            if other and other["metadata"]["uid"] == uid:
                raise HomeError(
                    doing,
                    f"volume {volume.name} is bound to claim {name} in {namespace}",
                    "no file was touched; delete one of the two claims",
                )
        if not await self._on_export(self._export.has, volume.place.directory):
            raise HomeError(
                doing,
                f"volume {volume.name} is there, and directory {volume.place.directory} on "
                f"{self._settings.server} is not",
                "see whether it is the right export; delete the volume to begin with an empty home",
            )
        with suppress(ObjectExists):
            patch = make_rebinding(volume, claim, namespace_uid)
            await self._api.patch("PersistentVolume", volume.name, patch)
        await self._forget_trouble(claim)

    async def _unclaim(self, claim: Claim) -> None:
        others = await self._used_by_others(claim)
        if others:
            raise HomeError(
                f"archiving {claim.place}",
                f"pods of others use it: {', '.join(others)}",
                "stop them first; nothing was touched",
            )
        await self._api.delete("PersistentVolumeClaim", claim.name, claim.namespace, uid=claim.uid)

    async def _used_by_others(self, claim: Claim) -> list[str]:
        """Return the pods that have a claim mounted and are not its person's."""
        pods, _ = await self._api.list("Pod", claim.namespace)
        person = claim.place.person if claim.place else ""
        return sorted(
            pod["metadata"]["name"]
            for pod in pods
            if is_mounted(pod, claim.name) and _person_of(pod) != person
        )

    async def _archive(self, volume: Volume) -> None:
        archived = Archived(volume.place, volume.archived_as)
        await self._on_export(self._export.move, volume.place.directory, archived.directory)
        with suppress(ObjectExists):
            await self._api.create(make_archive_volume(volume, self._settings.server))
        await self._api.delete("PersistentVolume", volume.name, uid=volume.uid)
        _LOG.info("archived %s as %s", volume.place, archived.directory)

    async def _restore(self, archive: Volume, namespace_uid: str) -> None:
        archived = Archived(archive.place, archive.archived_as)
        await self._on_export(self._export.move, archived.directory, archive.place.directory)
        with suppress(ObjectExists):
            restored = make_restored_volume(archive, namespace_uid, self._settings.server)
            await self._api.create(restored)
        await self._api.delete("PersistentVolume", archive.name, uid=archive.uid)
        _LOG.info("gave back %s, archived as %s", archive.place, archived.directory)

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
        archived = Archived(archive.place, archive.archived_as)
        await self._on_export(self._export.remove, archived.directory, seconds=None)
        await self._api.delete("PersistentVolume", archive.name, uid=archive.uid)
        _LOG.info("deleted %s, for good", archived.directory)

    async def measure(self, volume: Volume) -> None:
        """Look at what is in a volume, and write that on it."""
        directory = volume.place.directory
        if volume.is_archive:
            directory = Archived(volume.place, volume.archived_as).directory
        usage = await self._on_export(self._export.measure, directory, seconds=None)
        annotations = {
            USED_ANNOTATION: str(usage.used),
            CHANGED_ANNOTATION: usage.changed.isoformat(),
            MEASURED_ANNOTATION: self._now().isoformat(),
        }
        with suppress(ObjectMissing):
            patch = {"metadata": {"annotations": annotations}}
            await self._api.patch("PersistentVolume", volume.name, patch)

    async def _on_export(
        self, work: Callable[..., T], *given: Any, seconds: float | None = _EXPORT_SECONDS
    ) -> T:
        """Return what `work` does in a thread of its own: the export may keep it waiting."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(work, *given)
        except TimeoutError as error:
            raise ExportUnreachable(
                f"working on {given[0]}",
                f"the NFS server of {self._settings.server} did not answer in {seconds:.0f} s",
                "see whether it runs and can be reached from the cluster's nodes",
            ) from error

    async def _say(self, kind: str, about: Claim | Volume, said: str, *, keep: bool) -> None:
        """Write on an object what is the matter; unless `keep`, what was asked for is off."""
        annotations: dict[str, str | None] = {TROUBLE_ANNOTATION: said}
        if not keep:
            annotations[REQUEST_ANNOTATION] = None
        elif about.trouble == said:
            return
        namespace = about.namespace if isinstance(about, Claim) else ""
        with suppress(ObjectMissing):
            patch = {"metadata": {"annotations": annotations}}
            await self._api.patch(kind, about.name, patch, namespace)

    async def _forget_trouble(self, claim: Claim) -> None:
        if claim.trouble:
            with suppress(ObjectMissing):
                patch = {"metadata": {"annotations": {TROUBLE_ANNOTATION: None}}}
                await self._api.patch("PersistentVolumeClaim", claim.name, patch, claim.namespace)


def _may_pass(error: Error) -> bool:
    """Say whether waiting may help: the cluster or the export did not answer."""
    return not isinstance(error, HomeError) or isinstance(error, ExportUnreachable)


def _refusal(archive: Volume, standing: Standing) -> HomeError:
    doing = f"giving back {archive.place}, archived {archive.archived_as}"
    if archive.request not in ("restore", "purge"):
        return HomeError(doing, f"{archive.request!r:.40} is no request", "see `kfspawner homes`")
    if not is_profiles(standing.namespace):
        return HomeError(
            doing, f"there is no profile {archive.place.profile}", "make it first, and ask again"
        )
    return HomeError(
        doing,
        "there are files in its place now",
        "neither was touched; archive those first with `kfspawner homes archive`",
    )


def _person_of(pod: Mapping[str, Any]) -> str:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(USER_ANNOTATION) or annotations.get(USERNAME_ANNOTATION) or ""
