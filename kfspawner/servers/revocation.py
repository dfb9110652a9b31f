"""Takes off a profile what is mounted there for somebody who may not have it any more.

What a person's servers mount besides their home is written at their start. Who was
removed from a profile since, or whose own profile others joined, keeps nothing of it
that a new pod could mount.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Never
from weakref import WeakKeyDictionary

from kfspawner.errors import ClusterError
from kfspawner.homes.asking import take_off
from kfspawner.homes.ledger import is_mounted
from kfspawner.homes.mounts import Mount, read_written
from kfspawner.homes.place import Place
from kfspawner.labels import USER_LABEL
from kfspawner.names import namespace_name, slug
from kfspawner.profiles.api import Api
from kfspawner.profiles.directory import Directory
from kfspawner.profiles.resources import Selection
from kfspawner.servers.removal import is_of, is_removed

# Everybody's groups, by their names.
People = Callable[[], Mapping[str, Collection[str]]]

# What happens within this many seconds is looked at once, and how often groups are,
# of which nothing is told.
_SETTLE = 0.5
_LOOK = 30.0


class Revocation:
    """Follows who may have what mounted where.

    Parameters
    ----------
    api, directory
        The cluster, and who is a member of what.
    people
        Everybody's groups.
    stops
        Whether pods of theirs that have it mounted are stopped.
    log
        Told what was taken off.
    """

    def __init__(
        self, api: Api, directory: Directory, people: People, log: logging.Logger, *, stops: bool
    ) -> None:
        self._api = api
        self._directory = directory
        self._people = people
        self._log = log
        self._stops = stops

    async def follow(self) -> Never:
        """Look after each change, until this is cancelled."""
        while True:
            waiting = [asyncio.ensure_future(it.wait()) for it in self._directory.news]
            try:
                await self.look()
                await asyncio.wait(waiting, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for it in waiting:
                    it.cancel()
            await asyncio.sleep(_SETTLE)

    async def look(self) -> None:
        """Take off what nobody may have any more; what cannot be now is tried at the next look."""
        if not self._directory.loaded:
            return
        written = {
            profile: read_written(standing.mounts)
            for profile, standing in self._directory.standings().items()
            if standing.mounts
        }
        doubted = self._over(written, lambda _: ())
        if doubted:
            # Whom no group gives it either; who is not known may have gone with all people.
            doubted = self._over(doubted, self._people().get)
        for profile, mounts in doubted.items():
            try:
                await self._revoke(profile, mounts)
            except ClusterError as error:
                self._log.warning("%s", error)

    def _over(
        self,
        written: Mapping[str, Mapping[str, Mount]],
        groups_of: Callable[[str], Collection[str] | None],
    ) -> dict[str, dict[str, Mount]]:
        """Return what of it nobody may have any more."""
        over: dict[str, dict[str, Mount]] = {}
        for profile, mounts in written.items():
            for claim, mount in mounts.items():
                groups = groups_of(mount.person) if mount.person else None
                if groups is not None and not self._may_have(profile, mount, groups):
                    over.setdefault(profile, {})[claim] = mount
        return over

    async def _revoke(self, profile: str, mounts: Mapping[str, Mount]) -> None:
        # Before, so that what fails is tried again; and whatever began meanwhile.
        await self._stop(profile, mounts.values())
        await take_off(self._api, profile, mounts)
        await self._stop(profile, mounts.values())
        for mount in mounts.values():
            self._log.warning(
                "%s may not have %s in %s any more", mount.person, mount.path, profile
            )

    async def _stop(self, profile: str, mounts: Iterable[Mount]) -> None:
        if not self._stops:
            return
        for mount in mounts:
            labels = f"{USER_LABEL}={slug(mount.person)}"
            theirs = Selection("Pod", profile, labels=labels)
            pods = [pod async for page, _ in self._api.pages(theirs) for pod in page]
            for pod in pods:
                if is_of(pod, mount.person) and is_mounted(pod, mount.claim):
                    await self._api.delete("Pod", pod["metadata"]["name"], profile)

    def _may_have(self, profile: str, mount: Mount, groups: Collection[str]) -> bool:
        """Say whether a mount may stay; of what is not known, it may."""
        if profile != namespace_name(mount.person):
            # Their own home, in a profile that they share.
            return not is_removed(self._directory, profile, mount.person, groups)
        return self._may_have_folder(profile, mount, groups)

    def _may_have_folder(self, profile: str, mount: Mount, groups: Collection[str]) -> bool:
        own, name = self._directory.get(profile), mount.path.partition("/")[0]
        if own is None or own.profile is None or mount.path != Place(name).directory:
            return True
        if not self._directory.is_alone(profile, mount.person):
            return False
        standing = self._directory.get(name)
        if standing and standing.profile is None:
            return True
        role = self._directory.role(name, mount.person, groups)
        return role is not None and (mount.read_only or role.may_spawn)


_followed: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Never]] = WeakKeyDictionary()


def follow_removals(make: Callable[[], Revocation]) -> None:
    """Have one of this process follow, from the first call on."""
    loop = asyncio.get_running_loop()
    task = _followed.get(loop)
    if task is None or task.done():
        _followed[loop] = loop.create_task(make().follow())
