"""Makes and takes away what profiles mount besides homes, a step at a time."""

from __future__ import annotations

from contextlib import suppress

from kfspawner.errors import ObjectExists
from kfspawner.homes.mounts import MountStanding, MountStep, make_mount_claim, make_mount_volume
from kfspawner.homes.volume import Server
from kfspawner.profiles.api import Api


class Mounter:
    """Does what is to be done about a mount.

    Parameters
    ----------
    api, server
        The cluster, and the provisioner's own export as nodes mount it.
    """

    def __init__(self, api: Api, server: Server) -> None:
        self._api = api
        self._server = server

    async def take(self, step: MountStep, standing: MountStanding) -> None:
        """Take one step.

        Raises
        ------
        ClusterError
            If it could not be taken, and is to be tried again.
        """
        mount, claim, volume = standing.wanted, standing.claim, standing.volume
        # What somebody made meanwhile, or made anew, the watch tells.
        with suppress(ObjectExists):
            match step:
                case MountStep.MAKE_VOLUME if mount:
                    made = make_mount_volume(standing.profile, mount, self._server)
                    await self._api.create(made)
                case MountStep.MAKE_CLAIM if mount:
                    await self._api.create(make_mount_claim(standing.profile, mount))
                case MountStep.DROP_CLAIM if claim:
                    await self._api.delete(
                        "PersistentVolumeClaim", claim.name, claim.profile, uid=claim.uid
                    )
                case MountStep.DROP_VOLUME if volume:
                    await self._api.delete("PersistentVolume", volume.name, uid=volume.uid)
