"""What the controller knows of the cluster.

It is fed by watches, and by the answers to the controller's own writes, which
come sooner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from kfspawner.labels import MANAGED_BY
from kfspawner.profiles.api import Object
from kfspawner.profiles.manifests import CA_CONFIG_MAP
from kfspawner.profiles.resources import Selection
from kfspawner.profiles.seen import Key, Seen, key_of, read_seen
from kfspawner.profiles.surroundings import Opening

# How many deleted objects are remembered, for answers that come after the news.
_GONE_LIMIT = 10_000


_OURS = ",".join(f"{label}={value}" for label, value in MANAGED_BY.items())

# All that a Profile's children can be, and those that exist beside Kubeflow.
CHILDREN = (
    Selection("NetworkPolicy", labels=_OURS),
    Selection("RoleBinding", labels=_OURS),
    Selection(
        "ConfigMap", labels=_OURS, fields=f"metadata.name={CA_CONFIG_MAP}", metadata_only=True
    ),
    Selection("ServiceAccount", labels=_OURS),
    Selection("ResourceQuota", labels=_OURS),
    Selection("LimitRange", labels=_OURS),
)
WALLS = CHILDREN[:3]
PROFILES = Selection("Profile")
SURROUNDINGS = (
    Selection("Namespace"),
    Selection("Node"),
    Selection("EndpointSlice", fields="metadata.name=kubernetes"),
)


class Mirror:
    """Profiles, namespaces, what is in them, and what is around them.

    Attributes
    ----------
    profiles
        The Profiles as the API tells them, by name.
    nodes
        The addresses of each node.
    endpoints
        Where the Kubernetes API listens.
    """

    def __init__(self) -> None:
        self.profiles: dict[str, Object] = {}
        self.nodes: dict[str, tuple[str, ...]] = {}
        self.endpoints: tuple[Opening, ...] = ()
        self._seen: dict[Key, Seen] = {}
        self._inside: dict[str, set[Key]] = {}
        self._gone: dict[str, str] = {}

    def find(self, kind: str, name: str, namespace: str = "") -> Seen | None:
        """Return what is known of an object; None if there is none."""
        return self._seen.get((kind, namespace, name))

    def inside(self, namespace: str) -> list[Seen]:
        """Return what is known of all in a namespace."""
        return [self._seen[key] for key in sorted(self._inside.get(namespace, ()))]

    def put(self, obj: Mapping[str, Any]) -> bool:
        """Take note of an object, and say whether that was news."""
        if obj["kind"] == "Profile":
            return self._put_profile(obj)
        if obj["kind"] == "Node":
            name, addresses = obj["metadata"]["name"], _addresses(obj)
            news = self.nodes.get(name) != addresses
            self.nodes[name] = addresses
            return news
        if obj["kind"] == "EndpointSlice":
            return self._put_endpoints(obj)
        seen = read_seen(obj)
        known = self._seen.get(seen.key)
        if self._is_old(obj, known.uid if known else "", known.version if known else ""):
            return False
        self._seen[seen.key] = seen
        self._inside.setdefault(seen.namespace, set()).add(seen.key)
        return known is None or replace(known, version=seen.version) != seen

    def drop(self, obj: Mapping[str, Any]) -> bool:
        """Take note that an object is gone, or none of ours any more; say whether that was news."""
        kind, namespace, name = key_of(obj)
        if kind == "Node":
            return self.nodes.pop(name, None) is not None
        if kind == "EndpointSlice":
            # It comes back at once; without it nobody would reach the API.
            return False
        uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        self._gone[uid] = version
        if len(self._gone) > _GONE_LIMIT:
            del self._gone[next(iter(self._gone))]
        if kind == "Profile":
            known = self.profiles.get(name, {}).get("metadata", {})
            if known.get("uid") == uid:
                del self.profiles[name]
            return False
        seen = self._seen.get((kind, namespace, name))
        if seen is None or seen.uid != uid or _before(version, seen.version):
            return False
        self._remove(seen)
        if kind == "Namespace":
            for inner in self.inside(name):
                self._remove(inner)
        return True

    def versions(self, kind: str) -> dict[Key, tuple[str, str]]:
        """Return the uid and version of each known object of a kind."""
        if kind == "Profile":
            pairs = {name: it["metadata"] for name, it in self.profiles.items()}
            return {
                (kind, "", name): (it["uid"], it["resourceVersion"]) for name, it in pairs.items()
            }
        if kind == "Node":
            return {(kind, "", name): ("", "") for name in self.nodes}
        found = (seen for key, seen in self._seen.items() if key[0] == kind)
        return {seen.key: (seen.uid, seen.version) for seen in found}

    def forget(
        self, kind: str, known: Mapping[Key, tuple[str, str]], present: Collection[Key]
    ) -> list[Key]:
        """Drop the objects of a kind that the API does not have any more, and return which.

        Parameters
        ----------
        known
            What `versions` had before the API was asked: what came later stays.
        present
            What the API has.
        """
        now = self.versions(kind)
        gone = [key for key, at in known.items() if key not in present and now.get(key) == at]
        for key in gone:
            uid, version = known[key]
            metadata = {"namespace": key[1], "name": key[2], "uid": uid}
            self.drop({"kind": kind, "metadata": {**metadata, "resourceVersion": version}})
        return gone

    def _put_profile(self, obj: Mapping[str, Any]) -> bool:
        metadata = dict(obj["metadata"])
        metadata.pop("managedFields", None)
        known = self.profiles.get(metadata["name"], {}).get("metadata", {})
        if self._is_old(obj, known.get("uid", ""), known.get("resourceVersion", "")):
            return False
        self.profiles[metadata["name"]] = {**obj, "metadata": metadata}
        return bool(known.get("resourceVersion") != metadata["resourceVersion"])

    def _put_endpoints(self, obj: Mapping[str, Any]) -> bool:
        if obj["metadata"].get("namespace") != "default":
            return False
        found = tuple(
            Opening(f"{address}/{128 if ':' in address else 32}", port["port"])
            for port in obj.get("ports") or ()
            for endpoint in obj.get("endpoints") or ()
            for address in endpoint["addresses"]
        )
        news = bool(found) and set(found) != set(self.endpoints)
        if news:
            self.endpoints = tuple(sorted(found, key=lambda opening: (opening.cidr, opening.port)))
        return news

    def _is_old(self, obj: Mapping[str, Any], uid: str, version: str) -> bool:
        """Say whether something newer is known already than `obj` says."""
        its, at = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        if its in self._gone and not _before(self._gone[its], at):
            return True
        return its == uid and _before(at, version)

    def _remove(self, seen: Seen) -> None:
        del self._seen[seen.key]
        self._inside[seen.namespace].discard(seen.key)
        if not self._inside[seen.namespace]:
            del self._inside[seen.namespace]


def _addresses(node: Mapping[str, Any]) -> tuple[str, ...]:
    found = (node.get("status") or {}).get("addresses") or ()
    return tuple(
        sorted(it["address"] for it in found if it["type"] in ("InternalIP", "ExternalIP"))
    )


def _before(version: str, other: str) -> bool:
    """Say whether a version is known to be older than another; both are numbers as a rule."""
    try:
        return int(version) < int(other)
    except ValueError:
        return False
