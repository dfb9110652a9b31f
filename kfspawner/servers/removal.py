"""Who was removed from a profile: what they run there, and its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kfspawner.labels import USER_ANNOTATION, USER_LABEL, USERNAME_ANNOTATION
from kfspawner.names import slug
from kfspawner.profiles.api import Api
from kfspawner.profiles.directory import Directory
from kfspawner.profiles.resources import Selection


def is_removed(directory: Directory, profile: str, user: str, groups: Collection[str]) -> bool:
    """Say whether a person may start nothing in a profile; of what is not known, they may."""
    standing = directory.get(profile)
    if not directory.loaded or standing is None or standing.profile is None:
        return False
    role = directory.role(profile, user, groups)
    return role is None or not role.may_spawn


def is_of(pod: Mapping[str, Any], user: str) -> bool:
    """Say whether a pod is this person's, and not of somebody whose name has the same slug."""
    annotations = pod["metadata"].get("annotations") or {}
    return all(annotations.get(key, user) == user for key in (USERNAME_ANNOTATION, USER_ANNOTATION))


async def stop_all(api: Api, profile: str, user: str) -> list[str]:
    """Delete the pods of a person's servers and runs in a profile, and return their names."""
    theirs = Selection("Pod", profile, labels=f"{USER_LABEL}={slug(user)}")
    pods = [pod async for page, _ in api.pages(theirs) for pod in page]
    names = [pod["metadata"]["name"] for pod in pods if is_of(pod, user)]
    for name in names:
        await api.delete("Pod", name, profile)
    return names
