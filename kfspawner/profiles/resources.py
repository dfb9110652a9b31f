"""Where the Kubernetes API keeps the objects of each kind that kfspawner knows."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """Where the API keeps the objects of one kind."""

    group_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of one object, or of all in a namespace, or of all."""
        root = "api" if "/" not in self.group_version else "apis"
        parts = [root, self.group_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


RESOURCES = {
    "Namespace": Resource("v1", "namespaces", namespaced=False),
    "Node": Resource("v1", "nodes", namespaced=False),
    "Pod": Resource("v1", "pods"),
    "Event": Resource("v1", "events"),
    "ConfigMap": Resource("v1", "configmaps"),
    "Secret": Resource("v1", "secrets"),
    "Service": Resource("v1", "services"),
    "ServiceAccount": Resource("v1", "serviceaccounts"),
    "ResourceQuota": Resource("v1", "resourcequotas"),
    "LimitRange": Resource("v1", "limitranges"),
    "PersistentVolumeClaim": Resource("v1", "persistentvolumeclaims"),
    "PersistentVolume": Resource("v1", "persistentvolumes", namespaced=False),
    "NetworkPolicy": Resource("networking.k8s.io/v1", "networkpolicies"),
    "RoleBinding": Resource("rbac.authorization.k8s.io/v1", "rolebindings"),
    "EndpointSlice": Resource("discovery.k8s.io/v1", "endpointslices"),
    "Job": Resource("batch/v1", "jobs"),
    "Profile": Resource("kubeflow.org/v1", "profiles", namespaced=False),
}


@dataclass(frozen=True)
class Selection:
    """Objects of one kind.

    Attributes
    ----------
    kind, namespace
        Of what, and where; everywhere if `namespace` is empty.
    labels, fields
        Selectors, as kubectl takes them.
    metadata_only
        Whether to leave out what the objects say.
    """

    kind: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    @property
    def resource(self) -> Resource:
        """Where they are kept."""
        return RESOURCES[self.kind]

    @property
    def query(self) -> dict[str, str]:
        """The part of a query that selects them."""
        return {"labelSelector": self.labels, "fieldSelector": self.fields}
