"""What is known of one object: enough to tell whether it says what it should.

Of its content only a digest is kept: thousands of objects fit in a few megabytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.labels import DIGEST_ANNOTATION
from kfspawner.profiles.api import MANAGER

# A kind, a namespace (empty if the kind has none) and a name.
Key = tuple[str, str, str]

# What an object of each kind says, besides its labels and annotations. What
# stands in no list here is others' to write: the finalizer of a namespace, the
# secrets of an account.
CONTENT: Mapping[str, tuple[str, ...]] = {
    "Namespace": (),
    "ResourceQuota": ("spec",),
    "LimitRange": ("spec",),
    "NetworkPolicy": ("spec",),
    "ServiceAccount": ("automountServiceAccountToken",),
    "RoleBinding": ("roleRef", "subjects"),
    "ConfigMap": ("data", "binaryData", "immutable"),
}


@dataclass(frozen=True)
class Seen:
    """What is known of a namespace, or of something in one.

    Attributes
    ----------
    content
        What `digest` returns for it. Of a ConfigMap only the metadata are known:
        there it is empty once others have written in it.
    ours
        The labels and annotations that we wrote.
    owners
        The uids of its owners.
    ending
        Whether it is being deleted.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    version: str
    content: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ours: frozenset[str]
    owners: tuple[str, ...]
    ending: bool

    @property
    def key(self) -> Key:
        """Which object it is."""
        return self.kind, self.namespace, self.name


def key_of(obj: Mapping[str, Any]) -> Key:
    """Return which object a manifest is about."""
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", ""), metadata["name"]


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short text that is the same for objects that say the same."""
    if manifest["kind"] == "ConfigMap":
        annotations = manifest["metadata"].get("annotations") or {}
        return str(annotations.get(DIGEST_ANNOTATION, ""))
    said = [manifest.get(part) for part in CONTENT[manifest["kind"]]]
    text = json.dumps(said, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def read_seen(obj: Mapping[str, Any]) -> Seen:
    """Return what is worth knowing of an object as the API tells it."""
    kind, namespace, name = key_of(obj)
    metadata = obj["metadata"]
    return Seen(
        kind=kind,
        namespace=namespace,
        name=name,
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        content=digest(obj) if kind != "ConfigMap" or _is_as_written(metadata) else "",
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        ours=frozenset(_written(metadata)),
        owners=tuple(owner["uid"] for owner in metadata.get("ownerReferences") or ()),
        ending="deletionTimestamp" in metadata,
    )


def _is_as_written(metadata: Mapping[str, Any]) -> bool:
    """Say whether all that a ConfigMap says is as we wrote it, without a look at it.

    Whoever changes what it says becomes the manager of the field.
    """
    managers = {
        entry["manager"]
        for entry in metadata.get("managedFields") or ()
        for part in CONTENT["ConfigMap"]
        if f"f:{part}" in (entry.get("fieldsV1") or {})
    }
    return managers == {MANAGER}


def _written(metadata: Mapping[str, Any]) -> Iterator[str]:
    for entry in metadata.get("managedFields") or ():
        if entry["manager"] == MANAGER:
            fields = (entry.get("fieldsV1") or {}).get("f:metadata", {})
            for part in ("f:labels", "f:annotations"):
                yield from (name[2:] for name in fields.get(part, {}) if name.startswith("f:"))


def differs(manifest: Mapping[str, Any], seen: Seen | None) -> bool:
    """Say whether an object, labels and annotations apart, says something else than `manifest`."""
    return seen is None or seen.content != digest(manifest)


def is_marked(manifest: Mapping[str, Any], seen: Seen) -> bool:
    """Say whether an object bears the labels and annotations of `manifest`, and no older ones.

    Those of a namespace are only ever added to: others may rely on them.
    """
    labels = manifest["metadata"].get("labels") or {}
    annotations = manifest["metadata"].get("annotations") or {}
    return (
        labels.items() <= seen.labels.items()
        and annotations.items() <= seen.annotations.items()
        and (seen.kind == "Namespace" or seen.ours <= labels.keys() | annotations.keys())
    )
