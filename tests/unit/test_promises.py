"""What KubeSpawner 7.1 promises whoever configures it, kept by KfSpawner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio.client import V1Container, V1Pod

from kfspawner.servers.refused import StartRefused
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub, load, pod_of
from tests.fakes.starts import begin, free_port, listening, running, take_away, tell

Object = dict[str, Any]
REQUIRED = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"


async def started(hub: FakeHub, spawner: KfSpawner) -> str:
    """Have a start end well, and return the server's URL."""
    task = await begin(hub, spawner)
    tell(hub, spawner, **running())
    with listening(spawner.port):
        return await asyncio.wait_for(task, 5)


def the_pod(hub: FakeHub) -> Object:
    (pod,) = (it for (kind, *_), it in hub.api.objects.items() if kind == "Pod")
    return pod


# Hooks.


async def add_later(_spawner: KfSpawner, pod: V1Pod) -> V1Pod:
    await asyncio.sleep(0)
    return add_now(_spawner, pod)


def add_now(_spawner: KfSpawner, pod: V1Pod) -> V1Pod:
    pod.spec.containers.append(V1Container(name="beside", image="x"))
    return pod


@pytest.mark.parametrize("hook", [add_now, add_later])
async def test_modify_pod_hook(hub: FakeHub, hook: Callable[..., Any]) -> None:
    spawner = hub.make_spawner(modify_pod_hook=hook)
    task = await begin(hub, spawner)
    task.cancel()

    assert [it["name"] for it in the_pod(hub)["spec"]["containers"]] == ["notebook", "beside"]


async def test_after_pod_created_hook_gets_the_pod(hub: FakeHub) -> None:
    seen: list[tuple[KfSpawner, Object]] = []

    async def note(spawner: KfSpawner, pod: Object) -> None:
        await asyncio.sleep(0)
        seen.append((spawner, pod))

    spawner = hub.make_spawner(after_pod_created_hook=note, port=free_port())
    await started(hub, spawner)

    ((by, pod),) = seen
    assert by is spawner
    assert pod["metadata"]["name"] == spawner.pod_name
    assert pod["metadata"]["uid"] == the_pod(hub)["metadata"]["uid"]


async def test_after_pod_created_hook_that_fails_leaves_no_pod(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []

    async def fail(_spawner: KfSpawner, _pod: Object) -> None:
        raise ValueError("no")

    async def stop(_spawner: KfSpawner, now: bool = False) -> None:  # noqa: FBT001
        stopped.append(now)

    monkeypatch.setattr(KfSpawner, "stop", stop)
    task = await begin(hub, hub.make_spawner(after_pod_created_hook=fail))

    with pytest.raises(ValueError, match="no"):
        await asyncio.wait_for(task, 5)
    assert stopped == [True]


async def test_pre_spawn_hook_sets_what_the_pod_has(hub: FakeHub) -> None:
    def prepare(spawner: KfSpawner) -> None:
        spawner.environment = {"TEAM": "vision"}
        spawner.priority_class_name = "high"

    spawner = hub.make_spawner(pre_spawn_hook=prepare)
    spawner.clear_state()
    spawner.run_pre_spawn_hook()
    task = await begin(hub, spawner)
    task.cancel()

    spec = the_pod(hub)["spec"]
    assert {"name": "TEAM", "value": "vision"} in spec["containers"][0]["env"]
    assert spec["priorityClassName"] == "high"


# What is added to a pod.


async def test_volumes_and_their_templates(hub: FakeHub) -> None:
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "data-{username}"}}
    mount = {"name": "data", "mountPath": "/data/{username}"}
    pod = await pod_of(hub.make_spawner(volumes=[data], volume_mounts=[mount]))

    claims = {it["name"]: it["persistentVolumeClaim"]["claimName"] for it in pod["spec"]["volumes"]}
    places = {it["name"]: it["mountPath"] for it in pod["spec"]["containers"][0]["volumeMounts"]}
    assert claims == {"data": "data-alice", "home": "home-alice"}
    assert places == {"data": "/data/alice", "home": "/home/jovyan"}


@pytest.mark.parametrize(
    ("setting", "value", "path", "there"),
    [
        ("extra_pod_config", {"dnsPolicy": "Default"}, "spec.dnsPolicy", "Default"),
        ("extra_labels", {"team": "{username}"}, "metadata.labels.team", "alice"),
        ("extra_annotations", {"a": "{username}"}, "metadata.annotations.a", "alice"),
        ("priority_class_name", "high", "spec.priorityClassName", "high"),
        ("scheduler_name", "volcano", "spec.schedulerName", "volcano"),
        ("image_pull_policy", "Always", "spec.containers.0.imagePullPolicy", "Always"),
        ("image_pull_secrets", ["key"], "spec.imagePullSecrets.0.name", "key"),
        ("supplemental_gids", [7], "spec.securityContext.supplementalGroups.0", 7),
        ("environment", {"A": "{username}"}, "env.A", "alice"),
        ("environment", {"A": lambda it: it.user.name}, "env.A", "alice"),
        (
            "extra_container_config",
            {"envFrom": [{"configMapRef": {"name": "c"}}]},
            "spec.containers.0.envFrom.0.configMapRef.name",
            "c",
        ),
        (
            "lifecycle_hooks",
            {"postStart": {"exec": {"command": ["true"]}}},
            "spec.containers.0.lifecycle.postStart.exec.command.0",
            "true",
        ),
        (
            "init_containers",
            [{"name": "first", "image": "busybox", "args": ["{username}"]}],
            "spec.initContainers.0.args.0",
            "alice",
        ),
        (
            "extra_containers",
            {"1": {"name": "beside", "image": "busybox"}},
            "spec.containers.1.name",
            "beside",
        ),
        (
            "node_affinity_required",
            [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}],
            f"{REQUIRED}.nodeSelectorTerms.0.matchExpressions.0.key",
            "zone",
        ),
    ],
)
async def test_what_is_configured_is_in_the_pod(
    hub: FakeHub, setting: str, value: object, path: str, there: object
) -> None:
    pod: Any = await pod_of(hub.make_spawner(**{setting: value}))
    pod["env"] = {it["name"]: it.get("value") for it in pod["spec"]["containers"][0]["env"]}

    for step in path.split("."):
        pod = pod[int(step)] if isinstance(pod, list) else pod[step]

    assert pod == there


# Where it answers.


async def test_a_server_is_reached_at_its_pod(hub: FakeHub) -> None:
    spawner = hub.make_spawner(port=free_port())

    assert await started(hub, spawner) == f"http://127.0.0.1:{spawner.port}"


async def test_pod_connect_ip(hub: FakeHub) -> None:
    spawner = hub.make_spawner(port=free_port(), pod_connect_ip="127.0.0.1")
    task = await begin(hub, spawner)
    tell(hub, spawner, **running("10.255.255.1"))
    with listening(spawner.port):
        assert await asyncio.wait_for(task, 5) == f"http://127.0.0.1:{spawner.port}"


async def test_get_pod_url(hub: FakeHub) -> None:
    spawner = hub.make_spawner(port=free_port())
    spawner.get_pod_url = lambda it, pod: f"http://127.0.0.1:{it.port}/{pod['metadata']['name']}"

    assert (await started(hub, spawner)).endswith(f":{spawner.port}/{spawner.pod_name}")


def made(hub: FakeHub, kind: str) -> Object:
    """Return the one object of a kind."""
    (found,) = (it for (of, *_), it in hub.api.objects.items() if of == kind)
    return found


async def test_a_service_of_its_own(hub: FakeHub) -> None:
    spawner = hub.make_spawner(services_enabled=True, pod_connect_ip="127.0.0.1")
    spawner.port = free_port()
    await started(hub, spawner)

    metadata = made(hub, "Service")["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert metadata["namespace"] == "kf-alice"
    assert metadata["name"] == spawner.pod_name
    assert owner["uid"] == the_pod(hub)["metadata"]["uid"]
    assert "Secret" not in {kind for kind, *_ in hub.api.objects}


async def test_a_service_of_an_earlier_pod_goes_first(hub: FakeHub) -> None:
    spawner = hub.make_spawner(services_enabled=True, pod_connect_ip="127.0.0.1")
    spawner.port = free_port()
    earlier = {"name": spawner.pod_name, "namespace": "kf-alice", "labels": {"of": "before"}}
    hub.api.put({"kind": "Service", "metadata": earlier})
    task = await begin(hub, spawner)
    tell(hub, spawner, **running())
    with listening(spawner.port):
        await asyncio.sleep(0.3)
        # Kubernetes deletes it, as what belonged to a pod that is gone.
        hub.api.remove("Service", spawner.pod_name, "kf-alice")
        await asyncio.wait_for(task, 5)

    assert "of" not in made(hub, "Service")["metadata"]["labels"]
    # The hub has no right to either.
    assert not [it for it in hub.api.called("delete") if "Service" in it]


async def test_internal_ssl(hub: FakeHub, tmp_path: Path) -> None:
    spawner = hub.make_spawner(pod_connect_ip="127.0.0.1")
    spawner.port = free_port()
    spawner.internal_ssl = True
    for name in ("key", "cert", "ca"):
        (tmp_path / name).write_text(name)
    spawner.cert_paths = {
        "keyfile": str(tmp_path / "key"),
        "certfile": str(tmp_path / "cert"),
        "cafile": str(tmp_path / "ca"),
    }
    spawner.internal_trust_bundles = {"hub-ca": str(tmp_path / "ca")}

    task = await begin(hub, spawner)
    (volume,) = (it for it in the_pod(hub)["spec"]["volumes"] if it.get("secret"))
    tell(hub, spawner, **running())
    with listening(spawner.port):
        url = await asyncio.wait_for(task, 5)

    metadata = made(hub, "Secret")["metadata"]
    assert url.startswith("https://")
    assert metadata["namespace"] == "kf-alice"
    assert volume["secret"]["secretName"] == metadata["name"] == spawner.secret_name
    assert metadata["ownerReferences"][0]["name"] == spawner.pod_name
    assert made(hub, "Service")


# What is remembered.


async def test_a_server_of_stock_kubespawner_is_found_again(hub: FakeHub) -> None:
    state = {
        "kubespawner_version": "7.1.0",
        "pod_name": "jupyter-alice---0123abcd",
        "namespace": "stock",
        "dns_name": "jupyter-alice---0123abcd.stock.svc.cluster.local",
        "pvc_name": "claim-alice---0123abcd",
    }
    spawner = hub.make_spawner()
    spawner.load_state(state)
    hub.run(spawner)

    assert await spawner.poll() is None
    assert spawner.get_state() == {k: it for k, it in state.items() if k != "pvc_name"}
    # The next start is one of ours.
    await load(spawner)
    assert (spawner.namespace, spawner.pvc_name) == ("kf-alice", "home-alice")


async def test_the_state_of_a_server_comes_back(hub: FakeHub) -> None:
    hub.share("vision")
    spawner = hub.make_spawner(port=free_port())
    task = await begin(hub, spawner, profile="vision")
    tell(hub, spawner, **running())
    with listening(spawner.port):
        await asyncio.wait_for(task, 5)

    other = hub.make_spawner()
    other.load_state(spawner.get_state())

    assert other.get_state()["namespace"] == "vision"
    assert await other.poll() is None
    # Another pod in its place has other tokens than the hub knows of.
    take_away(hub, spawner)
    tell(hub, spawner, **running())
    assert await other.poll() == 1


async def test_a_pod_that_stock_kubespawner_left_is_not_ours(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    spawner.load_state({"pod_name": "jupyter-alice", "namespace": "stock"})

    assert await spawner.poll() == 1


async def test_a_start_can_be_cut_short(hub: FakeHub) -> None:
    spawner = hub.make_spawner(start_timeout=3)
    task = await begin(hub, spawner)

    with pytest.raises(StartRefused, match="it did not run after 1 seconds"):
        await asyncio.wait_for(task, 5)
