"""A real cluster, and people on it.

`make test` brings both up; by hand: ``eval "$(make --silent env)"`` first.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from kubernetes import client, config

from deploy.kernel import Kernel
from deploy.person import Person
from tests.cluster.cluster import Cluster, Object
from tests.cluster.people import Hub

# The node is asked about itself only where it is this machine's own.
_OF_THE_NODE = [
    "test_home_archives.py",
    "test_homes.py",
    "test_mounts.py",
    "test_nfs_mount.py",
    "test_node.py",
    "test_node_walls.py",
    "test_own_uids.py",
]
collect_ignore = _OF_THE_NODE if os.environ.get("CONTEXT") else []

_NEEDED = ("KUBECONFIG", "KFSPAWNER_HUB_URL", "KFSPAWNER_PASSWORD", "KFSPAWNER_ADMIN_TOKEN")


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What `make env` exports; without it these tests fail, they are not skipped."""
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        pytest.fail(
            f"{', '.join(missing)} not in the environment; use `make test`, or bring a cluster "
            f'up with `make up` and then `eval "$(make --silent env)"`',
            pytrace=False,
        )
    return {name: os.environ[name] for name in _NEEDED}


@pytest.fixture(scope="session")
def cluster(environment: dict[str, str]) -> Iterator[Cluster]:
    """The cluster, as its administrator."""
    settings = client.Configuration()
    config.load_kube_config(environment["KUBECONFIG"], client_configuration=settings)
    with client.ApiClient(settings) as api:
        found = Cluster(api)
        yield found
        found.sweep()


@pytest.fixture(scope="session")
def hub(environment: dict[str, str], cluster: Cluster) -> Iterator[Hub]:
    """The hub, as people and as its administrator."""
    url, password, token = (environment[name] for name in _NEEDED[1:])
    with Hub(url, password, token, cluster) as answering:
        yield answering


@pytest.fixture(scope="module")
def people(hub: Hub, request: pytest.FixtureRequest) -> Iterator[People]:
    """New people of this module, signed in; all they had is removed after it."""
    with ExitStack() as stack:
        yield People(hub, stack, _stem(request))


def _stem(request: pytest.FixtureRequest) -> str:
    """Return what the names of a module's people and Profiles begin with."""
    return str(request.module.__name__).rpartition("test_")[2].replace("_", "-")


class People:
    """Makes people whose names no other test module has."""

    def __init__(self, hub: Hub, stack: ExitStack, stem: str) -> None:
        self._hub = hub
        self._stack = stack
        self._stem = f"{stem}-{secrets.token_hex(2)}"
        self._count = 0

    def new(self) -> Person:
        """Return a new person, signed in, without a server."""
        self._count += 1
        name = f"{self._stem}-{self._count}"
        self._stack.callback(self._hub.forget, name)
        person = self._stack.enter_context(Person(self._hub.url, name))
        person.sign_in(self._hub.password)
        return person


class Profiles:
    """Makes Profiles whose names no other test module has."""

    def __init__(self, cluster: Cluster, stack: ExitStack, stem: str) -> None:
        self._cluster = cluster
        self._stack = stack
        self._stem = f"test-{stem}-{secrets.token_hex(2)}"
        self._count = 0

    def name(self) -> str:
        """Return the name of a Profile to be; whoever makes it, it is removed in the end."""
        self._count += 1
        name = f"{self._stem}-{self._count}"
        self._stack.callback(self._cluster.delete_profile, name)
        return name

    def new(
        self, owner: str | Object, annotations: Mapping[str, str] | None = None, **spec: object
    ) -> str:
        """Make a Profile, and return its name once it is Ready."""
        name = self.name()
        self._cluster.make_profile(name, owner, annotations, **spec)
        return name


@pytest.fixture(scope="module")
def profiles(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Profiles]:
    """New Profiles of this module; they and all that is in them are removed after it."""
    with ExitStack() as stack:
        yield Profiles(cluster, stack, _stem(request))


@pytest.fixture(scope="module")
def person(people: People) -> Person:
    """A person with a CPU server, the same for the whole module."""
    signed_in = people.new()
    signed_in.spawn({"image_profile": "cpu"})
    return signed_in


@pytest.fixture(scope="module")
def kernel(person: Person) -> Iterator[Kernel]:
    """One notebook's kernel for the whole module."""
    with person.kernel() as connected:
        yield connected
