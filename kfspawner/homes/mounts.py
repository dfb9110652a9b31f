"""What a profile's servers mount besides homes: other profiles' folders, datasets, shared homes.

The hub, which knows who is a member of what, writes on the Profile what is to be
mounted in its namespace; members cannot write there. The provisioner makes a
claim and a volume of each, and takes both away when it is no longer written.
Nothing that holds files is made or deleted: a folder has a claim in its own profile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kfspawner.homes.ledger import STORAGE_CLASS, Namespace
from kfspawner.homes.place import Place
from kfspawner.homes.volume import PROVISIONER, Server
from kfspawner.labels import MANAGED_BY, MOUNTS_ANNOTATION, PROFILE_LABEL, VOLUME_LABEL
from kfspawner.names import slug
from kfspawner.profiles.profile import Manifest

MOUNT = "mount"
_LABELS = {**MANAGED_BY, VOLUME_LABEL: MOUNT}
# Nominal: nothing is set aside for it.
_SIZE = "1Mi"


@dataclass(frozen=True)
class Mount:
    """One directory that servers in a profile may mount.

    Attributes
    ----------
    claim
        The claim's name, in the profile's namespace.
    path
        The directory on `server`; below the provisioner's own export where that is
        empty.
    server
        Another NFS server; empty for the provisioner's own.
    read_only
        Whether nobody may write there through this claim.
    person
        For whom it is; empty where it is for all of the profile.
    """

    claim: str
    path: str
    server: str = ""
    read_only: bool = True
    person: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands on the Profile, but for its name."""
        said = {
            "path": self.path,
            "server": self.server,
            "readOnly": self.read_only,
            "person": self.person,
        }
        return {name: it for name, it in said.items() if it != ""}

    @property
    def said(self) -> str:
        """What its claim says that it is: one of another mount of that name says something else."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)

    @classmethod
    def of_folder(cls, profile: str, person: str, *, read_only: bool) -> Mount:
        """Return the folder of another profile that a person is a member of."""
        return cls(
            claim=f"folder-{slug(profile)}",
            path=Place(profile).directory,
            read_only=read_only,
            person=person,
        )


def read_mounts(profile: Mapping[str, Any]) -> dict[str, Mount]:
    """Return what is written on a Profile, by claim; what cannot be read counts as nothing."""
    annotations = profile["metadata"].get("annotations") or {}
    return read_written(annotations.get(MOUNTS_ANNOTATION) or "")


def read_written(text: str) -> dict[str, Mount]:
    """Return what the annotation of a Profile says, by claim; what cannot be read is nothing."""
    try:
        said = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, Mapping):
        return {}
    read = (_read_mount(str(claim), it) for claim, it in said.items())
    return {mount.claim: mount for mount in read if mount}


def _read_mount(claim: str, said: Any) -> Mount | None:
    if not isinstance(said, Mapping) or ".." in str(said.get("path", "..")).split("/"):
        return None
    return Mount(
        claim=claim,
        path=str(said["path"]),
        server=str(said.get("server", "")),
        read_only=bool(said.get("readOnly", True)),
        person=str(said.get("person", "")),
    )


def write_mounts(mounts: Mapping[str, Mount]) -> str:
    """Return what stands on the Profile for `mounts`."""
    said = {claim: mounts[claim].to_json() for claim in sorted(mounts)}
    return json.dumps(said, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Made:
    """A claim or a volume that was made for a mount.

    Attributes
    ----------
    profile, claim
        Which mount it is for.
    name, uid
        The object's own.
    said
        What a claim says that it is.
    source
        What a volume mounts: server, path and whether read-only; None for a claim.
    phase
        What Kubernetes says of a volume; empty while it has not seen it.
    """

    profile: str
    claim: str
    name: str
    uid: str
    said: str = ""
    source: tuple[str, str, bool] | None = None
    phase: str = ""


def read_made(obj: Mapping[str, Any]) -> Made | None:
    """Return what a claim or volume was made for; None if for no mount, or if it is going."""
    metadata, spec = obj["metadata"], obj["spec"]
    labels = metadata.get("labels") or {}
    if labels.get(VOLUME_LABEL) != MOUNT or "deletionTimestamp" in metadata:
        return None
    name, namespace = metadata["name"], metadata.get("namespace")
    if namespace:
        said = (metadata.get("annotations") or {}).get(MOUNTS_ANNOTATION, "")
        return Made(namespace, name, name, metadata["uid"], said)
    nfs, claim = spec.get("nfs"), spec.get("claimRef") or {}
    profile = claim.get("namespace", "")
    # Others may have labelled it.
    if nfs is None or name != volume_name(profile, claim.get("name", "")):
        return None
    source = (nfs["server"], nfs["path"], bool(nfs.get("readOnly", False)))
    phase = (obj.get("status") or {}).get("phase", "")
    return Made(profile, claim["name"], name, metadata["uid"], source=source, phase=phase)


def volume_name(profile: str, claim: str) -> str:
    """Return the name of a mount's PersistentVolume."""
    return f"mount.{profile}.{claim}"


class MountStep(StrEnum):
    """One thing to do about a mount."""

    MAKE_VOLUME = "make volume"
    MAKE_CLAIM = "make claim"
    DROP_CLAIM = "drop claim"
    DROP_VOLUME = "drop volume"


# What comes before a claim, by the phase of its volume. Kubernetes leaves a claim
# whose volume it has not seen to its next round, up to 15 seconds later; and a
# volume whose claim is gone goes to no other one.
_CLAIM_STEPS = {"": None, "Pending": None, "Available": MountStep.MAKE_CLAIM}


@dataclass(frozen=True)
class MountStanding:
    """What the cluster says of one mount.

    Attributes
    ----------
    wanted
        What is written on the Profile; None for nothing any more.
    claim, volume
        What was made for it.
    source
        What its volume is to mount.
    profile, namespace
        The profile's name, and its namespace; None if there is none.
    """

    profile: str
    wanted: Mount | None
    claim: Made | None
    volume: Made | None
    source: tuple[str, str, bool] | None
    namespace: Namespace | None


def next_mount_step(standing: MountStanding) -> MountStep | None:
    """Return what is to be done about a mount; None if nothing is."""
    claim, volume = standing.claim, standing.volume
    there = standing.namespace is not None and standing.namespace.is_profiles
    if standing.wanted and there:
        if volume is None:
            # A claim without its volume would wait for ever.
            return MountStep.MAKE_VOLUME if claim is None else MountStep.DROP_CLAIM
        if volume.source == standing.source and claim is None:
            return _CLAIM_STEPS.get(volume.phase, MountStep.DROP_VOLUME)
        if volume.source == standing.source and claim and claim.said == standing.wanted.said:
            return None
    if claim:
        return MountStep.DROP_CLAIM
    return MountStep.DROP_VOLUME if volume else None


def source_of(mount: Mount, server: Server) -> tuple[str, str, bool]:
    """Return what the volume of a mount mounts, where `server` is the provisioner's own."""
    if mount.server:
        return mount.server, mount.path, mount.read_only
    return server.address, server.path_of(mount.path), mount.read_only


def by_mount(
    wanted: Mapping[str, Mapping[str, Mount]],
    made: Sequence[Made],
    namespaces: Mapping[str, Namespace],
    server: Server,
) -> dict[str, MountStanding]:
    """Return how each mount stands, by the name of its volume.

    Parameters
    ----------
    wanted
        What is written on the Profiles, by their names.
    made
        All claims and volumes that were made.
    namespaces
        All there are, by their names.
    server
        The provisioner's own export.
    """
    keys = {(profile, claim) for profile, mounts in wanted.items() for claim in mounts}
    keys |= {(it.profile, it.claim) for it in made}
    claims = {(it.profile, it.claim): it for it in made if it.source is None}
    volumes = {(it.profile, it.claim): it for it in made if it.source is not None}
    standings = {}
    for profile, claim in keys:
        mount = wanted.get(profile, {}).get(claim)
        standings[volume_name(profile, claim)] = MountStanding(
            profile=profile,
            wanted=mount,
            claim=claims.get((profile, claim)),
            volume=volumes.get((profile, claim)),
            source=source_of(mount, server) if mount else None,
            namespace=namespaces.get(profile),
        )
    return standings


def claims_of(server: str, path: str, made: Iterable[Made]) -> set[tuple[str, str]]:
    """Return the claims that mount a directory besides its own: their profiles and names."""
    found = (it for it in made if it.source is not None and it.source[:2] == (server, path))
    return {(it.profile, it.claim) for it in found}


def make_mount_volume(profile: str, mount: Mount, server: Server) -> Manifest:
    """Return the PersistentVolume of a mount, for its claim alone."""
    address, path, read_only = source_of(mount, server)
    options = [*(() if mount.server else server.mount_options), *(("ro",) if read_only else ())]
    spec: Manifest = {
        "accessModes": ["ReadOnlyMany" if read_only else "ReadWriteMany"],
        "capacity": {"storage": _SIZE},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": STORAGE_CLASS,
        "volumeMode": "Filesystem",
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": profile,
            "name": mount.claim,
        },
        "nfs": {"server": address, "path": path, "readOnly": read_only},
    }
    if options:
        spec["mountOptions"] = options
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(profile, mount.claim),
            "labels": {**_LABELS, PROFILE_LABEL: profile},
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": spec,
    }


def make_mount_claim(profile: str, mount: Mount) -> Manifest:
    """Return the claim of a mount; its volume names it.

    It names no volume: of one that does, Kubernetes writes the volume from two
    sides, and where they meet, it binds the claim in its next round alone.
    """
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": mount.claim,
            "namespace": profile,
            "labels": dict(_LABELS),
            "annotations": {MOUNTS_ANNOTATION: mount.said},
        },
        "spec": {
            "accessModes": ["ReadOnlyMany" if mount.read_only else "ReadWriteMany"],
            "resources": {"requests": {"storage": _SIZE}},
            "storageClassName": STORAGE_CLASS,
        },
    }
