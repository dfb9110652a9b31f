"""`kfspawner servers`, with a cluster in memory and a hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kfspawner.cli.server_listing import show_size
from kfspawner.errors import ClusterDenied
from kfspawner.hub.api import TOKEN_VARIABLE, URL_VARIABLE
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.cli import kf
from tests.fakes.hub_api import TOKEN, FakeHubApi, serving

NO_GPU = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are "
    "available: 1 No preemption victims found for incoming pod."
)


def server(
    person: str, name: str = "", profile: str = "vision", *, node: str = "node-1", **status: Any
) -> Object:
    """Return the pod of a server that runs, unless `status` says otherwise."""
    running = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "containerStatuses": [{"name": "notebook", "state": {"running": {}}, "restartCount": 1}],
    }
    pod = f"server-{person}-{name}" if name else f"server-{person}"
    named = {"hub.jupyter.org/servername": name} if name else {}
    limits = {"cpu": "2", "memory": "4294967296", "nvidia.com/gpu": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod,
            "namespace": profile,
            "creationTimestamp": "2026-11-25T03:04:05Z",
            "labels": {
                "app.kubernetes.io/managed-by": "kfspawner",
                "component": "singleuser-server",
                "hub.jupyter.org/servername": name,
            },
            "annotations": {
                "hub.jupyter.org/username": person,
                "kfspawner.io/image-profile": "gpu",
                **named,
            },
        },
        "spec": {
            "nodeName": node,
            "containers": [
                {"name": "beside", "image": "y"},
                {"name": "notebook", "image": "x", "resources": {"limits": limits}},
            ],
        },
        "status": status or running,
    }


def waiting(message: str = NO_GPU) -> dict[str, Any]:
    """Return the status of a pod that finds no place."""
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def failing(reason: str = "InvalidImageName") -> dict[str, Any]:
    """Return the status of a pod whose image cannot be had."""
    state = {"waiting": {"reason": reason, "message": "no such thing"}}
    return {"phase": "Pending", "containerStatuses": [{"name": "notebook", "state": state}]}


def event(pod: Object, at: int, reason: str, message: str) -> Object:
    metadata = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{at}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "kind": "Pod",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-25T03:04:{at:02}Z",
    }


@pytest.fixture
def api() -> FakeApi:
    """A cluster with two profiles, three people's servers and a run."""
    api = FakeApi()
    for name in ("vision", "kf-alice"):
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    api.put(server("bob", node="", **waiting()))
    api.put(server("alice", "gpu"))
    api.put(server("alice", profile="kf-alice"))
    api.put(server("carol", node="", **failing()))
    run = server("alice", "run")
    del run["metadata"]["labels"]["hub.jupyter.org/servername"]
    api.put({**run, "metadata": {**run["metadata"], "name": "run-of-alice"}})
    return api


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubApi]:
    """A hub that the command line finds."""
    with serving() as found:
        monkeypatch.setenv(URL_VARIABLE, found.url)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        yield found


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_listing_shows_each_in_a_line(api: FakeApi) -> None:
    shown = kf(api, "servers", "list")

    assert shown.exit_code == 0
    size = "2 CPU, 4Gi, 1 nvidia.com/gpu"
    header = "PERSON  SERVER  PROFILE   IMAGE PROFILE  STATE    SINCE             RESOURCES"
    assert shown.stdout.splitlines() == [
        f"{header}                     NODE",
        f"alice   -       kf-alice  gpu            running  2026-11-25 03:04  {size}  node-1",
        f"alice   gpu     vision    gpu            running  2026-11-25 03:04  {size}  node-1",
        f"bob     -       vision    gpu            waiting  2026-11-25 03:04  {size}  -",
        f"carol   -       vision    gpu            failing  2026-11-25 03:04  {size}  -",
    ]


def test_listing_one_profile_asks_for_no_other(api: FakeApi) -> None:
    shown = kf(api, "servers", "list", "kf-alice", "-o", "json")

    (found,) = json.loads(shown.stdout)
    assert (found["person"], found["server"], found["state"]) == ("alice", "", "running")
    assert found["limits"]["memory"] == "4294967296"
    assert api.called("list") == [("Pod", "kf-alice", "")]


def test_listing_nothing_says_so() -> None:
    assert kf(FakeApi(), "servers", "list").stdout == "There are no servers.\n"


def test_without_the_right_to_look_it_says_so(api: FakeApi) -> None:
    api.refusals["list"] = [ClusterDenied("listing pods", "pods is forbidden", "ask")]

    shown = kf(api, "servers", "list")

    assert shown.exit_code == 1
    assert shown.stderr == "Error: listing pods: pods is forbidden; ask\n"


def test_show_tells_all_of_one(api: FakeApi) -> None:
    shown = kf(api, "servers", "show", "alice", "gpu")

    assert shown.stdout.splitlines() == [
        "alice's server gpu in profile vision",
        "  State:         running: it runs, and waits for nothing",
        "  Since:         2026-11-25 03:04 UTC",
        "  Image profile: gpu",
        "  Image:         x",
        "  Resources:     2 CPU, 4Gi, 1 nvidia.com/gpu",
        "  Pod:           server-alice-gpu",
        "  Node:          node-1",
        "  Address:       10.0.0.1",
        "  Restarts:      1",
    ]


def test_why_of_one_that_waits_says_for_what(api: FakeApi) -> None:
    shown = kf(api, "servers", "why", "bob")

    assert shown.stdout.startswith("bob's server in profile vision: Waiting for a GPU: all are")


def test_why_of_one_that_never_will_run_says_so(api: FakeApi) -> None:
    shown = kf(api, "servers", "why", "carol")

    assert "its image" in shown.stdout
    assert "choose another image profile, or show this to the administrator" in shown.stdout


def test_why_of_one_on_its_way_tells_the_last_event_of_that_pod(api: FakeApi) -> None:
    pod = api.put(server("dave", phase="Pending"))
    before = {**pod, "metadata": {**pod["metadata"], "uid": "of-the-pod-before"}}
    api.put(event(pod, 2, "Pulling", "Pulling image x"))
    api.put(event(pod, 1, "Scheduled", "assigned"))
    api.put(event(before, 9, "Killing", "Stopping container"))

    shown = kf(api, "servers", "why", "dave")

    assert "Fetching the image" in shown.stdout
    assert json.loads(kf(api, "servers", "show", "dave", "-o", "json").stdout)["why"] in (
        shown.stdout
    )


def test_why_knows_a_volume_that_does_not_mount_by_its_events(api: FakeApi) -> None:
    pod = api.put(server("dave", phase="Pending"))
    failed = event(pod, 2, "FailedMount", "mount failed: nfs.example did not answer")
    api.put({**failed, "firstTimestamp": "2026-11-25T03:04:00Z"})

    assert "files cannot be mounted: mount failed: nfs.example" in (
        kf(api, "servers", "why", "dave").stdout
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"phase": "Pending"}, "its pod is there, and nothing was reported of it yet"),
        ({"phase": "Succeeded"}, "it has ended, and the hub will take note of that"),
        ({"phase": "Failed", "message": "evicted"}, "the pod failed: evicted"),
    ],
)
def test_why_of_others(api: FakeApi, status: dict[str, Any], said: str) -> None:
    api.put(server("dave", **status))

    assert said in kf(api, "servers", "why", "dave").stdout


def test_why_of_one_that_is_being_stopped(api: FakeApi) -> None:
    pod = server("dave")
    pod["metadata"]["deletionTimestamp"] = "2026-11-25T03:10:00Z"
    api.put(pod)

    assert "is being stopped, since 2026-11-25T03:10:00Z" in (
        kf(api, "servers", "why", "dave").stdout
    )


def test_why_of_one_that_has_no_pod_yet_is_asked_of_the_hub(api: FakeApi, hub: FakeHubApi) -> None:
    state = {"namespace": "vision", "pod_name": "server-erin"}
    hub.servers = {
        "erin": {"": {"pending": "spawn", "state": state}},
        "frank": {"": {"pending": "stop", "state": state}},
    }

    for name in ((), ("-",)):
        shown = kf(api, "servers", "why", "erin", *name)
        assert "the hub is starting it, and has made no pod yet" in shown.stdout
        assert "`kfspawner homes show vision erin`" in shown.stdout
    for nobody in ("frank", "grace"):
        assert f"nobody called '{nobody}' has a server" in (
            kf(api, "servers", "why", nobody).stderr
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("erin",), "nobody called 'erin' has a server here; see `kfspawner servers list`"),
        (("alice", "tpu"), "there is none called tpu, but - in kf-alice, gpu in vision"),
        (("alice",), "alice has 2 that could be meant: - in kf-alice, gpu in vision; say which"),
        (("alice", "--profile", "nlp"), "nobody called 'alice' has a server here"),
    ],
)
@pytest.mark.parametrize("command", ["show", "why", "logs", "stop"])
def test_what_is_not_clear_is_refused(
    api: FakeApi, command: str, arguments: tuple[str, ...], said: str
) -> None:
    shown = kf(api, "servers", command, *arguments)

    assert shown.exit_code == 1
    assert said in shown.stderr
    assert not api.writes()


def test_the_default_server_is_a_hyphen(api: FakeApi) -> None:
    assert "profile kf-alice" in kf(api, "servers", "why", "alice", "-").stdout


def test_two_of_one_name_are_told_apart_by_their_profile(api: FakeApi) -> None:
    api.put(server("bob", profile="kf-alice"))

    assert "add --profile" in kf(api, "servers", "why", "bob").stderr
    assert "profile kf-alice" in (kf(api, "servers", "why", "bob", "--profile", "kf-alice").stdout)


def test_logs_are_those_of_the_server(api: FakeApi) -> None:
    api.logs["vision", "server-alice-gpu", "notebook"] = ["one", "two", "three"]

    assert kf(api, "servers", "logs", "alice", "gpu", "--tail", "2").stdout == "two\nthree\n"
    assert "is waiting to start" in kf(api, "servers", "logs", "bob").stderr


def test_stop_without_a_hub_deletes_the_pod_and_says_so(api: FakeApi) -> None:
    shown = kf(api, "servers", "stop", "bob")

    assert "Deleted the pod of bob's server in profile vision" in shown.stdout
    assert "KFSPAWNER_HUB_URL and KFSPAWNER_ADMIN_TOKEN are not both set" in shown.stdout
    assert api.writes() == [("delete", ("Pod", "vision", "server-bob"))]


def test_stop_with_a_hub_asks_the_hub(api: FakeApi, hub: FakeHubApi) -> None:
    hub.servers["alice"] = {"": {}, "gpu": {}}

    shown = kf(api, "servers", "stop", "alice", "gpu")

    assert shown.stdout == "The hub stopped alice's server gpu in profile vision.\n"
    assert hub.deleted == [("alice", "gpu")]
    assert not api.writes()

    hub.slow = True
    assert "is stopping" in kf(api, "servers", "stop", "alice", "-").stdout
    assert hub.deleted[-1] == ("alice", "")


def test_stop_of_an_orphan_deletes_only_when_told(api: FakeApi, hub: FakeHubApi) -> None:
    hub.servers["bob"] = {}

    shown = kf(api, "servers", "stop", "bob")
    assert shown.exit_code == 1
    assert "the hub knows of no such server; its pod is an orphan" in shown.stderr
    assert "the hub knows of no such server" in kf(api, "servers", "stop", "carol").stderr
    assert not api.writes()

    shown = kf(api, "servers", "stop", "bob", "--pod")
    assert shown.stdout.startswith("Deleted the pod of bob's server in profile vision. The hub")
    assert not hub.deleted


def test_a_name_is_never_a_path(api: FakeApi, hub: FakeHubApi) -> None:
    name = "../a b?x=1"
    pod = server(name)
    pod["metadata"]["name"] = "server-odd"
    api.put(pod)
    hub.servers[name] = {"": {}}

    assert kf(api, "servers", "stop", name).exit_code == 0
    assert hub.deleted == [(name, "")]


def test_a_hub_that_refuses_or_is_away(
    api: FakeApi, hub: FakeHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "wrong")
    refused = kf(api, "servers", "stop", "bob")
    assert "403 Missing or invalid credentials.; see that KFSPAWNER_ADMIN_TOKEN" in refused.stderr
    assert "wrong" not in refused.stderr

    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9/hub/api did not answer" in kf(api, "servers", "stop", "bob").stderr
    assert not api.writes()


def known(profile: str, pod: str) -> dict[str, Any]:
    """Return how the hub models a server that it has."""
    return {"state": {"namespace": profile, "pod_name": pod}}


def test_orphans_are_those_that_the_hub_does_not_have(api: FakeApi, hub: FakeHubApi) -> None:
    for key in (("vision", "server-alice-gpu"), ("vision", "server-bob"), ("vision", "of-nobody")):
        if pod := api.objects.get(("Pod", *key)):
            pod["metadata"]["labels"]["kfspawner.io/hub"] = "kfspawner"
    hub.servers = {
        "alice": {"gpu": known("vision", "server-alice-gpu")},
        # As it was an hour ago: in another profile.
        "bob": {"": known("kf-bob", "server-bob")},
        "carol": {},
        "dave": {"": known("vision", "server-dave")},
    }

    shown = kf(api, "servers", "orphans")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["PERSON", "bob"]
    (found,) = json.loads(kf(api, "servers", "orphans", "-o", "json").stdout)
    assert found["pod"] == "server-bob"
    assert kf(api, "servers", "orphans", "--hub", "other").stdout == "There are no orphans.\n"
    assert not api.writes()


def test_orphans_need_the_hub_and_the_right_token(
    api: FakeApi, hub: FakeHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.servers = {"alice": {"": {}}}
    assert "it tells no server's state" in kf(api, "servers", "orphans").stderr

    monkeypatch.delenv(TOKEN_VARIABLE)
    said = kf(api, "servers", "orphans").stderr
    assert "only the hub knows which servers it has; set KFSPAWNER_HUB_URL" in said


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        ({}, "no limit"),
        ({"cpu": "500m", "memory": "512Mi"}, "500m CPU, 512Mi"),
        ({"cpu": "0.5", "nvidia.com/gpu": "0", "ephemeral-storage": "1Gi"}, "500m CPU"),
        ({"amd.com/gpu": "2"}, "2 amd.com/gpu"),
    ],
)
def test_sizes(limits: dict[str, str], shown: str) -> None:
    assert show_size(limits) == shown
