"""What each account may do on this cluster: deploy/RIGHTS.md, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from deploy.person import Person
from kfspawner.labels import MEMBERS_ANNOTATION
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Profiles
from tests.rights import CLUSTER, PROFILE, Right, expand, read_grants, read_roles

HUB_NAMESPACE = "kfspawner"
ROLES = {
    role: frozenset[Right]().union(*(row.rights for row in rows))
    for role, rows in read_roles().items()
}
# What a Kubernetes cluster lets everyone ask who signed in: who they are, and what they may do.
EVERYONE = expand(
    [
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": ["create"],
        },
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"],
            "verbs": ["create"],
        },
    ]
)
PEOPLE = {"its owner": "olga", "an admin of it": "ann", "an editor of it": "ed"}
PEOPLE["a viewer of it"] = "vi"
ACCOUNTS = (
    "kfspawner/hub",
    "kfspawner/controller",
    "kfspawner/proxy",
    "kfspawner-homes/provisioner",
    "default-editor",
    "default-viewer",
)
WHO = (*ACCOUNTS, *PEOPLE)
PLACES = ("the profile", "another profile", HUB_NAMESPACE, "kube-system", "default")


@dataclass(frozen=True)
class Two:
    """Two Profiles: the people of the first have nothing in the second."""

    own: str
    other: str

    def namespace(self, place: str) -> str:
        """Return the namespace that a place is."""
        return {"the profile": self.own, "another profile": self.other}.get(place, place)

    def user(self, who: str) -> str:
        """Return what the API server calls somebody of the page."""
        if who in PEOPLE:
            return PEOPLE[who]
        namespace, _, name = who.rpartition("/")
        return f"system:serviceaccount:{namespace or self.own}:{name}"


@pytest.fixture(scope="module")
def two(profiles: Profiles) -> Two:
    """Two Profiles."""
    members = '{"ann": "admin", "ed": "edit", "vi": "view"}'
    return Two(profiles.new("olga", {MEMBERS_ANNOTATION: members}), profiles.new("somebody-else"))


def documented(who: str, place: str) -> frozenset[Right]:
    """Return what the page says that somebody may do in a place."""
    rights = frozenset[Right]()
    for grant in read_grants():
        # The hub is bound in every Profile; all others in their own.
        inside = place == PROFILE or (grant.who == "kfspawner/hub" and place == "another profile")
        if grant.who == who and (grant.where == CLUSTER or (grant.where == PROFILE and inside)):
            rights |= ROLES[grant.role]
    return rights


def allowed(cluster: Cluster, user: str, namespace: str) -> frozenset[Right]:
    """Return what ``kubectl auth can-i --list`` tells somebody, but what everyone may ask."""
    reviews = client.AuthorizationV1Api(cluster.acting_as(user).core.api_client)
    review = reviews.create_self_subject_rules_review({"spec": {"namespace": namespace}})
    assert not review.status.incomplete
    rules: list[Mapping[str, Any]] = cluster.plain(review.status)["resourceRules"]
    return expand(rules) - EVERYONE


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("who", WHO)
def test_everyone_may_do_what_the_page_says_and_nothing_else(
    who: str, place: str, two: Two, cluster: Cluster
) -> None:
    found = allowed(cluster, two.user(who), two.namespace(place))
    assert found == documented(who, place)


def test_the_page_speaks_of_these_and_of_nobody_else() -> None:
    assert {grant.who for grant in read_grants()} == set(WHO) - {"kfspawner/proxy"}


def test_nothing_of_ours_is_bound_to_everybody(cluster: Cluster) -> None:
    rbac = client.RbacAuthorizationV1Api(cluster.core.api_client)
    bindings = [
        *rbac.list_cluster_role_binding().items,
        *rbac.list_role_binding_for_all_namespaces().items,
    ]
    ours = [it for it in bindings if it.role_ref.name in ROLES]
    assert {it.role_ref.name for it in ours} == set(ROLES)
    subjects = [subject for it in ours for subject in it.subjects]
    assert not [it.name for it in subjects if it.kind == "Group" and it.name.startswith("system:")]


def test_the_hub_writes_nothing_in_the_clusters_own_namespace(cluster: Cluster) -> None:
    administrator, hub = cluster, cluster.acting_as("system:serviceaccount:kfspawner:hub")
    metadata = {"metadata": {"name": "from-the-hub"}}
    pod = {**metadata, "spec": {"containers": [{"name": "main", "image": "example/main"}]}}
    for write, manifest in (
        ("create_namespaced_config_map", metadata),
        ("create_namespaced_secret", metadata),
        ("create_namespaced_pod", pod),
        ("create_namespaced_persistent_volume_claim", metadata),
    ):
        with pytest.raises(ApiException) as refused:
            getattr(hub.core, write)("kube-system", manifest, dry_run="All")
        assert refused.value.status == 403
        if "claim" not in write:
            # It is the right that is missing, and nothing else.
            getattr(administrator.core, write)("kube-system", manifest, dry_run="All")


@pytest.mark.parametrize("name", ["kube-system", "default", HUB_NAMESPACE])
def test_the_controller_binds_only_in_profiles(name: str, two: Two, cluster: Cluster) -> None:
    controller = cluster.acting_as("system:serviceaccount:kfspawner:controller")
    rbac = client.RbacAuthorizationV1Api(controller.core.api_client)
    binding = {
        "metadata": {"name": "from-the-controller"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "kubeflow-edit",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": name}],
    }
    # RBAC would let it: the admission policy does not.
    with pytest.raises(ApiException, match="the controller"):
        rbac.create_namespaced_role_binding(name, binding, dry_run="All")
    rbac.create_namespaced_role_binding(two.own, binding, dry_run="All")
    binding["roleRef"] = {**binding["roleRef"], "name": "cluster-admin"}  # type: ignore[dict-item]
    with pytest.raises(ApiException, match="attempting to grant RBAC permissions"):
        rbac.create_namespaced_role_binding(two.own, binding, dry_run="All")


def test_the_token_in_a_notebook_is_that_account(person: Person) -> None:
    code = (
        "from kubernetes import client, config\n"
        "config.load_incluster_config()\n"
        "def status(call, *args):\n"
        "    try: return call(*args) and 200\n"
        "    except client.ApiException as error: return error.status\n"
        "core, batch = client.CoreV1Api(), client.BatchV1Api()\n"
        f"print(status(batch.list_namespaced_job, {namespace_name(person.name)!r}),\n"
        "      status(batch.list_namespaced_job, 'kfspawner'),\n"
        "      status(core.list_namespaced_secret, 'kfspawner'))"
    )
    with person.kernel() as kernel:
        assert kernel.execute(code).text == "200 403 403\n"
