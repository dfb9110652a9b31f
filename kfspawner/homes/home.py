"""A person's files in one profile -> the claim that holds them."""

from __future__ import annotations

from collections.abc import Sequence

from kfspawner.errors import ClusterDenied, ObjectExists
from kfspawner.labels import USER_ANNOTATION
from kfspawner.names import home_claim_name
from kfspawner.profiles.api import Api
from kfspawner.profiles.manifests import make_labels
from kfspawner.profiles.patience import patiently
from kfspawner.profiles.profile import Manifest


def make_home_claim(
    user: str,
    namespace: str,
    capacity: str,
    storage_class: str = "",
    access_modes: Sequence[str] = ("ReadWriteOnce",),
) -> Manifest:
    """Return the PersistentVolumeClaim of a person's home in a profile.

    Parameters
    ----------
    user
        The person's JupyterHub name.
    namespace
        The profile's.
    capacity
        How much it asks for, a Kubernetes quantity: ``10Gi``.
    storage_class
        The StorageClass that makes the volume; empty for the cluster's default.
    access_modes
        How pods may mount it.
    """
    spec: Manifest = {
        "accessModes": list(access_modes),
        "resources": {"requests": {"storage": capacity}},
    }
    if storage_class:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": home_claim_name(user),
            "namespace": namespace,
            "labels": make_labels(user),
            "annotations": {USER_ANNOTATION: user},
        },
        "spec": spec,
    }


async def ensure_home(api: Api, claim: Manifest) -> None:
    """Make sure that `claim` stands; one that stands is left as it is.

    Raises
    ------
    ClusterDenied
        If one of that name holds somebody else's files, or if the quota has no
        room for a new one.
    """
    metadata = claim["metadata"]
    key = ("PersistentVolumeClaim", metadata["name"], metadata["namespace"])
    found = await patiently(lambda: api.get(*key))
    if found is None:
        try:
            await patiently(lambda: api.create(claim))
        except ObjectExists:
            found = await api.get(*key)
    annotations = (found or {}).get("metadata", {}).get("annotations") or {}
    user = metadata["annotations"][USER_ANNOTATION]
    # One without the annotation was made for this name by hand, or by an earlier version.
    if annotations.get(USER_ANNOTATION, user) != user:
        raise ClusterDenied(
            f"preparing the home of {user!r:.80} in profile {metadata['namespace']}",
            f"claim {metadata['name']} there holds the files of somebody else",
            "nothing in it was touched; choose another profile, or show this to the administrator",
        )
