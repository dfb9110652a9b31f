"""Profile <-> kubeflow.org/v1, and what the administrator's file declares -> Profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kfspawner.errors import ProfileRefused
from kfspawner.labels import (
    DEFAULT_LIMITS_ANNOTATION,
    DELETE_FILES_ANNOTATION,
    DISPLAY_NAME_ANNOTATION,
    GROUPS_ANNOTATION,
    IMAGE_PROFILES_ANNOTATION,
    MANAGED_BY,
    MEMBERS_ANNOTATION,
)
from kfspawner.names import namespace_name
from kfspawner.profiles.checks import (
    check_fields,
    check_mapping,
    check_person,
    check_profile_name,
    check_text,
    parse_json,
    read_quantities,
    shown,
)
from kfspawner.profiles.plugins import Plugin, read_plugin

Manifest = dict[str, Any]

API_VERSION = "kubeflow.org/v1"
OWNER_KINDS = ("User", "Group")
# Members and groups in one Profile; a group has room for any number of people.
MEMBER_LIMIT = 1000

_DECLARED = (
    "display_name",
    "owner",
    "members",
    "groups",
    "quota",
    "image_profiles",
    "default_limits",
    "plugins",
)
_TEMPLATE = ("quota", "image_profiles", "default_limits")


class Role(StrEnum):
    """What a member may do in a profile; each role may do what the one before it may."""

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The role's place among the roles, the least first."""
        return list(Role).index(self)

    @property
    def may_spawn(self) -> bool:
        """Whether it starts servers and runs."""
        return self.rank >= Role.EDIT.rank

    @property
    def cluster_role(self) -> str:
        """The ClusterRole that a binding of this role names, as Kubeflow calls it."""
        return f"kubeflow-{self.value}"


@dataclass(frozen=True)
class Owner:
    """Who answers for a profile: a person (``User``), or everyone of a ``Group``."""

    kind: str
    name: str


@dataclass(frozen=True)
class Profile:
    """Who owns one namespace, and what may be used there.

    Attributes
    ----------
    name
        The Profile's name, and its namespace's.
    quota
        A Kubernetes ResourceQuotaSpec, its quantities as the API server writes
        them; empty for none.
    groups, members
        JupyterHub groups and people by the role they have; the owner need not be in either.
    image_profiles
        The keys of the image profiles that it offers; empty for all.
    default_limits
        What a container gets that asks for nothing; empty for none.
    delete_files
        True if it may be deleted with everything in its namespace.
    deleting
        True once somebody has deleted it.
    """

    name: str
    owner: Owner
    quota: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    groups: Mapping[str, Role] = field(default_factory=dict)
    members: Mapping[str, Role] = field(default_factory=dict)
    image_profiles: tuple[str, ...] = ()
    default_limits: Mapping[str, str] = field(default_factory=dict)
    display_name: str = ""
    uid: str = ""
    delete_files: bool = False
    deleting: bool = False

    @property
    def title(self) -> str:
        """What people read."""
        return self.display_name or self.name

    def offers(self, image_profile: str) -> bool:
        """Say whether servers here may be of this image profile, by its key."""
        return not self.image_profiles or image_profile in self.image_profiles


def read_profile(obj: Mapping[str, Any]) -> Profile:
    """Return the Profile that a kubeflow.org/v1 object writes.

    Raises
    ------
    ProfileRefused
        If it cannot be had as it is written; `reason` is the condition's.
    """
    metadata = obj.get("metadata") or {}
    spec = obj.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    name = str(metadata.get("name", ""))
    doing = f"reading Profile {name}"
    check_profile_name(doing, name)

    def parsed(annotation: str) -> tuple[str, Any]:
        where = f"{doing}, annotation {annotation}"
        return where, parse_json(where, annotations.get(annotation) or "{}")

    groups = _read_roles(*parsed(GROUPS_ANNOTATION))
    members = _read_roles(*parsed(MEMBERS_ANNOTATION))
    _check_count(doing, len(groups) + len(members))
    keys = annotations.get(IMAGE_PROFILES_ANNOTATION, "").split(",")
    return Profile(
        name=name,
        owner=_read_owner(f"{doing}, spec.owner", spec.get("owner")),
        quota=_read_quota(f"{doing}, spec.resourceQuotaSpec", spec.get("resourceQuotaSpec")),
        plugins=_read_plugins(f"{doing}, spec.plugins", spec.get("plugins")),
        groups=groups,
        members=members,
        image_profiles=tuple(key.strip() for key in keys if key.strip()),
        default_limits=read_quantities(*parsed(DEFAULT_LIMITS_ANNOTATION)),
        display_name=annotations.get(DISPLAY_NAME_ANNOTATION, ""),
        uid=str(metadata.get("uid", "")),
        delete_files=annotations.get(DELETE_FILES_ANNOTATION) == name,
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def make_profile(profile: Profile) -> Manifest:
    """Return the kubeflow.org/v1 object that `read_profile` reads back, without a status."""
    annotations = {
        GROUPS_ANNOTATION: _to_json(profile.groups),
        MEMBERS_ANNOTATION: _to_json(profile.members),
        IMAGE_PROFILES_ANNOTATION: ",".join(profile.image_profiles),
        DEFAULT_LIMITS_ANNOTATION: _to_json(profile.default_limits),
        DISPLAY_NAME_ANNOTATION: profile.display_name,
        DELETE_FILES_ANNOTATION: profile.name if profile.delete_files else "",
    }
    spec: Manifest = {"owner": {"kind": profile.owner.kind, "name": profile.owner.name}}
    if profile.quota:
        spec["resourceQuotaSpec"] = dict(profile.quota)
    if profile.plugins:
        spec["plugins"] = [
            {"kind": plugin.kind, "spec": dict(plugin.spec)} for plugin in profile.plugins
        ]
    return {
        "apiVersion": API_VERSION,
        "kind": "Profile",
        "metadata": {
            "name": profile.name,
            "labels": dict(MANAGED_BY),
            "annotations": {key: value for key, value in annotations.items() if value},
        },
        "spec": spec,
    }


def read_declared(name: str, declared: Mapping[str, Any]) -> Profile:
    """Return the Profile that the entry `name` of ``c.KfSpawner.profiles`` declares.

    Raises
    ------
    ProfileRefused
        If it cannot be had; the message begins with the field's own path.
    """
    doing = f"c.KfSpawner.profiles[{name!r}]"
    check_profile_name(doing, name)
    check_fields(doing, declared, _DECLARED)
    if "owner" not in declared:
        raise ProfileRefused(
            f"{doing}['owner']",
            "it is missing",
            'name the person, or give {"kind": "Group", "name": …}',
            "OwnerRefused",
        )
    owner = declared["owner"]
    if isinstance(owner, str):
        owner = {"kind": "User", "name": owner}
    groups = _read_roles(f"{doing}['groups']", declared.get("groups", {}))
    members = _read_roles(f"{doing}['members']", declared.get("members", {}))
    _check_count(doing, len(groups) + len(members))
    return Profile(
        name=name,
        owner=_read_owner(f"{doing}['owner']", owner),
        plugins=_read_plugins(f"{doing}['plugins']", declared.get("plugins")),
        groups=groups,
        members=members,
        display_name=check_text(f"{doing}['display_name']", declared.get("display_name", "")),
        **_read_shared(doing, declared),
    )


def make_personal(user: str, template: Mapping[str, Any]) -> Profile:
    """Return a person's own Profile, made after ``c.KfSpawner.personal_profile``.

    Its name is that of `names.namespace_name`. Whoever finds a Profile of that
    name on the cluster checks that its owner is the person.

    Raises
    ------
    ProfileRefused
        If the template cannot be used, or nobody of that name may own a Profile.
    """
    doing = "c.KfSpawner.personal_profile"
    check_fields(doing, template, _TEMPLATE)
    return Profile(
        name=namespace_name(user),
        owner=Owner("User", check_person(f"making a Profile for {shown(user)}", user)),
        display_name=user,
        **_read_shared(doing, template),
    )


def is_ready(obj: Mapping[str, Any]) -> bool:
    """Say whether the controller found the Profile object in order."""
    return _ready_condition(obj).get("status") == "True"


def reason_of(obj: Mapping[str, Any]) -> str:
    """Return the one word that says how a Profile object does; Kubeflow's definition keeps none."""
    return str(_ready_condition(obj).get("reason") or "")


def why_not_ready(obj: Mapping[str, Any]) -> str:
    """Return in one clause what keeps a Profile object from being ready; empty if it is."""
    if is_ready(obj):
        return ""
    condition = _ready_condition(obj)
    told = condition.get("message") or condition.get("reason")
    return str(told or "the controller has not looked at it yet")


def _read_owner(doing: str, raw: object) -> Owner:
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or kind not in OWNER_KINDS:
        raise ProfileRefused(
            doing,
            f"{shown(raw)} is no owner" if kind is None else f"kind {shown(kind)} owns nothing",
            "let kind be User or Group, and name whom",
            "OwnerRefused",
        )
    return Owner(str(kind), check_person(doing, raw.get("name")))


def _read_roles(doing: str, raw: object) -> dict[str, Role]:
    roles = check_mapping(doing, raw, "names with their roles")
    known = [role.value for role in Role]
    for name, role in roles.items():
        check_person(doing, name, "Malformed")
        if role not in known:
            raise ProfileRefused(
                doing,
                f"{shown(role)} of {shown(name)} is no role",
                f"the roles are {', '.join(known)}",
            )
    return {name: Role(role) for name, role in roles.items()}


def _check_count(doing: str, count: int) -> None:
    if count > MEMBER_LIMIT:
        raise ProfileRefused(
            doing,
            f"{count} members and groups are more than the {MEMBER_LIMIT} that a Profile holds",
            "make the people a group, and the group a member",
            "TooManyMembers",
        )


def _read_quota(doing: str, raw: object) -> dict[str, Any]:
    quota = check_mapping(doing, raw or {}, "an object with hard")
    if not quota.get("hard"):
        return {}
    return {**quota, "hard": read_quantities(f"{doing}.hard", quota["hard"])}


def _read_plugins(doing: str, raw: object) -> tuple[Plugin, ...]:
    if raw is not None and not isinstance(raw, list | tuple):
        raise ProfileRefused(doing, f"it is {type(raw).__name__}", "give a list of plugins")
    return tuple(read_plugin(doing, plugin) for plugin in raw or ())


def _read_shared(doing: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a declared Profile and the personal one have in common, by Profile's fields."""
    keys = declared.get("image_profiles", ())
    where = f"{doing}['image_profiles']"
    if not isinstance(keys, list | tuple):
        raise ProfileRefused(where, f"it is {type(keys).__name__}", "give a list of keys")
    for key in keys:
        if not isinstance(key, str) or not key.strip() or "," in key:
            raise ProfileRefused(where, f"{shown(key)} is no key", "give a list of keys")
    hard = read_quantities(f"{doing}['quota']", declared.get("quota", {}))
    return {
        "quota": {"hard": hard} if hard else {},
        "image_profiles": tuple(key.strip() for key in keys),
        "default_limits": read_quantities(
            f"{doing}['default_limits']", declared.get("default_limits", {})
        ),
    }


def _to_json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), sort_keys=True, ensure_ascii=False) if values else ""


def _ready_condition(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == "Ready"), {})
