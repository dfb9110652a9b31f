"""The hub is killed: what runs goes on, and what was begun ends well or leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from deploy.errors import DeployError
from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub
from tests.faults.node import kill_hub
from tests.faults.proxy import ApiProxy, Held, writes
from tests.faults.servers import CPU, known_as_gone, lose_pod, nothing_left, works

CLAIMS = "persistentvolumeclaims"


def test_servers_go_on_and_one_that_ended_meanwhile_is_noticed(
    people: People, cluster: Cluster, hub: Hub
) -> None:
    stays, ends = people.new(), people.new()
    stays.spawn(CPU)
    ends.spawn(CPU)
    pod = cluster.server_pod(namespace_name(stays.name))["metadata"]["uid"]
    with stays.kernel() as kernel:
        assert not kernel.execute("kept = 41").error
        kill_hub(cluster)
        lose_pod(ends, cluster)
        assert kernel.execute("print(kept + 1)").text == "42\n"
        hub.wait(90)
        assert stays.running()
        assert "JupyterLab" in stays.enter()
        assert kernel.execute("print(kept + 1)").text == "42\n"
    assert cluster.server_pod(namespace_name(stays.name))["metadata"]["uid"] == pod
    known_as_gone(ends)
    nothing_left(ends, cluster)
    works(ends, cluster)


@contextmanager
def starting(person: Person) -> Iterator[None]:
    """Have a person ask for a server meanwhile, whatever becomes of that."""

    def ask() -> None:
        with suppress(DeployError):
            person.start(CPU)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        asking.join()


def settled(person: Person) -> bool:
    """Say whether the hub has made up its mind about a server."""
    server = person.model()["servers"].get("")
    return not server or not server["pending"]


def ends_well(person: Person, cluster: Cluster) -> None:
    """Check that a server whose start was cut off runs and can be used, or is gone."""
    namespace = namespace_name(person.name)
    until(lambda: settled(person), "the hub knows what became of the start", 120)
    if person.running():
        assert "JupyterLab" in person.enter()
        assert len(cluster.pods(namespace)) == 1
        person.stop()
    nothing_left(person, cluster)
    works(person, cluster)


def at(plural: str, *, done: bool, called: str, marks: Any = ()) -> Any:
    """Return the step at which a write of that kind is asked for, or done."""
    return pytest.param(Held(writes(plural), done=done), id=called, marks=marks)


@pytest.mark.parametrize(
    "held",
    [
        at("profiles", done=False, called="profile asked for", marks=pytest.mark.long),
        at("profiles", done=True, called="profile made", marks=pytest.mark.long),
        at(CLAIMS, done=False, called="claim asked for", marks=pytest.mark.long),
        at(CLAIMS, done=True, called="claim made", marks=pytest.mark.long),
        at("pods", done=False, called="pod asked for", marks=pytest.mark.long),
        at("pods", done=True, called="pod made"),
    ],
)
def test_a_start_that_was_cut_off_at_a_request(
    held: Held, people: People, cluster: Cluster, hub: Hub, proxy: ApiProxy
) -> None:
    person = people.new()
    with proxy.breaking(held), starting(person):
        until(lambda: held.count, "the start came to this request")
        kill_hub(cluster)
    hub.wait(90)
    ends_well(person, cluster)


@pytest.mark.long
@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_start_that_was_cut_off_while_the_pod_was(
    phase: str, people: People, cluster: Cluster, hub: Hub
) -> None:
    person = people.new()
    namespace = namespace_name(person.name)
    with starting(person):
        until(
            lambda: [it for it in cluster.pods(namespace) if it["status"]["phase"] == phase],
            f"the pod is {phase}",
        )
        kill_hub(cluster)
    hub.wait(90)
    ends_well(person, cluster)
