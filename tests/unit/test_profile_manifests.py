"""Profile -> everything in its namespace, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfspawner.names import member_binding_name, slug
from kfspawner.profiles.manifests import make_children, owner_label
from kfspawner.profiles.members import read_member
from kfspawner.profiles.profile import Owner, Profile, Role, read_declared
from kfspawner.profiles.surroundings import Surroundings
from kfspawner.quota import PROFILE_QUOTA

SURROUNDINGS = Surroundings("hubs", "hubs/hub-1", ca="-----BEGIN CERTIFICATE-----")
VISION = replace(
    read_declared(
        "vision",
        {
            "owner": "Ada Lovelace",
            "members": {"bob": "edit", "eve@example.org": "view"},
            "groups": {"team": "edit"},
            "quota": {"requests.cpu": "8000m", "requests.nvidia.com/gpu": 1},
            "default_limits": {"cpu": 1, "memory": "1024Mi"},
            "plugins": [{"kind": "AwsIamForServiceAccount", "spec": {"awsIamRole": "arn"}}],
        },
    ),
    uid="1-2-3",
)
EVES = member_binding_name("eve@example.org", "view")
BARE = Profile("vision", Owner("User", "alice"), uid="1-2-3")
BASE = Path(__file__).parents[2] / "deploy" / "base"
ROLES = {
    role["metadata"]["name"]: role for role in yaml.safe_load_all((BASE / "roles.yaml").read_text())
}

Children = dict[tuple[str, str], dict[str, Any]]


def children(profile: Profile, surroundings: Surroundings = SURROUNDINGS) -> Children:
    made = make_children(profile, surroundings)
    named = {(child["kind"], child["metadata"]["name"]): child for child in made}
    assert len(named) == len(made)
    return named


def test_a_profile_has_all_of_these() -> None:
    assert list(children(VISION)) == [
        ("Namespace", "vision"),
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "openings"),
        ("NetworkPolicy", "servers"),
        ("RoleBinding", "kfspawner-hub-namespace"),
        ("ConfigMap", "kfspawner-ca"),
        ("ServiceAccount", "default-editor"),
        ("ServiceAccount", "default-viewer"),
        ("RoleBinding", "default-editor"),
        ("RoleBinding", "default-viewer"),
        ("RoleBinding", "namespaceAdmin"),
        ("RoleBinding", "user-bob-clusterrole-edit"),
        ("RoleBinding", EVES),
        ("ResourceQuota", "kf-resource-quota"),
        ("LimitRange", "kfspawner"),
    ]


def test_what_is_not_asked_for_is_not_made() -> None:
    made = children(BARE, replace(SURROUNDINGS, ca=""))

    assert set(children(VISION)) - set(made) == {
        ("ConfigMap", "kfspawner-ca"),
        ("RoleBinding", "user-bob-clusterrole-edit"),
        ("RoleBinding", EVES),
        ("ResourceQuota", "kf-resource-quota"),
        ("LimitRange", "kfspawner"),
    }
    assert "annotations" not in made["ServiceAccount", "default-editor"]["metadata"]


def test_the_namespace_says_whose_it_is() -> None:
    assert children(VISION)["Namespace", "vision"]["metadata"] == {
        "name": "vision",
        "labels": {
            "app.kubernetes.io/managed-by": "kfspawner",
            "kfspawner.io/profile": "vision",
            "kfspawner.io/owner": slug("Ada Lovelace"),
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        },
        "annotations": {"owner": "Ada Lovelace", "kfspawner.io/profile-uid": "1-2-3"},
    }
    assert owner_label(VISION.owner) == slug("Ada Lovelace")


def test_a_group_is_not_the_person_of_its_name() -> None:
    assert owner_label(Owner("User", "leads")) == "leads"
    assert owner_label(Owner("Group", "leads")) == "group.leads"
    assert len(owner_label(Owner("Group", "l" * 255))) <= 63


@pytest.mark.parametrize("profile", [VISION, BARE])
def test_everything_is_in_the_namespace_and_marked_as_ours(profile: Profile) -> None:
    for (kind, _), child in children(profile).items():
        metadata = child["metadata"]
        assert metadata.get("namespace") == (None if kind == "Namespace" else "vision")
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "kfspawner"
        # A Profile that goes takes nothing along by itself.
        assert "ownerReferences" not in metadata


def test_quota_and_limits_are_written_as_the_server_does() -> None:
    made = children(VISION)

    assert made["ResourceQuota", PROFILE_QUOTA]["spec"] == {
        "hard": {"requests.cpu": "8", "requests.nvidia.com/gpu": "1"}
    }
    limits = {"cpu": "1", "memory": "1Gi"}
    assert made["LimitRange", "kfspawner"]["spec"] == {
        "limits": [{"type": "Container", "default": limits, "defaultRequest": limits}]
    }


def test_accounts_hand_out_no_token_unasked() -> None:
    made = children(VISION)

    assert made["ServiceAccount", "default-editor"] == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "default-editor",
            "namespace": "vision",
            "labels": {"app.kubernetes.io/managed-by": "kfspawner"},
            "annotations": {"eks.amazonaws.com/role-arn": "arn"},
        },
        "automountServiceAccountToken": False,
    }
    viewer = made["ServiceAccount", "default-viewer"]
    assert viewer["automountServiceAccountToken"] is False
    assert "annotations" not in viewer["metadata"]


RBAC = "rbac.authorization.k8s.io"


@pytest.mark.parametrize(
    ("name", "role", "subject"),
    [
        (
            "kfspawner-hub-namespace",
            "kfspawner-hub-namespace",
            {"kind": "ServiceAccount", "name": "hub-1", "namespace": "hubs"},
        ),
        (
            "default-editor",
            "kubeflow-edit",
            {"kind": "ServiceAccount", "name": "default-editor", "namespace": "vision"},
        ),
        (
            "default-viewer",
            "kubeflow-view",
            {"kind": "ServiceAccount", "name": "default-viewer", "namespace": "vision"},
        ),
        (
            "namespaceAdmin",
            "kubeflow-admin",
            {"apiGroup": RBAC, "kind": "User", "name": "Ada Lovelace"},
        ),
        (
            "user-bob-clusterrole-edit",
            "kubeflow-edit",
            {"apiGroup": RBAC, "kind": "User", "name": "bob"},
        ),
    ],
)
def test_who_may_do_what_in_it(name: str, role: str, subject: Mapping[str, str]) -> None:
    binding = children(VISION)["RoleBinding", name]

    assert binding["roleRef"] == {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    assert binding["subjects"] == [subject]


def test_only_declared_people_are_members_by_their_binding() -> None:
    bindings = [child for (kind, _), child in children(VISION).items() if kind == "RoleBinding"]
    members = filter(None, map(read_member, bindings))

    assert {member.user: member.role for member in members} == VISION.members
    assert VISION.members == {"bob": Role.EDIT, "eve@example.org": Role.VIEW}


def test_kubeflow_finds_the_owner() -> None:
    owned = children(VISION)["RoleBinding", "namespaceAdmin"]

    assert owned["metadata"]["annotations"] == {"user": "Ada Lovelace", "role": "admin"}


def test_a_group_owns_by_its_subject() -> None:
    profile = replace(VISION, owner=Owner("Group", "leads"))
    owned = children(profile)["RoleBinding", "namespaceAdmin"]

    assert owned["subjects"] == [{"apiGroup": RBAC, "kind": "Group", "name": "leads"}]
    assert "annotations" not in owned["metadata"]


def test_beside_kubeflow_there_are_walls_and_the_hub() -> None:
    made = children(VISION, replace(SURROUNDINGS, walls_only=True))

    assert list(made) == [
        ("Namespace", "vision"),
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "openings"),
        ("NetworkPolicy", "servers"),
        ("RoleBinding", "kfspawner-hub-namespace"),
        ("ConfigMap", "kfspawner-ca"),
    ]
    # Whose it is, Kubeflow's own controller says.
    assert made["Namespace", "vision"]["metadata"] == {
        "name": "vision",
        "labels": {
            "kfspawner.io/profile": "vision",
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        },
    }


def rules(role: str) -> set[tuple[str, str, str, str]]:
    """Return what a ClusterRole may do, as (group, resource, name or "", verb)."""
    return {
        (group, resource, name, verb)
        for rule in ROLES[role]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def test_every_role_can_be_bound() -> None:
    assert set(ROLES) == {role.cluster_role for role in Role}
    assert all("aggregationRule" not in role for role in ROLES.values())


def test_each_role_may_do_what_the_one_before_it_may() -> None:
    view, edit, admin = (rules(role.cluster_role) for role in Role)

    assert {verb for *_, verb in view} == {"get", "list", "watch"}
    assert edit - view == {("batch", "jobs", "", verb) for verb in ("create", "patch", "delete")}
    assert view < edit < admin
    assert {(group, resource) for group, resource, *_ in admin - edit} == {
        (RBAC, "rolebindings"),
        (RBAC, "clusterroles"),
    }


def test_an_admin_hands_out_the_three_roles_and_no_other() -> None:
    bound = {
        (resource, name)
        for _, resource, name, verb in rules("kubeflow-admin")
        if verb in {"bind", "escalate", "impersonate", "*"}
    }

    assert bound == {("clusterroles", role.cluster_role) for role in Role}


@pytest.mark.parametrize("role", list(Role))
def test_no_member_reads_secrets_or_enters_pods(role: Role) -> None:
    for group, resource, _, verb in rules(role.cluster_role):
        assert "*" not in (group, resource, verb)
        assert resource not in {"secrets", "pods/exec", "pods/attach", "serviceaccounts/token"}
        assert resource != "pods" or verb in {"get", "list", "watch"}
