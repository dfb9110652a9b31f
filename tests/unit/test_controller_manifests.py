"""The controller's Deployment, its rights, and the admission rules that bound them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfspawner.labels import (
    DELETE_FILES_ANNOTATION,
    OWNER_LABEL,
    PROFILE_LABEL,
    USER_LABEL,
)
from kfspawner.profiles.manifests import CA_CONFIG_MAP, HUB_ROLE, POD_SECURITY, make_children
from kfspawner.profiles.mirror import CHILDREN, SURROUNDINGS
from kfspawner.profiles.profile import Owner, Profile, Role
from kfspawner.profiles.resources import RESOURCES
from kfspawner.profiles.seen import CONTENT
from kfspawner.profiles.surroundings import Surroundings

DEPLOY = Path(__file__).parents[2] / "deploy" / "base"
OBJECTS = {
    (document["kind"], document["metadata"]["name"]): document
    for name in ("controller", "rbac", "admission", "roles")
    for document in yaml.safe_load_all((DEPLOY / f"{name}.yaml").read_text())
}
RULES = OBJECTS["ClusterRole", "kfspawner-controller"]["rules"]
BOUND = {HUB_ROLE, *(role.cluster_role for role in Role)}


def may(kind: str) -> set[str]:
    """Return what the controller may do with objects of a kind."""
    resource = RESOURCES[kind]
    group = resource.group_version.rpartition("/")[0]
    found = (rule for rule in RULES if group in rule["apiGroups"])
    return {
        verb for rule in found if resource.plural in rule["resources"] for verb in rule["verbs"]
    }


def expressions(policy: str) -> str:
    spec = OBJECTS["ValidatingAdmissionPolicy", policy]["spec"]
    return " ".join(it["expression"] for it in spec["validations"])


def test_it_may_do_what_it_does_and_no_more() -> None:
    writing = {"create", "patch", "update", "delete"}
    for selection in CHILDREN:
        read = {"get"} if selection.kind == "RoleBinding" else set()
        assert may(selection.kind) == {"list", "watch", *writing, *read}
    assert may("Profile") == {"list", "watch", "patch"}
    assert may("Namespace") == {"get", "list", "watch", "create", "patch", "delete"}
    assert may("Node") == may("EndpointSlice") == {"list", "watch"}

    known = {RESOURCES[it.kind].plural for it in (*SURROUNDINGS, *CHILDREN)}
    named = {resource for rule in RULES for resource in rule["resources"]}
    assert named == {*known, "profiles", "profiles/status", "clusterroles"}


def test_it_reaches_no_secrets_and_no_pods_and_binds_four_roles() -> None:
    for rule in RULES:
        assert not {"secrets", "pods", "pods/exec"} & set(rule["resources"])
        assert not {"*", "escalate", "impersonate", "deletecollection"} & set(rule["verbs"])
    bound = [rule for rule in RULES if "bind" in rule["verbs"]]
    assert [set(rule["resourceNames"]) for rule in bound] == [BOUND]
    for name in BOUND:
        assert ("ClusterRole", name) in OBJECTS


def test_it_reads_and_writes_one_config_map_of_each_namespace() -> None:
    rules = [rule for rule in RULES if "configmaps" in rule["resources"]]

    named = {rule.get("resourceNames", [""])[0]: set(rule["verbs"]) for rule in rules}
    assert named == {"": {"create"}, CA_CONFIG_MAP: {"list", "watch", "patch", "update", "delete"}}
    (followed,) = [it for it in CHILDREN if it.kind == "ConfigMap"]
    assert followed.fields == f"metadata.name={CA_CONFIG_MAP}"


def test_all_that_a_profile_has_is_known_and_may_be_written() -> None:
    profile = Profile(
        "vision",
        Owner("User", "alice"),
        quota={"hard": {"pods": "1"}},
        members={"bob": Role.EDIT},
        default_limits={"cpu": "1"},
    )
    children = make_children(profile, Surroundings("hubs", "hubs/hub", ca="pem"))

    kinds = {child["kind"] for child in children}
    assert kinds == CONTENT.keys() == {"Namespace", *(it.kind for it in CHILDREN)}
    bindings = (child for child in children if child["kind"] == "RoleBinding")
    assert {binding["roleRef"]["name"] for binding in bindings} == BOUND
    for child in children:
        said = child.keys() - {"apiVersion", "kind", "metadata"}
        assert said <= set(CONTENT[child["kind"]])


def test_admission_bounds_all_that_it_may_write() -> None:
    policy = OBJECTS["ValidatingAdmissionPolicy", "kfspawner-controller"]["spec"]
    bounded = {
        pair
        for rule in policy["matchConstraints"]["resourceRules"]
        for pair in itertools.product(rule["apiGroups"], rule["resources"])
    }
    writable = {
        pair
        for rule in RULES
        if {"create", "update", "delete"} & set(rule["verbs"])
        for pair in itertools.product(rule["apiGroups"], rule["resources"])
    }
    assert bounded == writable
    (condition,) = policy["matchConditions"]
    (subject,) = OBJECTS["ClusterRoleBinding", "kfspawner-controller"]["subjects"]
    user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    assert condition["expression"] == f"request.userInfo.username == '{user}'"
    assert policy["failurePolicy"] == "Fail"


def test_admission_knows_the_labels_that_are_written() -> None:
    rules = expressions("kfspawner-controller")

    for label in (PROFILE_LABEL, OWNER_LABEL, USER_LABEL):
        assert f"'{label}'" in rules
    assert (
        "variables.labels[?'pod-security.kubernetes.io/enforce'].orValue('') == 'restricted'"
        in (rules)
    )
    assert POD_SECURITY["pod-security.kubernetes.io/enforce"] == "restricted"
    assert f"annotations[?'{DELETE_FILES_ANNOTATION}']" in expressions("kfspawner-profiles")


@pytest.mark.parametrize("policy", ["kfspawner-profiles", "kfspawner-controller"])
def test_admission_is_in_force(policy: str) -> None:
    spec = OBJECTS["ValidatingAdmissionPolicyBinding", policy]["spec"]

    assert spec == {"policyName": policy, "validationActions": ["Deny"]}


def test_its_pod_passes_pod_security_restricted_and_is_small() -> None:
    deployment: dict[str, Any] = OBJECTS["Deployment", "controller"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]

    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "volumes" not in pod
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "150Mi"}
    assert OBJECTS["ServiceAccount", "controller"]["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is True


def test_nobody_reaches_it_and_it_reaches_the_api() -> None:
    spec = OBJECTS["NetworkPolicy", "controller"]["spec"]

    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6443}
