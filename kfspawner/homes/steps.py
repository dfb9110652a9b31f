"""What every step about files is taken with: the cluster, the export, and what may be done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from kfspawner.errors import ClusterError, ExportUnreachable, ObjectExists
from kfspawner.homes.export import Export
from kfspawner.homes.ledger import Claim, Volume, is_mounted
from kfspawner.homes.mounts import claims_of, read_made
from kfspawner.homes.place import Place
from kfspawner.homes.volume import Server
from kfspawner.labels import REQUEST_ANNOTATION, TROUBLE_ANNOTATION
from kfspawner.profiles.api import Api

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
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


class Steps:
    """Takes steps, and says on objects what keeps it from them.

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

    async def _mounted_elsewhere(self, place: Place) -> list[str]:
        """Return the pods of other profiles that have a place's files mounted, or will have."""
        server = self._settings.server
        volumes, _ = await self._api.list("PersistentVolume")
        made = [it for it in map(read_made, volumes) if it]
        claims = claims_of(server.address, server.path_of(place.directory), made)
        found = []
        for profile in sorted({it for it, _ in claims}):
            pods, _ = await self._api.list("Pod", profile)
            found += [
                f"{profile}/{pod['metadata']['name']}"
                for pod in pods
                if any(is_mounted(pod, claim) for where, claim in claims if where == profile)
            ]
        return sorted(found)

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
