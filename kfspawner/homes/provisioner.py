"""Takes the steps of `plan.py`, on the export and on the cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from kfspawner.errors import (
    ClusterError,
    Error,
    ExportUnreachable,
    HomeError,
    ObjectExists,
    ObjectMissing,
)
from kfspawner.homes.export import Export, Ownership
from kfspawner.homes.ledger import Claim, Volume, holds, is_ended, read_volume
from kfspawner.homes.place import FOLDERS, Place
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
# Its group may write in it, and what is made there is the group's.
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
            case Step.CLEAR if claim:
                await self._forget_trouble(claim)
            case Step.UNCLAIM if claim:
                await self._unclaim(claim)
            case Step.ARCHIVE if volume:
                await self._archive(volume)
            case Step.RESTORE if archive:
                await self._restore(archive, namespace_uid, begun=standing.is_restoring)
            case Step.PURGE if archive:
                await self._purge(archive)
            case Step.REFUSE if archive:
                raise _refusal(archive, standing)

    async def _check_namespace(self, claim: Claim, uid: str) -> None:
        """Refuse to go on with a namespace that is another by now: what is there is not its."""
        found = await self._api.get("Namespace", claim.namespace)
        if found is None or found["metadata"]["uid"] != uid:
            raise ClusterError(
                f"looking at namespace {claim.namespace}",
                "it was deleted, and perhaps made anew",
                "it is looked at again in a moment",
            )

    async def _provision(self, claim: Claim, place: Place, namespace_uid: str) -> None:
        await self._check_namespace(claim, namespace_uid)
        mode = _FOLDER_MODE if place.is_folder else _HOME_MODE
        await self._on_export(self._export.make, place.directory, Ownership(*claim.ids, mode))
        if not place.is_folder:
            await self._make_mount_point(place, claim.ids)
        volume = make_volume(claim, namespace_uid, self._settings.server)
        try:
            await self._api.create(volume)
        except ObjectExists:
            await self._check_ours(place, volume["metadata"]["name"])
        await self._forget_trouble(claim)

    async def _check_ours(self, place: Place, name: str) -> None:
        """Refuse a volume that others made; ours was made a moment ago, or is going."""
        found = await self._api.get("PersistentVolume", name)
        if found and "deletionTimestamp" not in found["metadata"] and read_volume(found) is None:
            raise HomeError(
                f"making {place}",
                f"there is a PersistentVolume {name} which is not the provisioner's",
                "it was not touched; see whose it is, and delete or rename it",
            )

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
        await self._check_namespace(claim, namespace_uid)
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
        pods, _ = await self._api.list("Pod", claim.namespace)
        pods = [pod for pod in pods if holds(pod, claim.name)]
        person = claim.place.person if claim.place else ""
        # A folder is everybody's: whoever uses it is another.
        others = [
            pod for pod in pods if not is_ended(pod) and (not person or _person_of(pod) != person)
        ]
        if others:
            names = sorted(pod["metadata"]["name"] for pod in others)
            raise HomeError(
                f"archiving {claim.place}",
                f"pods of others use it: {', '.join(names)}",
                "stop them first; nothing was touched",
            )
        if not claim.ending:
            await self._delete("PersistentVolumeClaim", claim.name, claim.uid, claim.namespace)
        # The cluster keeps a claim for pods that ended, too: those of runs stay for their logs.
        for pod in filter(is_ended, pods):
            metadata = pod["metadata"]
            await self._delete("Pod", metadata["name"], metadata["uid"], claim.namespace)
        running = sorted(pod["metadata"]["name"] for pod in pods if not is_ended(pod))
        if running and claim.ending:
            raise HomeError(
                f"archiving {claim.place}",
                f"it waits for pods that use it: {', '.join(running)}",
                "stop them, or wait until they end",
            )

    async def _archive(self, volume: Volume) -> None:
        archived = volume.archived
        await self._on_export(self._export.move, volume.place.directory, archived.directory)
        with suppress(ObjectExists):
            await self._api.create(make_archive_volume(volume, self._settings.server))
        await self._delete("PersistentVolume", volume.name, volume.uid)
        _LOG.info("archived %s as %s", volume.place, archived.directory)

    async def _restore(self, archive: Volume, namespace_uid: str, *, begun: bool) -> None:
        """Give files back: their volume is there first, and says from where they come.

        So nobody who comes meanwhile is given an empty home in their place.
        """
        place, archived = archive.place, archive.archived
        if not begun:
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

    async def measure(self, volume: Volume) -> None:
        """Look at what is in a volume, and write that on it."""
        usage = await self._on_export(self._export.measure, volume.directory, seconds=None)
        annotations = {
            USED_ANNOTATION: str(usage.used),
            CHANGED_ANNOTATION: usage.changed.isoformat(),
            MEASURED_ANNOTATION: self._now().isoformat(),
        }
        await self._annotate("PersistentVolume", volume, annotations)

    async def _delete(self, kind: str, name: str, uid: str, namespace: str = "") -> None:
        """Delete an object; where there is another of its name by now, it is gone already."""
        with suppress(ObjectExists):
            await self._api.delete(kind, name, namespace, uid=uid)

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
        await self._annotate(kind, about, annotations)

    async def _forget_trouble(self, claim: Claim) -> None:
        if claim.trouble:
            await self._annotate("PersistentVolumeClaim", claim, {TROUBLE_ANNOTATION: None})

    async def _annotate(
        self, kind: str, about: Claim | Volume, annotations: Mapping[str, str | None]
    ) -> None:
        """Write on an object, unless it is gone, or another of its name by now."""
        namespace = about.namespace if isinstance(about, Claim) else ""
        patch = {"metadata": {"uid": about.uid, "annotations": dict(annotations)}}
        try:
            await self._api.patch(kind, about.name, patch, namespace)
        except ClusterError as error:
            # What is to be told matters more than that it could not be written.
            _LOG.info("%s", error)


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
