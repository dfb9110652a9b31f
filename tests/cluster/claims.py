"""Claims as the hub makes them, and pods that have them mounted, without a hub."""

from __future__ import annotations

import time
from collections.abc import Mapping

from kfspawner.homes.place import Place
from kfspawner.labels import OWNER_IDS_ANNOTATION, TROUBLE_ANNOTATION, USER_ANNOTATION
from tests.cluster.cluster import Cluster, Object, until

CLAIM_SECONDS = 30


def volume_of(cluster: Cluster, person: str, profile: str) -> Object:
    """Return the volume of a home."""
    found = cluster.core.read_persistent_volume(Place(profile, person).volume)
    return dict(cluster.plain(found))


def make_claim(cluster: Cluster, namespace: str, name: str, ids: str, person: str = "") -> None:
    """Make a claim as the hub makes it."""
    annotations = {OWNER_IDS_ANNOTATION: ids, **({USER_ANNOTATION: person} if person else {})}
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "kfspawner-nfs",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    cluster.core.create_namespaced_persistent_volume_claim(
        namespace, {"metadata": {"name": name, "annotations": annotations}, "spec": spec}
    )


def claim(cluster: Cluster, namespace: str, name: str, ids: str, person: str = "") -> float:
    """Make a claim, and return how many seconds later it was bound."""
    begun = time.monotonic()
    make_claim(cluster, namespace, name, ids, person)
    until(lambda: bound(cluster, namespace, name), f"claim {name} is bound", CLAIM_SECONDS)
    return time.monotonic() - begun


def bound(cluster: Cluster, namespace: str, name: str) -> bool:
    """Say whether a claim has its volume."""
    found = cluster.core.read_namespaced_persistent_volume_claim(name, namespace)
    return bool(found.status.phase == "Bound")


def trouble(cluster: Cluster, namespace: str, name: str) -> str:
    """Return what keeps a claim from its volume, as it says itself."""
    found = cluster.core.read_namespaced_persistent_volume_claim(name, namespace)
    return str((found.metadata.annotations or {}).get(TROUBLE_ANNOTATION, ""))


def run_with(
    cluster: Cluster,
    namespace: str,
    name: str,
    image: str,
    command: str,
    volumes: Mapping[str, str | Object],
    *,
    uid: int = 1000,
) -> None:
    """Run a shell command in a pod that has claims, or volumes of another sort, mounted."""
    given = [
        {"persistentVolumeClaim": {"claimName": it}} if isinstance(it, str) else it
        for it in volumes.values()
    ]
    cluster.run_pod(
        namespace,
        name,
        image,
        ["sh", "-c", command],
        uid=uid,
        volumes=dict(zip(volumes, given, strict=True)),
    )
