"""Who is a member of a profile, as RoleBindings say it.

Kubeflow's access management writes the same ones: a member of either is one
of both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import ProfileRefused
from kfspawner.labels import MEMBER_ROLE_ANNOTATION, MEMBER_USER_ANNOTATION
from kfspawner.names import member_binding_name
from kfspawner.profiles.checks import check_person
from kfspawner.profiles.profile import Manifest, Profile, Role

RBAC = "rbac.authorization.k8s.io"
# The owner's binding has a member's form; but who owns a profile is for the Profile to say.
OWNER_BINDING = "namespaceAdmin"


@dataclass(frozen=True)
class Member:
    """One person, and what they may do."""

    user: str
    role: Role


def make_member_binding(namespace: str, user: str, role: Role) -> Manifest:
    """Return the RoleBinding that makes `user` a member of the profile of `namespace`.

    Raises
    ------
    ProfileRefused
        If nobody may be called so.
    """
    check_person(f"making {user!r:.80} a member of {namespace}", user, "Malformed")
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": member_binding_name(user, role),
            "namespace": namespace,
            "annotations": {MEMBER_USER_ANNOTATION: user, MEMBER_ROLE_ANNOTATION: role.value},
        },
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role.cluster_role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


def read_member(binding: Mapping[str, Any]) -> Member | None:
    """Return the member that a RoleBinding makes; None if it makes none.

    The annotations alone make nobody a member: what the binding binds is the
    same person, in the same role.
    """
    metadata = binding.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    user = annotations.get(MEMBER_USER_ANNOTATION, "")
    try:
        role = Role(annotations.get(MEMBER_ROLE_ANNOTATION, ""))
        check_person("reading a member", user)
    except (ValueError, ProfileRefused):
        return None
    bound = binding.get("roleRef") or {}
    subjects = binding.get("subjects") or ()
    consistent = (
        metadata.get("name") != OWNER_BINDING
        and (bound.get("kind"), bound.get("name")) == ("ClusterRole", role.cluster_role)
        and [(subject.get("kind"), subject.get("name")) for subject in subjects] == [("User", user)]
    )
    return Member(user, role) if consistent else None


def read_members(bindings: Iterable[Mapping[str, Any]]) -> dict[str, Role]:
    """Return the members that a namespace's RoleBindings make, each with their highest role."""
    members: dict[str, Role] = {}
    for binding in bindings:
        member = read_member(binding)
        if member:
            members[member.user] = _higher(member.role, members.get(member.user))
    return members


def role_of(
    user: str, groups: Collection[str], profile: Profile, members: Mapping[str, Role]
) -> Role | None:
    """Return the highest role that a person has in a profile; None for none.

    Parameters
    ----------
    user, groups
        The person's JupyterHub name, and the JupyterHub groups they are in.
    profile
        Its owner, groups and declared members count.
    members
        What the RoleBindings of its namespace say, by person.
    """
    owner = profile.owner
    if (owner.kind == "User" and owner.name == user) or (
        owner.kind == "Group" and owner.name in groups
    ):
        return Role.ADMIN
    roles = [profile.members.get(user), members.get(user)]
    roles += [profile.groups.get(group) for group in groups]
    return max(filter(None, roles), key=lambda role: role.rank, default=None)


def _higher(role: Role, other: Role | None) -> Role:
    return role if other is None or role.rank >= other.rank else other
