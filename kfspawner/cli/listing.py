"""What there is to say of Profiles: in one line each, or all of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import ProfileRefused
from kfspawner.labels import RUN_LABEL
from kfspawner.profiles.api import Object
from kfspawner.profiles.members import read_members
from kfspawner.profiles.profile import Profile, Role, is_ready, read_profile, why_not_ready
from kfspawner.quota import pod_owner

_ENDED = ("Succeeded", "Failed")
_SHORT = (("cpu", " CPU"), ("memory", " memory"), ("storage", " storage"))
_HEADER = ("NAME", "TITLE", "OWNER", "MEMBERS", "READY", "QUOTA")


@dataclass(frozen=True)
class Found:
    """One Profile of the cluster, with what its namespace says of it.

    Attributes
    ----------
    name
        Its own.
    profile
        As it was read; None if it cannot be had as it is written.
    members
        Everyone who has a role by name, but not the owner.
    ready
        Whether the controller found it in order.
    why
        Why it is not ready, in one clause.
    conditions
        Those of its status.
    """

    name: str
    profile: Profile | None
    members: Mapping[str, Role]
    ready: bool
    why: str
    conditions: Sequence[Object]

    @property
    def hard(self) -> Mapping[str, str]:
        """The quota's limits, empty for none."""
        return dict((self.profile.quota if self.profile else {}).get("hard") or {})

    def to_json(self) -> dict[str, Any]:
        """Return it as `-o json` writes it."""
        profile = self.profile
        return {
            "name": self.name,
            "title": profile.title if profile else self.name,
            "owner": {"kind": profile.owner.kind, "name": profile.owner.name} if profile else None,
            "members": {user: role.value for user, role in sorted(self.members.items())},
            "groups": {name: role.value for name, role in sorted(profile.groups.items())}
            if profile
            else {},
            "ready": self.ready,
            "why": self.why,
            "quota": dict(self.hard),
            "image_profiles": list(profile.image_profiles) if profile else [],
        }


def read_found(obj: Object, bindings: Iterable[Object]) -> Found:
    """Return what a Profile object and the RoleBindings of its namespace say."""
    conditions = list((obj.get("status") or {}).get("conditions") or ())
    why, profile = why_not_ready(obj), None
    try:
        profile = read_profile(obj)
    except ProfileRefused as error:
        # Where the controller has been, it says so itself.
        why = why if conditions else str(error)
    bound = read_members(bindings)
    members = dict(profile.members) if profile else {}
    for user, role in bound.items():
        members[user] = max(role, members.get(user, role), key=lambda it: it.rank)
    if profile and profile.owner.kind == "User":
        members.pop(profile.owner.name, None)
    return Found(
        name=obj["metadata"]["name"],
        profile=profile,
        members=members,
        ready=is_ready(obj),
        why=why,
        conditions=conditions,
    )


def make_table(found: Iterable[Found]) -> str:
    """Return Profiles as a table, a line each."""
    return align([_HEADER, *(_row(it) for it in found)])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines whose columns begin below one another."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def describe(found: Found, quotas: Sequence[Object], pods: Sequence[Object]) -> str:
    """Return all that there is to say of one Profile.

    Parameters
    ----------
    found
        The Profile.
    quotas, pods
        The ResourceQuotas and the pods of its namespace.
    """
    profile = found.profile
    fields: dict[str, Iterable[str]] = {"name": [found.name]}
    if profile:
        fields["title"] = [profile.title]
        fields["owner"] = [_owner(profile)]
    fields["ready"] = ["yes" if found.ready else f"no: {found.why}"]
    fields["members"] = (f"{user} ({role})" for user, role in sorted(found.members.items()))
    if profile:
        fields["groups"] = (f"{name} ({role})" for name, role in sorted(profile.groups.items()))
        fields["image profiles"] = [", ".join(profile.image_profiles) or "all"]
    fields["quota"] = _usage(found, quotas)
    fields["servers"], fields["runs"] = running(pods)
    fields["conditions"] = (
        ": ".join(filter(None, [f"{it.get('type')} {it.get('status')}", it.get("message")]))
        for it in found.conditions
    )
    return "\n".join(_lines(fields))


def to_json(found: Found, quotas: Sequence[Object], pods: Sequence[Object]) -> dict[str, Any]:
    """Return what `describe` describes as `-o json` writes it."""
    servers, runs = running(pods)
    used = {name: amount for quota in quotas for name, amount in _used(quota).items()}
    return {
        **found.to_json(),
        "used": used,
        "servers": servers,
        "runs": runs,
        "conditions": list(found.conditions),
    }


def running(pods: Iterable[Object]) -> tuple[list[str], list[str]]:
    """Return whose servers and which runs the pods are that have not ended."""
    servers, runs = set[str](), set[str]()
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in _ENDED:
            continue
        name = pod_owner(pod)
        labels = pod["metadata"].get("labels") or {}
        if RUN_LABEL in labels:
            runs.add(name)
        elif labels.get("component") == "singleuser-server":
            servers.add(name)
    return sorted(servers), sorted(runs)


def _row(found: Found) -> tuple[str, ...]:
    profile = found.profile
    members = str(len(found.members))
    if profile and profile.groups:
        count = len(profile.groups)
        members += f" + {count} group{'s' if count > 1 else ''}"
    return (
        found.name,
        profile.title if profile else "",
        _owner(profile) if profile else "",
        members,
        "yes" if found.ready else f"no: {found.why}",
        short_quota(found.hard),
    )


def _owner(profile: Profile) -> str:
    kind, name = profile.owner.kind, profile.owner.name
    return name if kind == "User" else f"{kind.lower()} {name}"


def short_quota(hard: Mapping[str, str]) -> str:
    """Return CPUs, memory, storage and devices of a quota in a few words."""
    words = []
    for name, unit in _SHORT:
        amount = hard.get(f"requests.{name}", hard.get(name))
        if amount is not None:
            words.append(f"{amount}{unit}")
    devices = (name for name in hard if name.startswith("requests.") and "/" in name)
    words += [f"{hard[name]} {name.removeprefix('requests.')}" for name in sorted(devices)]
    return ", ".join(words) or "none"


def _usage(found: Found, quotas: Sequence[Object]) -> Iterator[str]:
    """Yield what the quota allows, and what is used of it where that is known."""
    used = {name: amount for quota in quotas for name, amount in _used(quota).items()}
    if not found.hard:
        yield "none"
    for name, amount in sorted(found.hard.items()):
        yield f"{name}: {used[name]} of {amount} in use" if name in used else f"{name}: {amount}"


def _used(quota: Object) -> Mapping[str, str]:
    return dict((quota.get("status") or {}).get("used") or {})


def _lines(fields: Mapping[str, Iterable[str]]) -> Iterator[str]:
    width = max(len(name) for name in fields)
    for name, values in fields.items():
        shown = list(values) or ["none"]
        yield f"{name.ljust(width)}  {shown[0]}"
        yield from (f"{'':{width}}  {value}" for value in shown[1:])
