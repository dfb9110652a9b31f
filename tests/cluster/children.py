"""What the controller keeps in a Profile's namespace, and what becomes of it when it is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiException

from kfspawner.labels import MANAGED_BY
from tests.cluster.cluster import Cluster, Object

_MANAGED = ",".join(f"{label}={value}" for label, value in MANAGED_BY.items())

# Kinds of children, as the client's methods call them, and what would do harm.
EDITS: Mapping[str, Object] = {
    "resource_quota": {"spec": {"hard": {"pods": "1000", "services": "1000"}}},
    "limit_range": {"spec": {"limits": [{"type": "Container", "default": {"cpu": "100"}}]}},
    "network_policy": {"spec": {"ingress": [{}], "egress": [{}]}},
    "service_account": {"automountServiceAccountToken": True},
    "role_binding": {
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}]
    },
    "config_map": {"data": {"ca.crt": "mallory's"}},
}


@dataclass(frozen=True)
class Child:
    """One object in a Profile's namespace."""

    cluster: Cluster
    namespace: str
    kind: str
    name: str

    def find(self) -> Object:
        """Return it; empty if there is none."""
        try:
            return dict(self.cluster.plain(self._call("read")))
        except ApiException as error:
            if error.status != 404:
                raise
            return {}

    def says(self) -> Object:
        """Return what it says, which is all but who wrote it when."""
        found = self.find()
        kept = {part: it for part, it in found.items() if part not in ("metadata", "status")}
        marks = {part: found["metadata"].get(part) for part in ("labels", "annotations")}
        return {**kept, **marks} if found else {}

    def delete(self) -> float:
        """Delete it, and return how many seconds later there is another that says the same."""
        before, said = self.find()["metadata"]["uid"], self.says()
        self._call("delete")
        return self._wait(
            lambda: self.find() != {} and self.find()["metadata"]["uid"] != before, said
        )

    def edit(self) -> float:
        """Change what it says, and return how many seconds later it says the same again."""
        said = self.says()
        changed = self._call("patch", EDITS[self.kind])
        assert {**said, **self._plain_says(changed)} != said, f"nothing was changed in {self}"
        return self._wait(lambda: True, said)

    def _plain_says(self, found: Any) -> Object:
        return {
            part: it
            for part, it in self.cluster.plain(found).items()
            if part not in ("metadata", "status")
        }

    def _wait(self, condition: Callable[[], bool], said: Object, seconds: float = 10) -> float:
        begun = time.monotonic()
        while not (condition() and self.says() == said):
            waited = time.monotonic() - begun
            assert waited < seconds, f"not within {seconds:g} s: {self.kind} {self.name} is back"
            time.sleep(0.02)
        return time.monotonic() - begun

    def _call(self, verb: str, *body: Object) -> Any:
        api = _api(self.cluster, self.kind)
        return getattr(api, f"{verb}_namespaced_{self.kind}")(self.name, self.namespace, *body)


def children_of(cluster: Cluster, namespace: str) -> list[Child]:
    """Return all that is kept in a namespace."""
    found = []
    for kind in EDITS:
        listed = getattr(_api(cluster, kind), f"list_namespaced_{kind}")(
            namespace, label_selector=_MANAGED
        )
        found += [Child(cluster, namespace, kind, it.metadata.name) for it in listed.items]
    return found


def _api(cluster: Cluster, kind: str) -> Any:
    if kind == "network_policy":
        return cluster.network
    return cluster.rbac if kind == "role_binding" else cluster.core
