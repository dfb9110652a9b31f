"""Members of a Profile, by name: made and removed.

Whoever may write RoleBindings in the Profile's namespace may add members; the
Profile itself, which the cluster's administrator alone may read, is read where
that is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kfspawner.cli.connection import no_such_profile
from kfspawner.errors import ClusterDenied, InputError, ObjectExists, ProfileRefused
from kfspawner.labels import MEMBERS_ANNOTATION
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.members import make_member_binding, read_member
from kfspawner.profiles.profile import (
    Profile,
    Role,
    is_ready,
    read_profile,
    reason_of,
    why_not_ready,
)

# How often to read a Profile anew that somebody else writes meanwhile.
_TRIES = 5


async def add_member(api: Api, name: str, user: str, role: Role) -> list[str]:
    """Make `user` a member of the profile `name`, and return what there is to say about it.

    They have that role afterwards and no other, except one that the config gives.

    Raises
    ------
    Error
        If nobody may be called so, or if they are more than a member; the
        cluster's refusals besides.
    """
    doing = f"adding {user} to {name}"
    binding = make_member_binding(name, user, role)
    obj = await _find(api, doing, name)
    declared: Role | None = None
    if obj is not None:
        if not is_ready(obj):
            raise InputError(
                doing,
                f"{name} is not ready: {why_not_ready(obj)}",
                f"see `kfspawner profiles show {name}`",
            )
        profile = read_profile(obj)
        _check_not_owner(doing, profile, user)
        declared = profile.members.get(user)
    with _as_admin(doing):
        held = await _bindings_of(api, name, user)
        fresh = role not in held.values()
        if fresh:
            await _create(api, doing, binding)
        for other, its_role in sorted(held.items()):
            # What the config declares would come back at once.
            if its_role not in (role, declared):
                await api.delete("RoleBinding", other, name)
    said = [f"{user} has role {role} in {name}{'' if fresh else ' already'}."]
    if declared and declared.rank > role.rank:
        said.append(
            f"c.KfSpawner.profiles gives them {declared}, which is more: that counts until the "
            f"config says otherwise."
        )
    if user != user.lower():
        said.append("JupyterHub keeps names in lower case: this one may be nobody's.")
    return said


async def remove_member(api: Api, name: str, user: str) -> list[str]:
    """Make `user` no longer a member of the profile `name`; return what there is to say about it.

    Raises
    ------
    Error
        If they are not a member by name; the cluster's refusals besides.
    """
    doing = f"removing {user} from {name}"
    obj = await _find(api, doing, name)
    with _as_admin(doing):
        held = await _bindings_of(api, name, user)
    profile = _read(obj)
    declared = bool(profile and user in profile.members)
    if profile:
        _check_not_owner(doing, profile, user)
    if not held and not declared:
        raise InputError(doing, "they are not a member by name", _by_group(profile, name))
    if declared:
        # Before the bindings: the controller makes them of this.
        await _undeclare(api, doing, name, user)
    taken = obj is not None and reason_of(obj) == "NamespaceTaken"
    with _as_admin(doing):
        for binding in () if taken else sorted(held):
            await api.delete("RoleBinding", binding, name)
    said = [f"{user} is no longer a member of {name} by name."]
    if declared:
        said.append(
            "c.KfSpawner.profiles gives them their role, and will give it back when the hub "
            "starts: take it from the config too."
        )
    if profile is None:
        said.append("Should c.KfSpawner.profiles give them their role, it comes back.")
    if profile and profile.groups:
        said.append(f"Members by group stay: {', '.join(sorted(profile.groups))}.")
    return said


@contextmanager
def _as_admin(doing: str) -> Iterator[None]:
    """Say who may, where this account may not."""
    try:
        yield
    except ClusterDenied as error:
        raise ClusterDenied(
            doing,
            error.cause,
            "use the kubeconfig of an admin of the profile, or of the cluster: the hub's own "
            "account changes no members",
        ) from error


async def _find(api: Api, doing: str, name: str) -> Object | None:
    """Return the Profile object, or None if this account may not read it."""
    try:
        obj = await api.get("Profile", name)
    except ClusterDenied:
        return None
    if obj is None:
        raise no_such_profile(doing, name)
    return obj


def _read(obj: Object | None) -> Profile | None:
    """Return the Profile, or None where it is not to be read or cannot be had as it is."""
    try:
        return read_profile(obj) if obj is not None else None
    except ProfileRefused:
        return None


async def _bindings_of(api: Api, name: str, user: str) -> dict[str, Role]:
    """Return the RoleBindings that make `user` a member, with their roles."""
    bindings, _ = await api.list("RoleBinding", name)
    members = ((it["metadata"]["name"], read_member(it)) for it in bindings)
    return {binding: it.role for binding, it in members if it and it.user == user}


def _check_not_owner(doing: str, profile: Profile, user: str) -> None:
    if (profile.owner.kind, profile.owner.name) == ("User", user):
        raise InputError(
            doing,
            "the profile is theirs, and its owner is always its admin",
            "give the profile another owner first",
        )


async def _create(api: Api, doing: str, binding: Mapping[str, object]) -> None:
    try:
        await api.create(binding)
    except ObjectExists as error:
        raise InputError(
            doing,
            "there is a RoleBinding of the member's name that makes nobody a member "
            f"({error.cause})",
            "look at it with kubectl, and delete it if it is nobody's",
        ) from error


async def _undeclare(api: Api, doing: str, name: str, user: str) -> None:
    """Take `user` from the members that the Profile itself names."""
    for last in range(_TRIES):
        obj = await _find(api, doing, name)
        if obj is None:
            return
        roles = dict(read_profile(obj).members)
        roles.pop(user, None)
        text = json.dumps(roles, sort_keys=True, ensure_ascii=False) if roles else None
        # With its version: what somebody else writes meanwhile is not undone.
        metadata = {
            "resourceVersion": obj["metadata"]["resourceVersion"],
            "annotations": {MEMBERS_ANNOTATION: text},
        }
        try:
            await api.patch("Profile", name, {"metadata": metadata})
        except ObjectExists:
            if last == _TRIES - 1:
                raise
        else:
            return


def _by_group(profile: Profile | None, name: str) -> str:
    groups = ", ".join(sorted(profile.groups)) if profile else ""
    if groups:
        return f"whoever is in {groups} is one by that group: take them from it in JupyterHub"
    return f"see `kfspawner profiles show {name}`"
