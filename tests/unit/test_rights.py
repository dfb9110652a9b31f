"""deploy/RIGHTS.md and the manifests say the same, and it is not too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfspawner.profiles.manifests import make_children
from kfspawner.profiles.profile import Owner, Profile, Role
from kfspawner.profiles.surroundings import Surroundings
from tests.rights import CLUSTER, DOCUMENT, PROFILE, Grant, expand, read_grants, read_roles

DEPLOY = DOCUMENT.parent
ROLES = read_roles()
# Those that may write volumes: an admission policy keeps them to volumes on NFS.
KEPT_FROM_NODES = {"kfspawner-provisioner"}
BINDABLE = {"kubeflow-admin", "kubeflow-edit", "kubeflow-view", "kfspawner-hub-namespace"}
# Who these people are to the Profile below, as the page calls them.
PEOPLE = {
    "olga": "its owner",
    "ann": "an admin of it",
    "ed": "an editor of it",
    "vi": "a viewer of it",
}
TEAM = Profile(
    "team",
    Owner("User", "olga"),
    members={"ann": Role.ADMIN, "ed": Role.EDIT, "vi": Role.VIEW},
    uid="1",
)


def objects(*directories: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of the manifests in those directories of deploy/."""
    for directory in directories:
        paths: list[Path] = sorted((DEPLOY / directory).rglob("*.yaml"))
        assert paths, directory
        for path in paths:
            if path.name != "kustomization.yaml":
                yield from yaml.safe_load_all(path.read_text())


def name(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


BASE = list(objects("base", "homes", "overlays"))
CLUSTER_ROLES = {it["metadata"]["name"]: it for it in BASE if it["kind"] == "ClusterRole"}
CHILDREN = make_children(TEAM, Surroundings("kfspawner", "kfspawner/hub"))
BINDINGS = [it for it in (*BASE, *CHILDREN) if it["kind"] in ("RoleBinding", "ClusterRoleBinding")]


def grants(binding: Mapping[str, Any]) -> Iterator[Grant]:
    """Yield what a binding grants, in the words of the page."""
    where = CLUSTER
    if binding["kind"] == "RoleBinding":
        assert binding["metadata"]["namespace"] == TEAM.name
        where = PROFILE
    for subject in binding["subjects"]:
        who = subject["name"]
        if subject["kind"] == "ServiceAccount":
            home = subject["namespace"]
            who = who if home == TEAM.name else f"{home}/{who}"
        else:
            who = PEOPLE[who]
        yield Grant(who, binding["roleRef"]["name"], where)


def test_every_role_is_on_the_page_and_no_other() -> None:
    assert set(ROLES) == set(CLUSTER_ROLES)
    # Roles of one namespace would need a table of their own.
    assert not [it for it in BASE if it["kind"] == "Role"]
    assert not any("aggregationRule" in role for role in CLUSTER_ROLES.values())


@pytest.mark.parametrize("role", ROLES)
def test_every_rule_is_on_the_page_and_no_other(role: str) -> None:
    documented = frozenset[Any]().union(*(row.rights for row in ROLES[role]))

    assert documented == expand(CLUSTER_ROLES[role]["rules"])


@pytest.mark.parametrize("role", ROLES)
def test_every_rule_says_why_and_none_says_it_twice(role: str) -> None:
    rows = ROLES[role]

    assert all(row.why.endswith(".") for row in rows)
    assert sum(len(row.rights) for row in rows) == len(
        frozenset[Any]().union(*(row.rights for row in rows))
    )


def test_every_binding_is_on_the_page_and_no_other() -> None:
    made = [grant for binding in BINDINGS for grant in grants(binding)]

    assert sorted(made, key=str) == sorted(read_grants(), key=str)


def test_the_proxy_has_no_role_and_no_token() -> None:
    assert "`kfspawner/proxy` has no role, and no token" in DOCUMENT.read_text()
    (deployment,) = [
        it for it in objects("base") if it["kind"] == "Deployment" and name(it) == "proxy"
    ]
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("binding", BINDINGS, ids=name)
def test_nothing_is_bound_to_everybody_and_nobody_to_everything(binding: dict[str, Any]) -> None:
    assert binding["roleRef"]["kind"] == "ClusterRole"
    assert binding["roleRef"]["name"] in CLUSTER_ROLES
    for subject in binding["subjects"]:
        assert subject["kind"] in ("ServiceAccount", "User")
        assert not subject["name"].startswith("system:")


def test_who_writes_volumes_is_kept_to_nfs() -> None:
    policies = {
        name(it): it for it in objects("homes") if it["kind"] == "ValidatingAdmissionPolicy"
    }
    bound = {
        it["spec"]["policyName"]: it["spec"]["validationActions"]
        for it in objects("homes")
        if it["kind"] == "ValidatingAdmissionPolicyBinding"
    }

    for role in KEPT_FROM_NODES:
        policy = policies[role]["spec"]
        assert policy["failurePolicy"] == "Fail"
        assert any("has(it.spec.nfs)" in rule["expression"] for rule in policy["validations"])
        assert bound[role] == ["Deny"]


def test_what_a_component_adds_is_to_make_and_not_to_read() -> None:
    (path,) = (DEPLOY / "components").rglob("*.yaml")
    (patch,) = yaml.safe_load(path.read_text())["patches"]
    (added,) = yaml.safe_load(patch["patch"])
    rule = {"apiGroups": [""], "resources": ["secrets", "services"], "verbs": ["create"]}

    assert patch["target"] == {"kind": "ClusterRole", "name": "kfspawner-hub-namespace"}
    assert added == {"op": "add", "path": "/rules/-", "value": rule}
    assert "`secrets` and `services`, create" in DOCUMENT.read_text()


@pytest.mark.parametrize("role", CLUSTER_ROLES)
def test_no_rule_is_a_way_to_more(role: str) -> None:
    for rule in CLUSTER_ROLES[role]["rules"]:
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not [word for word in words if "*" in word]
        assert "nonResourceURLs" not in rule
        assert not {"escalate", "impersonate", "approve", "sign", "proxy"} & set(rule["verbs"])
        assert not {
            "secrets",
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/ephemeralcontainers",
            "nodes/proxy",
            "services/proxy",
            "pods/proxy",
            "serviceaccounts/token",
            "clusterrolebindings",
        } & set(rule["resources"])
        # A volume may be a directory of a node.
        assert "persistentvolumes" not in rule["resources"] or role in KEPT_FROM_NODES
        if "bind" in rule["verbs"]:
            assert rule["verbs"] == ["bind"]
            assert rule["resources"] == ["clusterroles"]
            assert rule["resourceNames"]
            assert set(rule["resourceNames"]) <= BINDABLE
