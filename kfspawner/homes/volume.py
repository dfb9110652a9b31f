"""The PersistentVolumes of homes, and the patches of them: pure functions of what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kfspawner.errors import HomeError
from kfspawner.homes.ledger import STORAGE_CLASS, Claim, Content, Volume
from kfspawner.homes.place import Place, make_stamp
from kfspawner.labels import (
    ARCHIVED_AS_ANNOTATION,
    ARCHIVED_AT_ANNOTATION,
    CHANGED_ANNOTATION,
    MANAGED_BY,
    MEASURED_ANNOTATION,
    NAMESPACE_UID_ANNOTATION,
    OWNER_IDS_ANNOTATION,
    PROFILE_LABEL,
    RESTORED_FROM_ANNOTATION,
    USED_ANNOTATION,
    USER_ANNOTATION,
    USER_LABEL,
    VOLUME_LABEL,
)
from kfspawner.names import slug
from kfspawner.profiles.api import Object
from kfspawner.profiles.profile import Manifest

PROVISIONER = "kfspawner.io/nfs"
# What PersistentVolumes that nobody may claim are reserved for.
_NOBODY = "kfspawner-archive"


@dataclass(frozen=True)
class Server:
    """The NFS export that volumes are on.

    Attributes
    ----------
    address, path
        Where nodes mount it from.
    mount_options
        How they do, as in nfs(5).
    """

    address: str
    path: str
    mount_options: tuple[str, ...] = ()

    def path_of(self, directory: str) -> str:
        """Return the path on the server of a directory below the export."""
        return f"{self.path.rstrip('/')}/{directory}"

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"{self.address}:{self.path}"


def make_volume(claim: Claim, namespace_uid: str, server: Server) -> Manifest:
    """Return the PersistentVolume of what `claim` claims, bound to it alone.

    Raises
    ------
    HomeError
        If it claims nobody's files.
    """
    if claim.place is None:
        raise HomeError(
            f"making a volume for claim {claim.name} in {claim.namespace}",
            f"StorageClass {STORAGE_CLASS} holds people's homes and profiles' folders, and it is "
            "neither",
            "use another StorageClass",
        )
    return _make(
        claim.place,
        claim.place.volume,
        server,
        content=Content.FOLDER if claim.place.is_folder else Content.HOME,
        directory=claim.place.directory,
        capacity=claim.capacity,
        claim={"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
        annotations={
            NAMESPACE_UID_ANNOTATION: namespace_uid,
            OWNER_IDS_ANNOTATION: f"{claim.ids[0]}:{claim.ids[1]}",
        },
    )


def make_archive_volume(volume: Volume, server: Server) -> Manifest:
    """Return the PersistentVolume of the files of `volume` where they are archived.

    Nobody's claim gets it: whoever is to look at them makes one of its own for it.
    """
    archived = volume.archived
    moment = volume.archived_at or datetime.now(UTC)
    return _make(
        volume.place,
        archived.volume,
        server,
        content=Content.ARCHIVE,
        directory=archived.directory,
        capacity=volume.capacity,
        claim={"namespace": _NOBODY, "name": archived.volume},
        annotations={
            **_kept(volume),
            ARCHIVED_AS_ANNOTATION: volume.archived_as,
            ARCHIVED_AT_ANNOTATION: moment.isoformat(),
        },
    )


def make_restored_volume(volume: Volume, namespace_uid: str, server: Server) -> Manifest:
    """Return the PersistentVolume of archived files where they were before.

    It waits for the claim that the next start of a server makes.
    """
    place = volume.place
    return _make(
        place,
        place.volume,
        server,
        content=Content.FOLDER if place.is_folder else Content.HOME,
        directory=place.directory,
        capacity=volume.capacity,
        claim={"namespace": place.profile, "name": place.claim},
        annotations={
            **_kept(volume),
            NAMESPACE_UID_ANNOTATION: namespace_uid,
            RESTORED_FROM_ANNOTATION: volume.archived_as,
        },
    )


def _kept(volume: Volume) -> dict[str, str]:
    """Return the annotations that files keep wherever they are."""
    kept = {
        NAMESPACE_UID_ANNOTATION: volume.namespace_uid,
        OWNER_IDS_ANNOTATION: f"{volume.ids[0]}:{volume.ids[1]}",
    }
    if volume.used is not None and volume.changed and volume.measured:
        kept |= {
            USED_ANNOTATION: str(volume.used),
            CHANGED_ANNOTATION: volume.changed.isoformat(),
            MEASURED_ANNOTATION: volume.measured.isoformat(),
        }
    return kept


def _make(  # noqa: PLR0913 - it writes one object, and this is all that differs in it
    place: Place,
    name: str,
    server: Server,
    *,
    content: Content,
    directory: str,
    capacity: str,
    claim: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Manifest:
    labels = {**MANAGED_BY, VOLUME_LABEL: content.value, PROFILE_LABEL: place.profile}
    annotations = {"pv.kubernetes.io/provisioned-by": PROVISIONER, **annotations}
    if not place.is_folder:
        labels[USER_LABEL] = slug(place.person)
        annotations = {USER_ANNOTATION: place.person, **annotations}
    spec: Manifest = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": capacity},
        # Whatever becomes of the claim, the files stay.
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": STORAGE_CLASS,
        "volumeMode": "Filesystem",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim},
        "nfs": {"server": server.address, "path": server.path_of(directory)},
    }
    if server.mount_options:
        spec["mountOptions"] = list(server.mount_options)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec,
    }


def make_archive_mark(volume: Volume, moment: datetime) -> Object:
    """Return the patch that says that the files of `volume` are put away from `moment` on."""
    return {
        "metadata": {
            "resourceVersion": volume.version,
            "annotations": {
                ARCHIVED_AS_ANNOTATION: make_stamp(moment),
                ARCHIVED_AT_ANNOTATION: moment.isoformat(),
            },
        }
    }


def make_owner_note(volume: Volume, ids: tuple[int, int]) -> Object:
    """Return the patch that says whose the files of `volume` are by now."""
    return {
        "metadata": {
            "resourceVersion": volume.version,
            "annotations": {OWNER_IDS_ANNOTATION: f"{ids[0]}:{ids[1]}"},
        }
    }


def make_rebinding(volume: Volume, claim: Claim, namespace_uid: str) -> Object:
    """Return the patch that gives `volume` to the claim that is there now."""
    return {
        "metadata": {
            "resourceVersion": volume.version,
            "annotations": {NAMESPACE_UID_ANNOTATION: namespace_uid},
        },
        "spec": {
            "capacity": {"storage": claim.capacity},
            "claimRef": {
                "namespace": claim.namespace,
                "name": claim.name,
                "uid": claim.uid,
                "resourceVersion": None,
            },
        },
    }
