"""The hub's live view of Profiles and their members: one for all people and all profiles."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from kfspawner.errors import (
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
    ObjectMissing,
)
from kfspawner.labels import PERSON_UID_ANNOTATION
from kfspawner.names import namespace_name
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.live import LiveObjects
from kfspawner.profiles.members import read_member, role_of
from kfspawner.profiles.profile import (
    Owner,
    Profile,
    Role,
    make_personal,
    make_profile,
)
from kfspawner.profiles.resources import Selection
from kfspawner.profiles.standing import Standing, read_standing
from kfspawner.profiles.uids import UidRange, pick_uid, read_uid

# Who the API server says wrote a personal Profile.
MANAGER = "kfspawner-hub"
_TELL_ADMIN = "show this to the administrator"


@dataclass(frozen=True)
class Choice:
    """A profile that a person is a member of, and how it stands."""

    profile: Profile
    role: Role
    standing: Standing


class Directory:
    """Every Profile and every member, without asking the API for each.

    It begins at the first `ready`, or at `begin`. While the API does not answer it
    tells what was last seen.

    Parameters
    ----------
    api
        Where they are.
    log
        Told when the view stands still, and when it goes on.
    """

    def __init__(self, api: Api, log: logging.Logger | None = None) -> None:
        self._api = api
        self._log = log or logging.getLogger(__name__)
        self._profiles = LiveObjects(api, Selection("Profile"), read_standing, self._log)
        self._members = LiveObjects(api, Selection("RoleBinding"), read_member, self._log)
        self._tasks: list[asyncio.Task[None]] = []
        self._locks: dict[str, asyncio.Lock] = {}
        self._settled: dict[str, Profile] = {}
        self._giving = asyncio.Lock()
        # Whose profiles are which, and since when nothing has changed.
        self._by_member: Mapping[tuple[str, str], set[str]] = {}
        self._indexed: tuple[asyncio.Event, asyncio.Event] | None = None

    # What there is.

    def begin(self) -> None:
        """Follow the cluster from now on, until `end`."""
        if not self._tasks:
            follow: tuple[Coroutine[Any, Any, None], ...]
            follow = (self._profiles.follow(), self._members.follow())
            self._tasks = [asyncio.create_task(it) for it in follow]

    async def end(self) -> None:
        """Follow it no longer."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def loaded(self) -> bool:
        """Whether everything was seen once."""
        return self._profiles.loaded and self._members.loaded

    async def ready(self, seconds: float = 10.0) -> None:
        """Return once everything was seen once.

        Raises
        ------
        ClusterError
            If that takes longer than `seconds`; it tells the API's answer.
        """
        self.begin()
        try:
            async with asyncio.timeout(seconds):
                for kind in (self._profiles, self._members):
                    while not kind.loaded:
                        await kind.news.wait()
        except TimeoutError as error:
            trouble = self._profiles.trouble or self._members.trouble
            raise trouble or ClusterUnreachable(
                "reading the Profiles",
                f"the Kubernetes API did not answer in {seconds:g} s",
                "try again in a minute; if it lasts, tell the administrator",
            ) from error

    @property
    def news(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Of which one is set at the next change, and never again: ask anew after it."""
        return self._profiles.news, self._members.news

    def standings(self) -> dict[str, Standing]:
        """Return how every Profile stands, by name."""
        return dict(self._profiles.found.get("", {}))

    def get(self, name: str) -> Standing | None:
        """Return how the Profile called `name` stands, or None if there is none."""
        return self._profiles.found.get("", {}).get(name)

    def profiles(self) -> list[Profile]:
        """Return every Profile that can be read."""
        known = self._profiles.found.get("", {}).values()
        return [standing.profile for standing in known if standing.profile]

    def role(self, name: str, user: str, groups: Collection[str]) -> Role | None:
        """Return what a person may do in a profile; None for nothing, or if there is none."""
        standing = self.get(name)
        if standing is None or standing.profile is None:
            return None
        members = self._members.found.get(name, {}).values()
        roles = [member.role for member in members if member.user == user]
        own = {user: max(roles, key=lambda role: role.rank)} if roles else {}
        return role_of(user, groups, standing.profile, own)

    def is_alone(self, name: str, user: str) -> bool:
        """Say whether nobody but `user` has a role in a profile."""
        standing = self.get(name)
        if standing is None or standing.profile is None or standing.profile.groups:
            return False
        bound = {member.user for member in self._members.found.get(name, {}).values()}
        return {standing.profile.owner.name, *standing.profile.members, *bound} == {user}

    def choices(self, user: str, groups: Collection[str]) -> list[Choice]:
        """Return the profiles that a person is a member of, by their titles."""
        index = self._index()
        names = index.get(("User", user), set()).union(
            *(index.get(("Group", group), set()) for group in groups)
        )
        choices = []
        for name in names:
            role, standing = self.role(name, user, groups), self.get(name)
            if role and standing and standing.profile:
                choices.append(Choice(standing.profile, role, standing))
        return sorted(choices, key=lambda it: (it.profile.title.casefold(), it.profile.name))

    def _index(self) -> Mapping[tuple[str, str], set[str]]:
        """Return the names of the profiles that each person, or group, has to do with."""
        news = self.news
        if self._indexed != news:
            found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
            for profile in self.profiles():
                owner = profile.owner
                found[owner.kind, owner.name].add(profile.name)
                for user in profile.members:
                    found["User", user].add(profile.name)
                for group in profile.groups:
                    found["Group", group].add(profile.name)
            for name, members in self._members.found.items():
                for member in members.values():
                    found["User", member.user].add(name)
            self._by_member, self._indexed = found, news
        return self._by_member

    # What the hub makes.

    async def ensure_personal(self, user: str, template: Mapping[str, Any]) -> str:
        """Make sure that a person has a Profile of their own, and return its name.

        One that stands is changed only where `template` says something else. What
        somebody has changed in it by hand stays theirs.

        Raises
        ------
        ProfileRefused
            If nobody of that name may own one.
        ClusterError
            If it belongs to somebody else; nothing of theirs is touched.
        """
        wanted = make_personal(user, template)
        async with self._locks.setdefault(wanted.name, asyncio.Lock()):
            standing = self.get(wanted.name)
            if standing is None:
                # The watch may be a moment behind: what it has not told of may be another's.
                found = await self._api.get("Profile", wanted.name)
                standing = read_standing(found) if found else None
            if standing is None:
                self._profiles.put(await self._write(wanted))
            else:
                _check_owner(standing, wanted)
                await self._keep_to_template(standing, wanted)
        return wanted.name

    async def ensure_uid(self, user: str, uids: UidRange) -> int:
        """Return the uid that a person has in every profile, and nobody else has in any.

        It stands on their own Profile, and stays whatever becomes of `uids`.

        Raises
        ------
        ClusterError
            If they have no Profile of their own, or if what stands there cannot be.
        InputError
            If all uids are given.
        """
        name = namespace_name(user)
        # One at a time: what was given a moment ago is taken.
        async with self._giving:
            known = self.standings().items()
            others = {uid: it for it, other in known if it != name and (uid := read_uid(other.uid))}
            standing = self.get(name)
            if standing is None or not standing.uid:
                standing = await self._give_uid(name, user, pick_uid(uids, user, others))
            return _check_uid(name, standing, user, others)

    async def _give_uid(self, name: str, user: str, uid: int) -> Standing:
        """Write a uid on a person's own Profile, unless one stands there already."""
        # The watch may be a moment behind.
        found = await self._api.get("Profile", name)
        if found is None:
            raise ObjectMissing(f"giving {user!r:.80} a uid", f"there is no {name}", _TELL_ADMIN)
        standing = read_standing(found)
        if standing.uid or not _is_of(standing, user):
            return standing
        metadata = {
            "resourceVersion": found["metadata"]["resourceVersion"],
            "annotations": {PERSON_UID_ANNOTATION: str(uid)},
        }
        written = await self._api.patch("Profile", name, {"metadata": metadata})
        self._profiles.put(written)
        return read_standing(written)

    async def _keep_to_template(self, standing: Standing, wanted: Profile) -> None:
        known = standing.profile
        if known is None or known.deleting or self._settled.get(wanted.name) == wanted:
            return
        if _template_of(known) != _template_of(wanted):
            try:
                await self._write(wanted)
            except ObjectExists as conflict:
                self._log.info("Profile %s was changed by hand: %s", wanted.name, conflict)
        self._settled[wanted.name] = wanted

    async def _write(self, profile: Profile) -> Object:
        return await self._api.apply(make_profile(profile), manager=MANAGER, force=False)

    async def wait_ready(self, name: str, seconds: float = 60.0) -> Profile:
        """Return a Profile once servers can be started in it.

        Raises
        ------
        ClusterError
            At once if they never will as it stands, or after `seconds`.
        """
        doing = f"preparing profile {name}"
        standing: Standing | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    news = self._profiles.news
                    standing = self.get(name)
                    if standing is None:
                        raise ObjectMissing(doing, "there is none any more", "choose another")
                    if standing.final:
                        raise ClusterError(doing, standing.why, _TELL_ADMIN)
                    if standing.ready and standing.profile:
                        return standing.profile
                    await news.wait()
        except TimeoutError as error:
            if self._profiles.trouble:
                raise self._profiles.trouble from error
            raise ClusterError(
                doing,
                f"the controller has not prepared it in {seconds:g} s: "
                f"{standing.why if standing else 'nothing was seen of it'}",
                f"try again in a minute; if it lasts, {_TELL_ADMIN}, whom "
                f"`kubectl describe profile {name}` tells more",
            ) from error


def _check_owner(standing: Standing, wanted: Profile) -> None:
    doing = f"preparing the profile {wanted.name} of {wanted.owner.name!r:.80}"
    if standing.profile is None:
        raise ClusterDenied(doing, standing.why, _TELL_ADMIN)
    if standing.profile.owner != wanted.owner:
        raise ClusterDenied(
            doing,
            "there is one of that name which belongs to somebody else",
            f"nothing in it was touched; {_TELL_ADMIN}, who can rename one of the two",
        )


def _is_of(standing: Standing, user: str) -> bool:
    return standing.profile is not None and standing.profile.owner == Owner("User", user)


def _check_uid(name: str, standing: Standing, user: str, others: Mapping[int, str]) -> int:
    """Return the uid that stands on the Profile `name`, if it is that person's and no other's."""
    uid, said = read_uid(standing.uid), f"its {PERSON_UID_ANNOTATION} {standing.uid!r:.40}"
    if not _is_of(standing, user):
        why = "it is somebody else's, and so is the uid that it says"
    elif uid is None:
        why = f"{said} is no uid"
    elif uid in others:
        why = f"{said} is that of {others[uid]} too"
    else:
        return uid
    raise ClusterDenied(
        f"reading the uid of {user!r:.80} from Profile {name}",
        why,
        "tell the administrator to correct that annotation, or to remove it",
    )


def _template_of(profile: Profile) -> tuple[object, ...]:
    return profile.quota, profile.image_profiles, profile.default_limits


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, Directory] = WeakKeyDictionary()


def shared_directory(connect: Callable[[], Api], log: logging.Logger) -> Directory:
    """Return the one view of this process, which follows the cluster from the first call on."""
    loop = asyncio.get_running_loop()
    if loop not in _shared:
        _shared[loop] = Directory(connect(), log)
    _shared[loop].begin()
    return _shared[loop]
