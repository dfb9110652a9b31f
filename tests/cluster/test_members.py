"""Who may start a server in a profile: its owner, members and groups, each by their role."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from kubernetes.client import ApiException

from deploy.person import Person, Refused
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, Object, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub

# From a change in the cluster, or of a group, to the next page.
SOON = 5


def make_binding(person: Person, role: str, cluster_role: str = "") -> Object:
    """Return what makes a person a member, as Kubeflow's access management writes it."""
    return {
        "metadata": {
            "name": f"user-{person.name}-clusterrole-{role}",
            "annotations": {"user": person.name, "role": role},
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": cluster_role or f"kubeflow-{role}",
        },
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person.name}
        ],
    }


def is_offered(person: Person, profile: str) -> bool:
    """Say whether the spawn page lets a person choose a profile."""
    page = person.send("GET", "/hub/spawn", "opening the spawn page").text
    return f'value="{profile}"' in page


def check_starts(person: Person, profile: str, cluster: Cluster) -> None:
    """Check that a server of this person starts in a profile, and stop it."""
    person.start({"image_profile": "cpu", "profile": profile})
    try:
        until(lambda: pods_of(person, profile, cluster), "there is a pod")
    finally:
        person.stop()
    until(lambda: not pods_of(person, profile, cluster), "the pod is gone")


def check_refused(person: Person, profile: str, cluster: Cluster, *said: str) -> None:
    """Check that a person starts nothing in a profile, and is told why."""
    with pytest.raises(Refused) as refused:
        person.start({"image_profile": "cpu", "profile": profile})
    assert refused.value.status == 400
    for part in (profile, "; ", *said):
        assert part in refused.value.message
    assert "Traceback" not in refused.value.message
    assert not person.running()
    assert not pods_of(person, profile, cluster)


def pods_of(person: Person, profile: str, cluster: Cluster) -> list[Object]:
    """Return the pods of a person's servers in a profile."""
    return cluster.pods(profile, f"kfspawner.io/user={person.name}")


@pytest.fixture(scope="module")
def owner(people: People) -> Person:
    """Who owns the team's profile."""
    return people.new()


@pytest.fixture(scope="module")
def group(hub: Hub) -> Iterator[str]:
    """A JupyterHub group, empty."""
    name = f"test-{secrets.token_hex(2)}"
    hub.call("POST", f"groups/{name}").raise_for_status()
    try:
        yield name
    finally:
        hub.call("DELETE", f"groups/{name}").raise_for_status()


@pytest.fixture(scope="module")
def team(owner: Person, group: str, profiles: Profiles) -> str:
    """A profile that people share; the group may look, spawn and run."""
    return profiles.new(owner.name, {"kfspawner.io/groups": f'{{"{group}": "edit"}}'})


def test_the_owner_starts_a_server(owner: Person, team: str, cluster: Cluster) -> None:
    until(lambda: is_offered(owner, team), "the owner may choose the profile", SOON)
    check_starts(owner, team, cluster)


def test_nobody_else_is_offered_it(people: People, team: str, cluster: Cluster) -> None:
    stranger = people.new()
    assert not is_offered(stranger, team)
    check_refused(stranger, team, cluster)
    # The control: a profile of one's own is.
    assert is_offered(stranger, namespace_name(stranger.name))


def test_a_profile_that_is_not_there_is_refused(people: People, cluster: Cluster) -> None:
    person = people.new()
    check_refused(person, "nowhere", cluster)
    check_refused(person, "kube-system", cluster)


def test_a_member_by_role_binding_until_it_is_removed(
    people: People, team: str, cluster: Cluster
) -> None:
    member = people.new()
    check_refused(member, team, cluster)
    binding = make_binding(member, "edit")
    cluster.rbac.create_namespaced_role_binding(team, binding)
    until(lambda: is_offered(member, team), "the member may choose the profile", SOON)
    check_starts(member, team, cluster)

    cluster.rbac.delete_namespaced_role_binding(binding["metadata"]["name"], team)
    until(lambda: not is_offered(member, team), "the person may not choose it any more", SOON)
    check_refused(member, team, cluster)


def test_a_viewer_is_refused_a_server(people: People, team: str, cluster: Cluster) -> None:
    viewer = people.new()
    cluster.rbac.create_namespaced_role_binding(team, make_binding(viewer, "view"))

    def said() -> str:
        with pytest.raises(Refused) as refused:
            viewer.start({"image_profile": "cpu", "profile": team})
        return refused.value.message

    # Not what strangers are told.
    until(lambda: "view" in said(), "the hub knows the viewer", SOON)
    check_refused(viewer, team, cluster, "view", "edit")


def test_a_binding_of_another_role_than_it_says_makes_no_member(
    people: People, team: str, cluster: Cluster
) -> None:
    liar, member = people.new(), people.new()
    lie = make_binding(liar, "edit", cluster_role="kubeflow-view")
    cluster.rbac.create_namespaced_role_binding(team, lie)
    # The control: what is written after it, and is true, has been noted.
    cluster.rbac.create_namespaced_role_binding(team, make_binding(member, "edit"))
    until(lambda: is_offered(member, team), "the member may choose the profile", SOON)
    assert not is_offered(liar, team)
    check_refused(liar, team, cluster)


def test_a_member_by_group_until_they_leave_it(
    people: People, team: str, group: str, hub: Hub, cluster: Cluster
) -> None:
    member = people.new()
    check_refused(member, team, cluster)
    users = {"users": [member.name]}
    hub.call("POST", f"groups/{group}/users", json=users).raise_for_status()
    until(lambda: is_offered(member, team), "the member may choose the profile", SOON)
    check_starts(member, team, cluster)

    hub.call("DELETE", f"groups/{group}/users", json=users).raise_for_status()
    until(lambda: not is_offered(member, team), "the person may not choose it any more", SOON)
    check_refused(member, team, cluster)


def test_an_admin_makes_members_of_their_own_profile_and_no_other(
    owner: Person, people: People, team: str, profiles: Profiles, cluster: Cluster
) -> None:
    member = people.new()
    elsewhere = profiles.new(member.name)
    # With the Kubernetes identity of the same name.
    rbac = cluster.acting_as(owner.name).rbac
    rbac.create_namespaced_role_binding(team, make_binding(member, "edit"))
    until(lambda: is_offered(member, team), "the member may choose the profile", SOON)

    with pytest.raises(ApiException, match="cannot create resource") as refused:
        rbac.create_namespaced_role_binding(elsewhere, make_binding(owner, "admin"))
    assert refused.value.status == 403
    # In their own, too, nothing is bound but the three roles.
    for role in ("cluster-admin", "edit", "kfspawner-hub-namespace"):
        taken = make_binding(owner, "admin", cluster_role=role)
        taken["metadata"]["name"] = f"taken-{role}"
        with pytest.raises(ApiException, match="attempting to grant") as refused:
            rbac.create_namespaced_role_binding(team, taken)
        assert refused.value.status == 403
    # An editor makes nobody a member.
    with pytest.raises(ApiException, match="cannot create resource"):
        cluster.acting_as(member.name).rbac.create_namespaced_role_binding(
            team, make_binding(member, "admin")
        )


def test_two_servers_of_one_person_in_two_profiles(
    people: People, profiles: Profiles, hub: Hub, cluster: Cluster
) -> None:
    person = people.new()
    own, shared = namespace_name(person.name), profiles.new(person.name)
    second = person.named("second")
    until(lambda: is_offered(person, shared), "the owner may choose the profile", SOON)
    person.spawn({"image_profile": "cpu"})
    second.spawn({"image_profile": "cpu", "profile": shared})

    def uids() -> list[str]:
        pods = (pods_of(person, profile, cluster) for profile in (own, shared))
        return [str(pod["metadata"]["uid"]) for (pod,) in pods]

    before = uids()
    namespace = "import os; print(os.environ['KFSPAWNER_NAMESPACE'])"
    for server, profile in ((person, own), (second, shared)):
        with server.kernel() as kernel:
            assert kernel.execute(namespace).text == f"{profile}\n"

    hub.restart()
    hub.wait(90)

    for server in (person, second):
        until(server.running, "the hub knows the server")
        assert server.server("GET", "api/status").json()["kernels"] == 0
    assert uids() == before
    second.stop()
    until(lambda: not pods_of(person, shared, cluster), "the second server's pod is gone")
    assert person.running()
    assert pods_of(person, own, cluster)
