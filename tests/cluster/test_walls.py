"""What a pod of one profile reaches, and that it is the walls that stop it elsewhere.

Every closed target is reached at the same time by a pod without walls. What has
a wall of its own too is tried with a hole in either wall, and in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import Profiles
from tests.cluster.walls import BLOCKED, FLOWS, SERVER, Asker, listen, opened

HUB = "kfspawner"
SERVER_PORT = 8888
OTHER_PORT = 8080
DATABASE_PORT = 5432
PROXY_API_PORT = 8001

OPEN = (
    "its own profile's pod",
    "its own profile's server",
    "its own profile's service",
    "DNS",
    "the registry",
    "the hub's API",
    "the Kubernetes API",
    "outside",
)
# Nothing is before these but the wall of who asks.
UNGUARDED = ("an unwalled pod", "an unwalled server", "an unwalled service", "the kubelet")
GUARDED = (
    "another profile's pod",
    "another profile's server",
    "another profile's service",
    "the hub's database",
    "the proxy's API",
)
ALL_CLOSED = dict.fromkeys((*UNGUARDED, *GUARDED), BLOCKED)
ALL_OPEN = dict.fromkeys((*UNGUARDED, *GUARDED), FLOWS)


@dataclass(frozen=True)
class Scene:
    """Two profiles, a namespace without walls, and who asks in the first and in the last.

    Attributes
    ----------
    ours, others, unwalled
        The namespaces.
    inside, control
        Who asks in `ours`, and who in `unwalled`.
    """

    cluster: Cluster
    ours: str
    others: str
    unwalled: str
    inside: Asker
    control: Asker

    def ours_opened(self) -> AbstractContextManager[None]:
        """Let everything out of `ours`."""
        return opened(self.cluster, self.ours, egress=[{}])

    @contextmanager
    def theirs_opened(self) -> Iterator[None]:
        """Let everybody into `others`, and who asks here into the hub's namespace."""
        names = {"key": "kubernetes.io/metadata.name", "operator": "In"}
        asking = {"matchExpressions": [{**names, "values": [self.ours, self.unwalled]}]}
        ports = [{"port": DATABASE_PORT}, {"port": PROXY_API_PORT}]
        rule = {"from": [{"namespaceSelector": asking}], "ports": ports}
        with (
            opened(self.cluster, self.others, ingress=[{}]),
            opened(self.cluster, HUB, ingress=[rule]),
        ):
            yield


@pytest.fixture(scope="module")
def scene(cluster: Cluster, profiles: Profiles) -> Iterator[Scene]:
    """All who listen and both who ask."""
    ours, others = profiles.new("test-walls-1"), profiles.new("test-walls-2")
    unwalled, database = f"{ours}-control", f"{ours}-database"
    with ExitStack() as stack:
        stack.callback(cluster.delete_namespace, unwalled)
        cluster.make_namespace(unwalled)
        stack.callback(cluster.delete_pod, HUB, database)
        targets = {
            **find_parts(cluster, database),
            **start_listeners(cluster, ours, "its own profile's"),
            **start_listeners(cluster, others, "another profile's"),
            **start_listeners(cluster, unwalled, "an unwalled"),
        }
        # The node that all of this is on, as its pods see it.
        node = cluster.pod(ours, "server")["status"]["hostIP"]
        targets["the kubelet"] = f"{node}:10250"
        asking = (Asker(cluster, namespace, targets) for namespace in (ours, unwalled))
        yield Scene(cluster, ours, others, unwalled, *asking)


def find_parts(cluster: Cluster, database: str) -> dict[str, str]:
    """Return where kfspawner's own parts are, and the world outside.

    The hub's database is a file. Whoever has one that listens has it in the
    hub's namespace, and there stands a pod called `database` in for it.
    """
    labels = {"kfspawner.io/test": "stand-in"}
    address = listen(cluster, HUB, database, DATABASE_PORT, labels=labels)
    registry = cluster.images()["hub"].partition("/")[0]
    return {
        "the hub's database": f"{address}:{DATABASE_PORT}",
        "the proxy's API": f"proxy-api.{HUB}.svc:{PROXY_API_PORT}",
        "the hub's API": f"hub.{HUB}.svc:8081",
        "the Kubernetes API": "kubernetes.default.svc:443",
        "DNS": "kube-dns.kube-system.svc:53",
        "the registry": registry if ":" in registry else f"{registry}:443",
        "outside": "pypi.org.:443",
    }


def start_listeners(cluster: Cluster, namespace: str, whose: str) -> dict[str, str]:
    """Start what looks like a server and listens on one port more, with a service for that."""
    address = listen(cluster, namespace, "server", SERVER_PORT, OTHER_PORT, labels=SERVER)
    ports = [{"port": 80, "targetPort": OTHER_PORT}]
    body = {"metadata": {"name": "server"}, "spec": {"selector": {"app": "server"}, "ports": ports}}
    cluster.core.create_namespaced_service(namespace, body)
    return {
        f"{whose} pod": f"{address}:{OTHER_PORT}",
        f"{whose} server": f"{address}:{SERVER_PORT}",
        f"{whose} service": f"server.{namespace}.svc:80",
    }


def test_what_is_open(scene: Scene) -> None:
    scene.inside.sees(dict.fromkeys(OPEN, FLOWS))


def test_what_is_closed(scene: Scene) -> None:
    scene.inside.sees(ALL_CLOSED)
    scene.control.sees(dict.fromkeys(UNGUARDED, FLOWS))


def test_nobody_gets_in_from_outside(scene: Scene) -> None:
    ours = ("its own profile's pod", "its own profile's server", "its own profile's service")
    scene.control.sees(dict.fromkeys(ours, BLOCKED))
    with opened(scene.cluster, scene.ours, ingress=[{}]):
        scene.control.sees(dict.fromkeys(ours, FLOWS))


def test_the_wall_around_who_asks_blocks_alone(scene: Scene) -> None:
    with scene.theirs_opened():
        scene.control.sees(ALL_OPEN)
        scene.inside.sees(ALL_CLOSED)


def test_the_wall_around_who_is_asked_blocks_alone(scene: Scene) -> None:
    expected = {**dict.fromkeys(UNGUARDED, FLOWS), **dict.fromkeys(GUARDED, BLOCKED)}
    with scene.ours_opened():
        scene.inside.sees(expected)
    scene.control.sees(expected)


def test_without_either_wall_everything_flows(scene: Scene) -> None:
    with scene.ours_opened(), scene.theirs_opened():
        scene.inside.sees(ALL_OPEN)
    # And the holes close.
    scene.inside.sees(ALL_CLOSED)


# Calls the API as its pod's account, and prints the status of each answer.
_CALL = """
import ssl, sys, urllib.error, urllib.request

mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
token = open(f"{mounted}/token").read()
trusted = ssl.create_default_context(cafile=f"{mounted}/ca.crt")
for path in sys.argv[1:]:
    address = f"https://kubernetes.default.svc{path}"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        print(urllib.request.urlopen(request, context=trusted, timeout=10).status, path)
    except urllib.error.HTTPError as error:
        print(error.code, path)
"""


def test_the_kubernetes_api_shows_a_pod_its_own_namespace_alone(scene: Scene) -> None:
    ours, others = f"/api/v1/namespaces/{scene.ours}", f"/api/v1/namespaces/{scene.others}"
    open_ = (f"{ours}/pods", f"{ours}/pods/server/log", f"{ours}/events")
    closed = (
        f"{others}/pods",
        f"{others}/pods/server/log",
        f"{others}/secrets",
        f"{others}/configmaps",
        f"/api/v1/namespaces/{HUB}/secrets",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces",
        "/api/v1/pods",
        "/api/v1/nodes",
        "/apis/kubeflow.org/v1/profiles",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    )
    cluster = scene.cluster
    for path in (*open_, *closed):
        # The control: each of them is there for who may see it.
        assert cluster.status_of(path) == 200, path
    command = ["python3", "-c", _CALL, *open_, *closed]
    image = cluster.images()["hub"]
    cluster.run_pod(scene.ours, "caller", image, command, account="default-editor")

    def ended() -> bool:
        return cluster.pod(scene.ours, "caller")["status"]["phase"] in ("Succeeded", "Failed")

    until(ended, "the calling pod ends")
    said = cluster.log(scene.ours, "caller").splitlines()
    assert said == [f"200 {path}" for path in open_] + [f"403 {path}" for path in closed]
