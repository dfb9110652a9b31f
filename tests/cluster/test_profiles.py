"""The controller on a real cluster: what stands where a Profile is, and stays as it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from statistics import median

import pytest
from kubernetes.client import ApiException

from kfspawner.labels import DELETE_FILES_ANNOTATION, OWNER_LABEL
from tests.cluster.children import EDITS, Child, children_of
from tests.cluster.cluster import Cluster, Object, condition_of, until
from tests.cluster.conftest import Profiles

ALICE = {"kind": "User", "name": "alice"}
QUOTA = {"hard": {"requests.cpu": "2", "requests.memory": "4Gi", "pods": "10"}}
ROLE = "arn:aws:iam::123456789012:role/vision"
CONTROLLER = "system:serviceaccount:kfspawner:controller"
# From a change to what is said of it.
SOON = 10


def reason(cluster: Cluster, profile: str, kind: str = "Ready") -> str:
    """Return the reason of a Profile's condition, empty if it has none."""
    return str(condition_of(cluster.profile(profile) or {}, kind).get("reason", ""))


def wait_reason(cluster: Cluster, profile: str, expected: str) -> Object:
    """Return the Ready condition once it gives that reason."""
    what = f"Profile {profile} says {expected}"
    until(lambda: reason(cluster, profile) == expected, what, SOON)
    return condition_of(cluster.profile(profile) or {}, "Ready")


def create(cluster: Cluster, name: str, owner: Object, **parts: Object) -> None:
    """Create a Profile, without waiting for what becomes of it."""
    annotations = parts.pop("annotations", {})
    metadata = {"name": name, "annotations": annotations}
    profile = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": metadata,
        "spec": {"owner": owner, **parts},
    }
    cluster.custom.create_cluster_custom_object("kubeflow.org", "v1", "profiles", profile)


def uids(cluster: Cluster, name: str) -> list[str]:
    """Return the uid of the namespace of that name, if there is one."""
    found = cluster.core.list_namespace(field_selector=f"metadata.name={name}")
    return [it.metadata.uid for it in found.items]


@pytest.fixture(scope="module")
def shared(profiles: Profiles) -> str:
    """A Profile with everything that a Profile can ask for."""
    annotations = {
        "kfspawner.io/members": '{"bob": "edit", "Carol Smith": "view"}',
        "kfspawner.io/default-limits": '{"cpu": "0.5", "memory": "512Mi"}',
    }
    plugin = {"kind": "AwsIamForServiceAccount", "spec": {"awsIamRole": ROLE}}
    return profiles.new(ALICE, annotations, resourceQuotaSpec=QUOTA, plugins=[plugin])


def test_every_child_comes_back(shared: str, cluster: Cluster) -> None:
    children = children_of(cluster, shared)
    assert {child.kind for child in children} >= EDITS.keys() - {"config_map"}
    assert len(children) >= 13

    seconds = []
    for child in children:
        seconds += [child.delete(), child.edit(), child.delete()]
    print(f"\n{len(seconds)} repairs: median {median(seconds):.2f} s, most {max(seconds):.2f} s")
    assert max(seconds) < SOON
    assert median(seconds) <= 2
    assert reason(cluster, shared) == "Ready"


def test_a_namespace_keeps_its_guard(shared: str, cluster: Cluster) -> None:
    guard = "pod-security.kubernetes.io/enforce"
    cluster.core.patch_namespace(shared, {"metadata": {"labels": {guard: "privileged"}}})

    def guarded() -> bool:
        return bool(cluster.core.read_namespace(shared).metadata.labels.get(guard) == "restricted")

    until(guarded, "the namespace is restricted again", SOON)


def test_others_labels_stay(shared: str, cluster: Cluster) -> None:
    policy = Child(cluster, shared, "network_policy", "default-deny")
    path = f"/apis/networking.k8s.io/v1/namespaces/{shared}/networkpolicies/default-deny"
    assert cluster.status_of(path, "PATCH", {"metadata": {"labels": {"team": "theirs"}}}) == 200
    policy.edit()

    assert policy.find()["metadata"]["labels"]["team"] == "theirs"


def test_a_new_quota_leaves_what_runs(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.new(ALICE, resourceQuotaSpec={"hard": {"pods": "5"}})
    sleep = ["python3", "-c", "import time; time.sleep(600)"]
    cluster.run_pod(name, "sleeper", cluster.images()["hub"], sleep)
    until(lambda: cluster.pod(name, "sleeper")["status"]["phase"] == "Running", "it runs", 120)
    before = cluster.pod(name, "sleeper")

    cluster.patch_profile(name, {"spec": {"resourceQuotaSpec": {"hard": {"pods": "1"}}}})
    quota = Child(cluster, name, "resource_quota", "kf-resource-quota")
    until(lambda: quota.find()["spec"] == {"hard": {"pods": "1"}}, "the quota is new", SOON)
    time.sleep(2)
    after = cluster.pod(name, "sleeper")
    assert after["metadata"] == before["metadata"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


TOO_MANY = json.dumps({f"person-{number}": "view" for number in range(10_000)})


@pytest.mark.parametrize(
    ("owner", "annotations", "expected"),
    [
        ({"kind": "ServiceAccount", "name": "robot"}, {}, "OwnerRefused"),
        ({"kind": "User", "name": "system:admin"}, {}, "OwnerRefused"),
        (ALICE, {"kfspawner.io/groups": '{"team": '}, "Malformed"),
        (ALICE, {"kfspawner.io/members": '{"bob": "emperor"}'}, "Malformed"),
        (ALICE, {"kfspawner.io/members": '{"system:admin": "edit"}'}, "Malformed"),
        (ALICE, {"kfspawner.io/default-limits": '{"cpu": "lots"}'}, "Malformed"),
        (ALICE, {"kfspawner.io/members": TOO_MANY}, "TooManyMembers"),
    ],
)
def test_a_bad_profile_says_why_and_gets_nothing(
    owner: Object, annotations: Object, expected: str, profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.name()
    create(cluster, name, owner, annotations=annotations)

    said = wait_reason(cluster, name, expected)
    assert said["status"] == "False"
    assert "; " in said["message"], "the way out"
    assert uids(cluster, name) == []


def test_a_malformed_quantity_is_refused_at_once(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.name()
    with pytest.raises(ApiException, match="hard") as refused:
        create(cluster, name, ALICE, resourceQuotaSpec={"hard": {"requests.cpu": "lots"}})
    assert refused.value.status == 422


def test_what_the_cluster_refuses_is_said(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.name()
    create(cluster, name, ALICE, resourceQuotaSpec={"hard": {"no such resource": "1"}})

    assert "no such resource" in wait_reason(cluster, name, "ApiError")["message"]
    # What it does not refuse is there.
    assert Child(cluster, name, "network_policy", "default-deny").find()
    cluster.patch_profile(name, {"spec": {"resourceQuotaSpec": {"hard": None}}})
    wait_reason(cluster, name, "Ready")


@pytest.fixture
def taken(profiles: Profiles, cluster: Cluster) -> Iterator[str]:
    """A namespace that somebody else made, with something in it."""
    name = profiles.name()
    cluster.make_namespace(name)
    kept = {"metadata": {"name": "theirs"}, "data": {"kept": "safe"}}
    cluster.core.create_namespaced_config_map(name, kept)
    # The cluster's own controllers come first.
    until(lambda: len(versions(cluster, name)) >= 4, "the namespace has its own objects")
    time.sleep(1)
    try:
        yield name
    finally:
        cluster.delete_namespace(name)


def versions(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return the version of a namespace, and of all that could be written in it."""
    found = {"namespace": cluster.core.read_namespace(namespace).metadata.resource_version}
    listed = [
        cluster.core.list_namespaced_config_map(namespace),
        cluster.core.list_namespaced_service_account(namespace),
        cluster.core.list_namespaced_resource_quota(namespace),
        cluster.core.list_namespaced_limit_range(namespace),
        cluster.network.list_namespaced_network_policy(namespace),
        cluster.rbac.list_namespaced_role_binding(namespace),
    ]
    for number, kind in enumerate(listed):
        for it in kind.items:
            found[f"{number} {it.metadata.name}"] = it.metadata.resource_version
    return found


def test_a_namespace_of_somebody_else_is_not_touched(taken: str, cluster: Cluster) -> None:
    before = versions(cluster, taken)
    create(cluster, taken, ALICE, resourceQuotaSpec=QUOTA)

    said = wait_reason(cluster, taken, "NamespaceTaken")
    assert f"kubectl label namespace {taken} {OWNER_LABEL}=alice" in said["message"]
    time.sleep(3)
    assert versions(cluster, taken) == before

    # Nor is it when the Profile goes.
    cluster.delete_profile(taken)
    until(lambda: cluster.profile(taken) is None, "the Profile is gone", SOON)
    time.sleep(1)
    assert versions(cluster, taken) == before


def test_a_namespace_is_adopted_with_its_owners_consent(taken: str, cluster: Cluster) -> None:
    cluster.core.patch_namespace(taken, {"metadata": {"labels": {OWNER_LABEL: "bob"}}})
    create(cluster, taken, ALICE)
    wait_reason(cluster, taken, "NamespaceTaken")

    cluster.core.patch_namespace(taken, {"metadata": {"labels": {OWNER_LABEL: "alice"}}})
    wait_reason(cluster, taken, "Ready")
    assert Child(cluster, taken, "config_map", "theirs").find()["data"] == {"kept": "safe"}
    assert Child(cluster, taken, "network_policy", "default-deny").find()


def test_plugins(profiles: Profiles, cluster: Cluster) -> None:
    plugins = [
        {"kind": "WorkloadIdentity", "spec": {"gcpServiceAccount": "x"}},
        {"kind": "AwsIamForServiceAccount", "spec": {"awsIamRole": ROLE}},
    ]
    name = profiles.new(ALICE, plugins=plugins)
    account = Child(cluster, name, "service_account", "default-editor")
    annotations = account.find()["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"] == ROLE
    assert reason(cluster, name, "Plugins") == "UnknownPlugin"
    unknown = condition_of(cluster.profile(name) or {}, "Plugins")
    assert "WorkloadIdentity" in unknown["message"]

    cluster.patch_profile(name, {"spec": {"plugins": []}})

    def taken_back() -> bool:
        return "eks.amazonaws.com/role-arn" not in account.find()["metadata"].get("annotations", {})

    until(taken_back, "the account has lost its role", SOON)
    until(lambda: not reason(cluster, name, "Plugins"), "no plugin is unknown", SOON)


def test_a_profile_goes_only_when_it_is_meant(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.new(ALICE)
    group = ("kubeflow.org", "v1", "profiles", name)
    with pytest.raises(ApiException) as refused:
        cluster.custom.delete_cluster_custom_object(*group)
    consent = f"kubectl annotate profile {name} {DELETE_FILES_ANNOTATION}={name}"
    assert consent in json.loads(refused.value.body)["message"]
    assert reason(cluster, name) == "Ready"

    for value in ("true", f"{name}s"):
        cluster.patch_profile(name, {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: value}}})
        with pytest.raises(ApiException):
            cluster.custom.delete_cluster_custom_object(*group)

    cluster.patch_profile(name, {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: name}}})
    cluster.custom.delete_cluster_custom_object(*group)
    until(lambda: cluster.profile(name) is None, "the Profile is gone")
    assert uids(cluster, name) == []


def test_a_profile_whose_consent_is_withdrawn_is_held(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.new(ALICE)
    # Something that is deleted more slowly keeps the Profile's end from being at once.
    held = {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: name}}}
    path = f"/apis/kubeflow.org/v1/profiles/{name}"
    cluster.patch_profile(name, held)
    assert cluster.status_of(f"{path}?dryRun=All", "DELETE") == 200
    cluster.patch_profile(name, {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: None}}})

    assert cluster.status_of(f"{path}?dryRun=All", "DELETE") == 422
    assert reason(cluster, name) == "Ready"


def test_a_namespace_deleted_by_hand_comes_back(profiles: Profiles, cluster: Cluster) -> None:
    name = profiles.new(ALICE, resourceQuotaSpec=QUOTA)
    (before,) = uids(cluster, name)
    said = {child: child.says() for child in children_of(cluster, name)}
    cluster.core.delete_namespace(name)

    def is_back() -> bool:
        return uids(cluster, name) not in ([], [before]) and reason(cluster, name) == "Ready"

    until(is_back, "the namespace is back")
    assert {child: child.says() for child in children_of(cluster, name)} == said


BINDING: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "mallory"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "kubeflow-edit",
    },
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
}


def as_controller(cluster: Cluster, method: str, path: str, body: Object | None = None) -> int:
    """Return the status of what the controller's account would get; nothing is done."""
    headers = {"Impersonate-User": CONTROLLER}
    return cluster.status_of(f"{path}?dryRun=All", method, body, headers)


def test_the_controller_writes_only_where_profiles_are(shared: str, cluster: Cluster) -> None:
    bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"
    assert as_controller(cluster, "POST", bindings.format(shared), BINDING) == 201
    for place in ("kube-system", "kube-public", "default", "kfspawner"):
        assert as_controller(cluster, "POST", bindings.format(place), BINDING) == 422
        assert as_controller(cluster, "DELETE", f"/api/v1/namespaces/{place}") in (403, 422)
        label = {"metadata": {"labels": {"kfspawner.io/profile": place}}}
        assert as_controller(cluster, "PATCH", f"/api/v1/namespaces/{place}", label) == 422

    powerful = {**BINDING, "roleRef": {**BINDING["roleRef"], "name": "cluster-admin"}}
    assert as_controller(cluster, "POST", bindings.format(shared), powerful) == 403


def test_the_controller_takes_no_namespace_without_consent(taken: str, cluster: Cluster) -> None:
    where = f"/api/v1/namespaces/{taken}"
    label = {
        "metadata": {
            "labels": {
                "kfspawner.io/profile": taken,
                "pod-security.kubernetes.io/enforce": "restricted",
            }
        }
    }
    assert as_controller(cluster, "PATCH", where, label) == 422
    assert as_controller(cluster, "DELETE", where) == 422
    config_map = {"metadata": {"name": "kfspawner-ca"}}
    assert as_controller(cluster, "POST", f"{where}/configmaps", config_map) == 422

    cluster.core.patch_namespace(taken, {"metadata": {"labels": {OWNER_LABEL: "alice"}}})
    assert as_controller(cluster, "PATCH", where, label) == 200
    free = {"metadata": {"labels": {"kfspawner.io/profile": taken}}}
    assert as_controller(cluster, "PATCH", where, free) == 200
    bare = {**label["metadata"]["labels"], "pod-security.kubernetes.io/enforce": "privileged"}
    assert as_controller(cluster, "PATCH", where, {"metadata": {"labels": bare}}) == 422
