"""A full quota refuses servers and runs at once: who uses it, what would fit, and nothing left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest

from deploy.errors import DeployError
from deploy.kernel import Kernel
from deploy.person import Person
from kfspawner.labels import MEMBERS_ANNOTATION, RUN_LABEL
from kfspawner.quantity import read_quantity, show_bytes
from tests.cluster.cluster import Cluster, Object, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.leftovers import Left, check_paragraph
from tests.cluster.test_bad_input import SMALL

GPU = "requests.nvidia.com/gpu"
MEMORY = "requests.memory"
AT_ONCE = 10.0


@dataclass(frozen=True)
class Team:
    """A profile with one GPU, its owner, whose server has that, and a member."""

    profile: str
    owner: Person
    member: Person


@pytest.fixture(scope="module")
def team(people: People, profiles: Profiles) -> Team:
    """Two people of one profile: the first has its only GPU."""
    owner, member = people.new(), people.new()
    members = {MEMBERS_ANNOTATION: json.dumps({member.name: "edit"})}
    quota = {"hard": {GPU: "1", MEMORY: "2Gi"}}
    name = profiles.new(owner.name, members, resourceQuotaSpec=quota)
    owner.spawn({"profile": name, "image_profile": "gpu"})
    return Team(name, owner, member)


@pytest.fixture(scope="module")
def kernel(team: Team) -> Iterator[Kernel]:
    """A kernel of the owner's server."""
    with team.owner.kernel() as connected:
        yield connected


def refusal(person: Person, options: Object) -> str:
    """Return why a server of `options` is not started; fail if it is."""
    try:
        person.spawn(options)
    except DeployError as error:
        return str(error)
    pytest.fail(f"{person.name} has a server of {options}")


def names(cluster: Cluster, namespace: str, selector: str = "") -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in cluster.pods(namespace, selector)}


def used(cluster: Cluster, namespace: str) -> Fraction:
    """Return how much memory the profile's quota counts as used."""
    quota = cluster.core.read_namespaced_resource_quota("kf-resource-quota", namespace)
    return read_quantity(quota.status.used[MEMORY])


def test_the_second_gpu_server_is_refused_at_once(team: Team, cluster: Cluster) -> None:
    before = names(cluster, team.profile)
    begun = time.monotonic()
    said = refusal(team.member, {"profile": team.profile, "image_profile": "gpu"})
    assert time.monotonic() - begun < AT_ONCE
    assert f"the quota of profile {team.profile} leaves too little GPU" in said
    assert f"1 asked for, 1 of 1 in use by {team.owner.name}'s server; 0 would fit" in said
    assert "stop a server" in said
    assert names(cluster, team.profile) == before
    assert not team.member.running()


def test_what_fits_is_started(team: Team, cluster: Cluster) -> None:
    team.member.spawn({"profile": team.profile, "image_profile": "cpu"})
    assert len(cluster.pods(team.profile, "component=singleuser-server")) == 2
    team.member.stop()
    until(
        lambda: len(cluster.pods(team.profile, "component=singleuser-server")) == 1,
        "the member's server is gone",
    )


def test_a_run_on_a_gpu_that_is_taken_is_refused_at_once(
    team: Team, kernel: Kernel, cluster: Cluster
) -> None:
    before = Left.now(team.owner, cluster, kernel, team.profile)
    begun = time.monotonic()
    refused = kernel.execute(f"%%kf run --name second-gpu {SMALL} --gpu 1\nprint(1)")
    assert time.monotonic() - begun < AT_ONCE
    words = f"1 of 1 in use by {team.owner.name}'s server; 0 would fit"
    check_paragraph(refused, "ClusterDenied", "creating run second-gpu", "too little GPU", words)
    assert Left.now(team.owner, cluster, kernel, team.profile) == before


def test_a_run_over_the_memory_is_told_what_would_fit(
    team: Team, kernel: Kernel, cluster: Cluster
) -> None:
    before = Left.now(team.owner, cluster, kernel, team.profile)
    (container,) = cluster.server_pod(team.profile)["spec"]["containers"]
    held = read_quantity(container["resources"]["requests"]["memory"])
    until(lambda: used(cluster, team.profile) == held, "the quota counts the one server alone")
    begun = time.monotonic()
    refused = kernel.execute("%%kf run --name large --cpu 200m --memory 4Gi\nprint(1)")
    assert time.monotonic() - begun < AT_ONCE
    check_paragraph(
        refused,
        "ClusterDenied",
        f"the quota of profile {team.profile} leaves too little memory: 4Gi asked for",
        f"{show_bytes(held)} of 2Gi in use by {team.owner.name}'s server; "
        f"{show_bytes(2 * 2**30 - held)} would fit",
    )
    assert Left.now(team.owner, cluster, kernel, team.profile) == before
    assert not names(cluster, team.profile, RUN_LABEL)


def test_what_would_fit_fits(team: Team, kernel: Kernel, cluster: Cluster) -> None:
    execution = kernel.execute(f"%%kf run --name fits {SMALL}\nprint('fits')")
    assert not execution.error, execution.text
    assert "fits" in Left.now(team.owner, cluster, kernel, team.profile).jobs


def test_a_quota_that_shows_only_then_leaves_no_run(
    team: Team, kernel: Kernel, cluster: Cluster
) -> None:
    # One by scopes is not foreseen, just as one that fills up meanwhile.
    spec = {"hard": {"requests.cpu": "1m"}, "scopes": ["NotBestEffort"]}
    body = {"metadata": {"name": "late"}, "spec": spec}
    cluster.core.create_namespaced_resource_quota(team.profile, body)
    try:
        until(
            lambda: cluster.core.read_namespaced_resource_quota("late", team.profile).status.used,
            "the quota is counted",
        )
        before = Left.now(team.owner, cluster, kernel, team.profile)
        begun = time.monotonic()
        refused = kernel.execute(f"%%kf run --name late {SMALL}\nprint(1)")
        assert time.monotonic() - begun < AT_ONCE
        check_paragraph(refused, "ClusterDenied", "the quota late", "200m asked for")
        after = Left.now(team.owner, cluster, kernel, team.profile)
        assert (after.jobs, after.outputs) == (before.jobs, before.outputs)
        assert not names(cluster, team.profile, f"{RUN_LABEL}=late")
    finally:
        cluster.core.delete_namespaced_resource_quota("late", team.profile)
