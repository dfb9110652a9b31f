"""The proxy before hub and servers is killed, and its routes with it."""

from __future__ import annotations

from deploy.errors import DeployError
from deploy.person import Person
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.faults.node import NAMESPACE, kill_container
from tests.faults.servers import CPU

PROXY = "app.kubernetes.io/name=proxy"


def opens(person: Person) -> bool:
    """Say whether a person gets to their server."""
    try:
        return "JupyterLab" in person.enter()
    except DeployError:
        return False


def test_servers_are_reached_again_and_have_gone_on(people: People, cluster: Cluster) -> None:
    person = people.new()
    person.spawn(CPU)
    with person.kernel() as kernel:
        assert not kernel.execute("kept = 41").error
        (pod,) = cluster.pods(NAMESPACE, PROXY)
        kill_container(pod, "proxy")
        until(lambda: opens(person), "the server is reached again")
        kernel.disconnect()
        assert kernel.execute("print(kept + 1)").text == "42\n"
    person.stop()
