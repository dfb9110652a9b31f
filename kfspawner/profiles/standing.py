"""How a Profile stands: what it says, and whether servers can be started in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kfspawner.errors import ProfileRefused
from kfspawner.labels import MOUNTS_ANNOTATION, PERSON_UID_ANNOTATION
from kfspawner.profiles.api import Object
from kfspawner.profiles.profile import Profile, is_ready, read_profile, reason_of, why_not_ready

# Reasons of the controller that waiting does not mend.
_FINAL = frozenset(
    {"NamespaceTaken", "OwnerRefused", "Malformed", "TooManyMembers", "DeletionHeld", "Deleting"}
)


@dataclass(frozen=True)
class Standing:
    """A Profile object as the hub last saw it.

    Attributes
    ----------
    profile
        What it says; None if that cannot be read.
    ready
        Whether servers can be started in it.
    why
        Why they cannot, in one clause; empty if they can.
    final
        Whether waiting does not help.
    uid, mounts
        What it says of its owner's uid, where it is a person's own, and of what is
        mounted there; empty for nothing.
    """

    profile: Profile | None
    ready: bool
    why: str = ""
    final: bool = False
    uid: str = ""
    mounts: str = ""


def read_standing(it: Object) -> Standing:
    """Return how a Profile object stands."""
    annotations = it["metadata"].get("annotations") or {}
    uid, mounts = (
        str(annotations.get(it, "")) for it in (PERSON_UID_ANNOTATION, MOUNTS_ANNOTATION)
    )
    return replace(_read_standing(it), uid=uid, mounts=mounts)


def _read_standing(it: Object) -> Standing:
    try:
        profile = read_profile(it)
    except ProfileRefused as refused:
        return Standing(None, ready=False, why=f"{refused.reason}: {refused}", final=True)
    if profile.deleting:
        return Standing(profile, ready=False, why="it is being deleted", final=True)
    if is_ready(it):
        return Standing(profile, ready=True)
    reason = reason_of(it)
    told = why_not_ready(it)
    why = f"{reason}: {told}" if reason and reason != told else told
    return Standing(profile, ready=False, why=why, final=reason in _FINAL)
