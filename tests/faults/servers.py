"""What there is of a person's server, and what must not be left of it."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.errors import DeployError
from deploy.person import Person
from kfspawner.homes.place import FOLDER_CLAIM
from kfspawner.names import home_claim_name, namespace_name
from tests.cluster.cluster import Cluster, until

CPU = {"image_profile": "cpu"}
# How long the hub may be wrong about a server.
KNOWN_SECONDS = 60


def starts(person: Person) -> bool:
    """Start a server; say whether it did."""
    try:
        person.spawn(CPU)
    except DeployError:
        return False
    return True


def refusal(person: Person, options: Mapping[str, object] = CPU) -> str:
    """Return why a server does not start."""
    try:
        person.spawn(options)
    except DeployError as error:
        return str(error)
    raise AssertionError(f"the server of {person.name} started")


def lose_pod(person: Person, cluster: Cluster) -> None:
    """Delete the pod of a person's server by hand."""
    namespace = namespace_name(person.name)
    cluster.delete_pod(namespace, cluster.server_pod(namespace)["metadata"]["name"])


def known_as_gone(person: Person) -> None:
    """Return once the hub knows that a server has ended, which it must in time."""
    until(lambda: not person.running(), "the hub knows that the server ended", KNOWN_SECONDS)


def nothing_left(person: Person, cluster: Cluster) -> None:
    """Check that of a server that ended there is nothing but its person's files."""
    namespace = namespace_name(person.name)
    until(lambda: not cluster.pods(namespace), "no pod is left")
    assert not cluster.core.list_namespaced_service(namespace).items
    assert not cluster.core.list_namespaced_secret(namespace).items
    claims = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
    names = {it.metadata.name for it in claims}
    assert names <= {home_claim_name(person.name), FOLDER_CLAIM}


def works(person: Person, cluster: Cluster) -> None:
    """Check that a person can start a server, use it and stop it."""
    person.spawn(CPU)
    person.write("works.txt", "yes")
    assert person.read("works.txt") == "yes"
    person.stop()
    nothing_left(person, cluster)
