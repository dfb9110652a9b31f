"""Profile -> what stands in its namespace before anything runs there.

Every function returns plain dicts as the Kubernetes API writes them back: with
its defaults stated, so that what stands there can be compared with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from kfspawner.labels import (
    DIGEST_ANNOTATION,
    MANAGED_BY,
    MEMBER_ROLE_ANNOTATION,
    MEMBER_USER_ANNOTATION,
    OWNER_LABEL,
    PROFILE_LABEL,
    UID_ANNOTATION,
    USER_LABEL,
)
from kfspawner.names import LABEL_LIMIT, slug
from kfspawner.profiles.members import OWNER_BINDING, RBAC, make_member_binding
from kfspawner.profiles.plugins import account_annotations
from kfspawner.profiles.profile import Manifest, Owner, Profile, Role
from kfspawner.profiles.surroundings import Surroundings
from kfspawner.profiles.walls import make_policies
from kfspawner.quota import PROFILE_QUOTA

# Kubeflow's names for the accounts of a namespace: servers and runs run as the first.
EDITOR_ACCOUNT = "default-editor"
VIEWER_ACCOUNT = "default-viewer"
# Kubeflow's too: who owns a namespace.
OWNER_ANNOTATION = "owner"
LIMITS = "kfspawner"

POD_SECURITY = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}

# The hub's ClusterRole in each namespace, of deploy/base/rbac.yaml.
HUB_ROLE = "kfspawner-hub-namespace"

CA_CONFIG_MAP = "kfspawner-ca"
CA_KEY = "ca.crt"


def make_children(profile: Profile, surroundings: Surroundings) -> list[Manifest]:
    """Return everything that the controller keeps in a profile's namespace, and it, first."""
    name = profile.name
    walls = [
        make_profile_namespace(profile, walls_only=surroundings.walls_only),
        *make_policies(name, surroundings),
        _bind(name, HUB_ROLE, HUB_ROLE, _account(surroundings.hub_account)),
    ]
    if surroundings.ca:
        walls.append(make_ca_config_map(name, surroundings.ca))
    if surroundings.walls_only:
        return walls
    editor = make_service_account(EDITOR_ACCOUNT, name)
    if annotations := account_annotations(profile):
        editor["metadata"]["annotations"] = annotations
    accounts = [
        editor,
        make_service_account(VIEWER_ACCOUNT, name),
        _bind(name, EDITOR_ACCOUNT, Role.EDIT.cluster_role, _account(f"{name}/{EDITOR_ACCOUNT}")),
        _bind(name, VIEWER_ACCOUNT, Role.VIEW.cluster_role, _account(f"{name}/{VIEWER_ACCOUNT}")),
        _bind_owner(name, profile.owner),
    ]
    return [*walls, *accounts, *_bind_members(profile), *_make_limits(profile)]


def owner_label(owner: Owner) -> str:
    """Return the value of the label by which a namespace consents to `owner`."""
    if owner.kind == "User":
        return slug(owner.name)
    # A group is not the person of its name.
    return f"group.{slug(owner.name, LABEL_LIMIT - len('group.'))}"


def make_profile_namespace(profile: Profile, *, walls_only: bool = False) -> Manifest:
    """Return the namespace of a profile; with `walls_only`, what is added to Kubeflow's.

    It enforces Pod Security `restricted` on whatever starts in it.
    """
    metadata: Manifest = {
        "name": profile.name,
        "labels": {PROFILE_LABEL: profile.name, **POD_SECURITY},
    }
    if not walls_only:
        metadata["labels"] |= {**MANAGED_BY, OWNER_LABEL: owner_label(profile.owner)}
        metadata["annotations"] = {
            OWNER_ANNOTATION: profile.owner.name,
            UID_ANNOTATION: profile.uid,
        }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _bind_owner(namespace: str, owner: Owner) -> Manifest:
    subject = {"apiGroup": RBAC, "kind": owner.kind, "name": owner.name}
    binding = _bind(namespace, OWNER_BINDING, Role.ADMIN.cluster_role, subject)
    if owner.kind == "User":
        binding["metadata"]["annotations"] = {
            MEMBER_USER_ANNOTATION: owner.name,
            MEMBER_ROLE_ANNOTATION: Role.ADMIN.value,
        }
    return binding


def _bind_members(profile: Profile) -> list[Manifest]:
    bindings = []
    for user, role in profile.members.items():
        binding = make_member_binding(profile.name, user, role)
        # Unlike those that people write, these go when the Profile no longer names them.
        binding["metadata"]["labels"] = dict(MANAGED_BY)
        bindings.append(binding)
    return bindings


def _make_limits(profile: Profile) -> list[Manifest]:
    made: list[Manifest] = []
    if profile.quota:
        made.append(_core("ResourceQuota", PROFILE_QUOTA, profile.name, spec=dict(profile.quota)))
    if profile.default_limits:
        limits = {
            "type": "Container",
            "default": dict(profile.default_limits),
            "defaultRequest": dict(profile.default_limits),
        }
        made.append(_core("LimitRange", LIMITS, profile.name, spec={"limits": [limits]}))
    return made


def _core(kind: str, name: str, namespace: str, **content: object) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        **content,
    }


def _bind(namespace: str, name: str, cluster_role: str, subject: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": cluster_role},
        "subjects": [dict(subject)],
    }


def _account(account: str) -> dict[str, str]:
    namespace, _, name = account.partition("/")
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def make_labels(user: str) -> dict[str, str]:
    """Return the labels of everything that belongs to `user`."""
    return {**MANAGED_BY, USER_LABEL: slug(user)}


def make_service_account(name: str, namespace: str) -> Manifest:
    """Return a service account whose token a pod gets only if it asks for it."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        "automountServiceAccountToken": False,
    }


def make_ca_config_map(namespace: str, pem: str) -> Manifest:
    """Return the ConfigMap with the certificate authorities that this network needs.

    It bears a digest of them: all that a system trusts is a fifth of a megabyte.
    """
    made = _core("ConfigMap", CA_CONFIG_MAP, namespace, data={CA_KEY: pem})
    digest = hashlib.sha256(pem.encode()).hexdigest()[:32]
    made["metadata"]["annotations"] = {DIGEST_ANNOTATION: digest}
    return made
