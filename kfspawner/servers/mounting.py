"""What of people's files a server mounts: which claims, and that they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jupyterhub import orm

from kfspawner.errors import ClusterError
from kfspawner.homes.asking import ask_for_mounts
from kfspawner.homes.datasets import read_datasets
from kfspawner.homes.home import ensure_home, make_home_claim, wait_for_mount
from kfspawner.homes.mounts import Mount
from kfspawner.homes.place import Place
from kfspawner.profiles.directory import Directory, shared_directory
from kfspawner.profiles.profile import Manifest
from kfspawner.servers.files import Files, Mounted
from kfspawner.servers.revocation import Revocation, follow_removals
from kfspawner.servers.watch import Watching

# For how many seconds a start waits for a folder of another profile.
_FOLDER_SECONDS = 10.0


class Mounting(Watching):
    """A person's home, and what their server mounts besides."""

    # What it mounts besides a home, once its profile is chosen.
    _mounted: Sequence[Mounted] = ()
    # What this start has to say of a person's files.
    _remarks: tuple[str, ...] = ()

    @property
    def _directory(self) -> Directory:
        return shared_directory(lambda: self._cluster, self.log)

    @property
    def _groups(self) -> list[str]:
        return [group.name for group in self.user.groups]

    @property
    def _ids(self) -> tuple[int, int]:
        """The uid and gid that own a person's files: those of their server."""
        uid, gid = (it(self) if callable(it) else it for it in (self.uid, self.gid))
        return int(uid), int(gid or 0)

    @property
    def _files(self) -> Files:
        return Files(
            person=self.user.name,
            profile=self.namespace,
            source=self.home_source,
            shared_home=self.shared_home,
            datasets=read_datasets(self.datasets),
        )

    def get_pvc_manifest(self) -> Manifest:
        """Return the claim of the person's home: in the profile, or in their own."""
        own = self._files.own_home
        home = own or Place(self.namespace, self.user.name)
        claim = make_home_claim(self.home_source, home, self._ids)
        if not own:
            claim["metadata"]["name"] = self.pvc_name
        return claim

    def get_folder_manifest(self) -> Manifest | None:
        """Return the claim of what the profile shares; None where it shares nothing."""
        return self._make_folder(self.namespace) if self._files.has_folder() else None

    def _make_folder(self, profile: str) -> Manifest:
        # Whoever is in the group may write in it, and only there.
        return make_home_claim(self.home_source, Place(profile), (0, self._ids[1]))

    def _follow_removals(self) -> None:
        """From now on, take off profiles what people may not have mounted there any more."""
        if self.home_source.is_ours:
            follow_removals(self._make_revocation)

    def _make_revocation(self) -> Revocation:
        db = self.user.db

        def people() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            asked = db.query(orm.User.name, orm.Group.name).outerjoin(orm.User.groups)
            for person, group in asked:
                found.setdefault(person, []).extend([group] if group else [])
            return found

        return Revocation(
            self._cluster, self._directory, people, self.log, stops=self.stop_on_removal
        )

    async def _ensure_mounts(self) -> None:
        """Have the provisioner make what the server mounts besides, and wait for it."""
        self._follow_removals()
        folders = [it for it in self._mounted if it.folder_of]
        await asyncio.gather(*(self._ensure_folder(it) for it in folders))
        found = [self._files.home(), *(it.mount for it in self._mounted)]
        mounts = {mount.claim: mount for mount in found if mount}
        if mounts or self.home_source.is_ours:
            # What is written of before, and is not wanted any more, goes.
            await ask_for_mounts(self._cluster, self.namespace, self.user.name, mounts)
        for folder in [it for it in self._mounted if it.folder_of]:
            mounts.pop(folder.claim, None)
        await asyncio.gather(
            *(self._wait_for_folder(it) for it in self._mounted if it.folder_of),
            *(self._wait_for(it) for it in mounts.values()),
        )

    async def _wait_for(self, mount: Mount, seconds: float | None = None) -> None:
        await wait_for_mount(self._cluster, self.namespace, mount, self.home_source, seconds)

    async def _wait_for_folder(self, folder: Mounted) -> None:
        """Wait for the folder of another profile, or do without: a run may hold another claim."""
        assert folder.mount  # noqa: S101 - it is another profile's
        try:
            await self._wait_for(folder.mount, _FOLDER_SECONDS)
        except ClusterError as error:
            self._leave_out(folder, error)

    async def _ensure_folder(self, folder: Mounted) -> None:
        """Have the folder of another profile made, or do without: its quota may be full."""
        made = self._make_folder(folder.folder_of)
        try:
            await ensure_home(self._cluster, made, self.home_source)
        except ClusterError as error:
            self._leave_out(folder, error)

    def _leave_out(self, folder: Mounted, error: ClusterError) -> None:
        self.log.warning("%s starts without a folder: %s", self._log_name, error)
        said = f"Starting without the folder of {folder.folder_of} this time: {error.cause}"
        self._remarks = (*self._remarks, said)
        self._mounted = [it for it in self._mounted if it is not folder]
        for name in ("volumes", "volume_mounts"):
            setattr(self, name, [it for it in getattr(self, name) if it["name"] != folder.name])
