"""A server's pod is lost: the hub knows, its files stay, and the next start works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from deploy.errors import DeployError
from deploy.person import Person
from kfspawner.labels import DEFAULT_LIMITS_ANNOTATION
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People, Profiles
from tests.faults.servers import CPU, KNOWN_SECONDS, known_as_gone, lose_pod, nothing_left

# Fills the memory of the container with what no process has mapped: the server, as
# the largest, is killed for it.
_OUT_OF_MEMORY = """
import os
held = os.memfd_create("held")
while True:
    os.write(held, bytes(1 << 24))
"""
# More than the limit below.
_FILL = """
with open("/tmp/filled", "wb") as file:
    for _ in range(300):
        file.write(bytes(1 << 20))
"""


def evict(person: Person, cluster: Cluster) -> None:
    namespace = namespace_name(person.name)
    name = cluster.server_pod(namespace)["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    cluster.core.create_namespaced_pod_eviction(name, namespace, eviction)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lose_pod, id="deleted by hand"),
        pytest.param(evict, id="evicted", marks=pytest.mark.long),
    ],
)
def test_a_pod_that_somebody_took_away(
    lose: Callable[[Person, Cluster], None], people: People, cluster: Cluster
) -> None:
    person = people.new()
    person.spawn(CPU)
    person.write("kept.txt", "kept")
    lose(person, cluster)
    known_as_gone(person)
    nothing_left(person, cluster)
    person.spawn(CPU)
    assert person.read("kept.txt") == "kept"
    person.stop()


@pytest.mark.long
def test_a_pod_that_kubelet_evicts(people: People, profiles: Profiles, cluster: Cluster) -> None:
    person = people.new()
    limits = {DEFAULT_LIMITS_ANNOTATION: '{"ephemeral-storage": "200Mi"}'}
    profile = profiles.new(person.name, limits)
    person.spawn({"profile": profile, **CPU})
    with person.kernel() as kernel:
        kernel.execute(_FILL)
    until(lambda: not person.running(), "the hub knows that the pod was evicted", 150)
    until(lambda: not cluster.pods(profile), "the pod is gone")
    person.spawn({"profile": profile, **CPU})
    person.stop()


@pytest.mark.long
def test_a_server_that_runs_out_of_memory(people: People, cluster: Cluster) -> None:
    person = people.new()
    namespace = namespace_name(person.name)
    person.spawn(CPU)
    person.write("kept.txt", "kept")
    with suppress(DeployError), person.kernel() as kernel:
        kernel.execute(_OUT_OF_MEMORY, seconds=60)

    def is_over() -> bool:
        """Say whether the server was started again, or the hub knows that it ended."""
        pods = cluster.pods(namespace, "component=singleuser-server")
        killed = [it for it in pods if it["status"]["containerStatuses"][0]["restartCount"]]
        return bool(killed) or not person.running()

    until(is_over, "the server was killed", KNOWN_SECONDS)
    # Whichever it is: the hub and the cluster say the same.
    until(lambda: answers(person) or not person.running(), "the server answers or is gone")
    if person.running():
        person.stop()
    nothing_left(person, cluster)
    person.spawn(CPU)
    assert person.read("kept.txt") == "kept"
    person.stop()


def answers(person: Person) -> bool:
    try:
        return "JupyterLab" in person.enter()
    except DeployError:
        return False
