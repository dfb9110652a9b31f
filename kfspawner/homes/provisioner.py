"""Takes the steps of `plan.py`, on the export and on the cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kfspawner.errors import (
    ClusterError,
    Error,
    ExportUnreachable,
    HomeError,
    ObjectExists,
    ObjectMissing,
)
from kfspawner.homes.archives import OF_ARCHIVES, Archives
from kfspawner.homes.export import Ownership
from kfspawner.homes.ledger import Claim, Request, Volume, holds, is_ended, is_mounted, read_volume
from kfspawner.homes.place import FOLDERS, Place
from kfspawner.homes.plan import Standing, Step
from kfspawner.homes.volume import (
    make_archive_mark,
    make_owner_note,
    make_rebinding,
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

_LOG = logging.getLogger(__name__)
_HOME_MODE = 0o700
# Its group may write in it, and what is made there is the group's.
_FOLDER_MODE = 0o2770


class Provisioner(Archives):
    """Does what is to be done about a place."""

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
            if archive and step in OF_ARCHIVES:
                await self._say("PersistentVolume", archive, str(error), keep=_may_pass(error))
                if _may_pass(error):
                    raise
                return
            if standing.volume and step not in (Step.OWN, Step.REBIND):
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
            case Step.OWN if claim and volume:
                await self._own(volume, claim)
            case Step.REBIND if claim and volume:
                await self._rebind(volume, claim, namespace_uid)
            case Step.MARK if volume:
                mark = make_archive_mark(volume, self._now())
                # Where somebody else was quicker, the watch tells what it is now.
                with suppress(ObjectExists, ObjectMissing):
                    await self._api.patch("PersistentVolume", volume.name, mark)
            case Step.CLEAR if claim:
                await self._clear(claim)
            case Step.UNCLAIM if claim:
                await self._unclaim(claim)
            case Step.ARCHIVE if volume:
                await self._archive(volume)
            case _ if archive:
                await self._answer(step, archive, standing)

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
        await self._check_there(doing, volume)
        with suppress(ObjectExists):
            patch = make_rebinding(volume, claim, namespace_uid)
            await self._api.patch("PersistentVolume", volume.name, patch)
        await self._forget_trouble(claim)

    async def _check_there(self, doing: str, volume: Volume) -> None:
        if not await self._on_export(self._export.has, volume.place.directory):
            raise HomeError(
                doing,
                f"volume {volume.name} is there, and directory {volume.place.directory} on "
                f"{self._settings.server} is not",
                "see whether it is the right export; delete the volume to begin with an empty home",
            )

    async def _own(self, volume: Volume, claim: Claim) -> None:
        """Give all files to the person whom the claim says; the volume says it when it is done."""
        doing = f"giving the files of {volume.place} to uid {claim.ids[0]}"
        await self._check_there(doing, volume)
        pods, _ = await self._api.list("Pod", claim.namespace)
        names = sorted(it["metadata"]["name"] for it in pods if is_mounted(it, claim.name))
        names += await self._mounted_elsewhere(volume.place)
        if names:
            raise HomeError(
                doing,
                f"they are uid {volume.ids[0]}'s, and pods use them: {', '.join(names)}",
                "stop them, or wait until they end, and start anew",
            )
        give, ids = self._export.give, (volume.ids, claim.ids)
        await self._on_export(give, volume.place.directory, *ids, seconds=None)
        # Where somebody else was quicker, the watch tells what stands there now.
        with suppress(ObjectExists, ObjectMissing):
            note = make_owner_note(volume, claim.ids)
            await self._api.patch("PersistentVolume", volume.name, note)
        _LOG.info("gave %s to uid %s, from %s", volume.place, claim.ids[0], volume.ids[0])

    async def _clear(self, claim: Claim) -> None:
        """Take off a claim what it asked for and has, and the trouble that it had."""
        off: dict[str, None] = {TROUBLE_ANNOTATION: None}
        if claim.request == Request.OWN:
            off[REQUEST_ANNOTATION] = None
        await self._annotate("PersistentVolumeClaim", claim, off)

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
        if claim.place:
            await self._check_elsewhere(claim.place)
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

    async def measure(self, volume: Volume) -> None:
        """Look at what is in a volume, and write that on it."""
        usage = await self._on_export(self._export.measure, volume.directory, seconds=None)
        annotations = {
            USED_ANNOTATION: str(usage.used),
            CHANGED_ANNOTATION: usage.changed.isoformat(),
            MEASURED_ANNOTATION: self._now().isoformat(),
        }
        await self._annotate("PersistentVolume", volume, annotations)


def _may_pass(error: Error) -> bool:
    """Say whether waiting may help: the cluster or the export did not answer."""
    return not isinstance(error, HomeError) or isinstance(error, ExportUnreachable)


def _person_of(pod: Mapping[str, Any]) -> str:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(USER_ANNOTATION) or annotations.get(USERNAME_ANNOTATION) or ""
