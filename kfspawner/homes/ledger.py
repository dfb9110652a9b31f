"""Claims and volumes of homes: what the cluster's objects say of whose files are where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kfspawner.homes.place import FOLDER_CLAIM, Archived, Place
from kfspawner.labels import (
    ARCHIVED_AS_ANNOTATION,
    ARCHIVED_AT_ANNOTATION,
    CHANGED_ANNOTATION,
    HEIR_ANNOTATION,
    MEASURED_ANNOTATION,
    NAMESPACE_UID_ANNOTATION,
    OWNER_IDS_ANNOTATION,
    PROFILE_LABEL,
    REQUEST_ANNOTATION,
    RESTORED_FROM_ANNOTATION,
    TROUBLE_ANNOTATION,
    USED_ANNOTATION,
    USER_ANNOTATION,
    VOLUME_LABEL,
)
from kfspawner.names import home_claim_name

STORAGE_CLASS = "kfspawner-nfs"

_COUNT = re.compile(r"[0-9]{1,18}")
_IDS = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")
# The notebook images' user and group.
_DEFAULT_IDS = (1000, 100)
_PROFILE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENDED = ("Succeeded", "Failed")


class Request(StrEnum):
    """What the provisioner is asked to do with files."""

    ARCHIVE = "archive"
    RESTORE = "restore"
    PURGE = "purge"
    # The archive is to be somebody else's.
    HAND_OVER = "hand-over"
    # The claim's owner is another than the volume's.
    OWN = "own"


class Content(StrEnum):
    """What is in a volume."""

    HOME = "home"
    FOLDER = "folder"
    ARCHIVE = "archive"


@dataclass(frozen=True)
class Namespace:
    """A namespace, and whether it is a Profile's."""

    uid: str
    is_profiles: bool


@dataclass(frozen=True)
class Claim:
    """A claim of our StorageClass.

    Attributes
    ----------
    place
        Whose files it claims; None if it is neither a home nor a folder.
    ids
        The uid and gid that are to own them.
    volume
        The volume that it is bound to; empty while it is to none.
    capacity
        How much it asks for.
    request, trouble
        What the provisioner is asked for, and what keeps it from that.
    ending
        Whether it is being deleted.
    """

    namespace: str
    name: str
    uid: str
    place: Place | None
    ids: tuple[int, int]
    volume: str
    capacity: str
    storage_class: str
    request: str
    trouble: str
    ending: bool


@dataclass(frozen=True)
class Volume:
    """A PersistentVolume that the provisioner made.

    Attributes
    ----------
    place
        Whose files are in it, or were until they were archived.
    content
        What is in it.
    claim
        The namespace, name and uid of the claim that it is for; the uid is empty
        while it waits for one.
    namespace_uid
        The namespace that it was made for: one of that name may be another.
    archived_as, archived_at
        The stamp under which its files are archived, or are about to be, and when
        that was; empty for those that are in use.
    heir
        Whose an archive is to be, where that is asked for.
    restored_from
        The stamp of the archive that is given back in it, while that is under way and
        afterwards; empty for a home that never was archived.
    used, changed, measured
        How many bytes are in it, when a file last changed, and when that was
        measured; None before it was.
    """

    name: str
    uid: str
    version: str
    place: Place
    content: Content
    claim: tuple[str, str, str]
    namespace_uid: str
    ids: tuple[int, int]
    capacity: str
    storage_class: str
    path: str
    request: str
    trouble: str
    archived_as: str
    archived_at: datetime | None
    restored_from: str = ""
    heir: Place | None = None
    used: int | None = None
    changed: datetime | None = None
    measured: datetime | None = None

    @property
    def is_archive(self) -> bool:
        """Whether its files are put away."""
        return self.content == Content.ARCHIVE

    @property
    def archived(self) -> Archived:
        """Where its files are archived, or are about to be."""
        return self.place.archived(self.archived_as)

    @property
    def directory(self) -> str:
        """Where its files are now, below the export."""
        return self.archived.directory if self.is_archive else self.place.directory


def read_namespace(obj: Mapping[str, Any]) -> Namespace:
    """Return what a Namespace says."""
    metadata = obj["metadata"]
    return Namespace(metadata["uid"], PROFILE_LABEL in (metadata.get("labels") or {}))


def read_claim(obj: Mapping[str, Any]) -> Claim | None:
    """Return what a PersistentVolumeClaim says; None if it is not of our StorageClass."""
    metadata, spec = obj["metadata"], obj["spec"]
    if spec.get("storageClassName") != STORAGE_CLASS:
        return None
    annotations = metadata.get("annotations") or {}
    return Claim(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        place=_place_of(metadata["namespace"], metadata["name"], annotations),
        ids=_read_ids(annotations),
        volume=spec.get("volumeName") or "",
        capacity=str(spec["resources"]["requests"]["storage"]),
        storage_class=STORAGE_CLASS,
        request=annotations.get(REQUEST_ANNOTATION, ""),
        trouble=annotations.get(TROUBLE_ANNOTATION, ""),
        ending="deletionTimestamp" in metadata,
    )


def _place_of(namespace: str, name: str, annotations: Mapping[str, str]) -> Place | None:
    if name == FOLDER_CLAIM:
        return Place(namespace)
    user = annotations.get(USER_ANNOTATION, "")
    return Place(namespace, user) if user and name == home_claim_name(user) else None


def _read_ids(annotations: Mapping[str, str]) -> tuple[int, int]:
    match = _IDS.fullmatch(annotations.get(OWNER_IDS_ANNOTATION, ""))
    return (int(match[1]), int(match[2])) if match else _DEFAULT_IDS


def read_volume(obj: Mapping[str, Any]) -> Volume | None:
    """Return what a PersistentVolume of ours says; None if it is none, or is going."""
    metadata, spec = obj["metadata"], obj["spec"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    content = labels.get(VOLUME_LABEL)
    if content not in set(Content) or "nfs" not in spec or "deletionTimestamp" in metadata:
        return None
    place = Place(labels.get(PROFILE_LABEL, ""), annotations.get(USER_ANNOTATION, ""))
    stamp = annotations.get(ARCHIVED_AS_ANNOTATION, "")
    where = place.archived(stamp) if content == Content.ARCHIVE else place
    # Its name cannot change: what says something else was written by others.
    if where.volume != metadata["name"] or not spec["nfs"]["path"].endswith(f"/{where.directory}"):
        return None
    if content != Content.ARCHIVE and place.is_folder != (content == Content.FOLDER):
        return None
    claim = spec.get("claimRef") or {}
    used = annotations.get(USED_ANNOTATION)
    return Volume(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        place=place,
        content=Content(content),
        claim=(claim.get("namespace", ""), claim.get("name", ""), claim.get("uid", "")),
        namespace_uid=annotations.get(NAMESPACE_UID_ANNOTATION, ""),
        ids=_read_ids(annotations),
        capacity=str(spec["capacity"]["storage"]),
        storage_class=spec.get("storageClassName", ""),
        path=spec["nfs"]["path"],
        request=annotations.get(REQUEST_ANNOTATION, ""),
        trouble=annotations.get(TROUBLE_ANNOTATION, ""),
        archived_as=stamp,
        heir=_read_heir(annotations.get(HEIR_ANNOTATION, "")),
        restored_from=annotations.get(RESTORED_FROM_ANNOTATION, ""),
        archived_at=_read_moment(annotations.get(ARCHIVED_AT_ANNOTATION)),
        used=int(used) if used and _COUNT.fullmatch(used) else None,
        changed=_read_moment(annotations.get(CHANGED_ANNOTATION)),
        measured=_read_moment(annotations.get(MEASURED_ANNOTATION)),
    )


def _read_heir(text: str) -> Place | None:
    profile, _, person = text.partition("/")
    return Place(profile, person) if person and _PROFILE.fullmatch(profile) else None


def is_ended(pod: Mapping[str, Any]) -> bool:
    """Say whether a pod does nothing any more."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def holds(pod: Mapping[str, Any], claim: str) -> bool:
    """Say whether a pod names a claim of its namespace: then the cluster keeps the claim."""
    volumes = pod["spec"].get("volumes") or ()
    return any((it.get("persistentVolumeClaim") or {}).get("claimName") == claim for it in volumes)


def is_mounted(pod: Mapping[str, Any], claim: str) -> bool:
    """Say whether a pod has a claim of its namespace mounted, or will have."""
    return holds(pod, claim) and not is_ended(pod)


def _read_moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None
