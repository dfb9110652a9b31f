"""What a quota says, from a refusal or beforehand, and who uses what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kfspawner.quantity import read_quantity
from kfspawner.quota import QuotaExcess, pod_usage

GPU = "nvidia.com/gpu"
MESSAGE = (
    'pods "jupyter-carol" is forbidden: exceeded quota: {quota}, '
    "requested: {requested}, used: {used}, limited: {limited}"
)


def make_excess(
    requested: str, used: str, limited: str, quota: str = "kf-resource-quota"
) -> QuotaExcess:
    message = MESSAGE.format(quota=quota, requested=requested, used=used, limited=limited)
    excess = QuotaExcess.parse(message)
    assert excess is not None
    return excess


def make_pod(
    requests: Mapping[str, str], *, user: str = "", labels: Any = None, **status: Any
) -> dict[str, Any]:
    """Return a pod of one container, as the API returns it."""
    annotations = {"hub.jupyter.org/username": user} if user else {}
    return {
        "metadata": {"name": "a-pod", "labels": labels or {}, "annotations": annotations},
        "spec": {"containers": [{"resources": {"requests": dict(requests)}}]},
        "status": {"phase": "Running", **status},
    }


def make_server(user: str, requests: Mapping[str, str], server: str = "") -> dict[str, Any]:
    pod = make_pod(requests, user=user, labels={"component": "singleuser-server"})
    pod["metadata"]["annotations"]["hub.jupyter.org/servername"] = server
    return pod


def make_run(
    user: str, name: str, requests: Mapping[str, str], phase: str = "Running"
) -> dict[str, Any]:
    pod = make_pod(requests, labels={"kfspawner.io/run": name}, phase=phase)
    pod["metadata"]["annotations"] = {"kfspawner.io/user-name": user}
    return pod


ONE_GPU = make_excess(f"requests.{GPU}=1", f"requests.{GPU}=1", f"requests.{GPU}=1")
MEMORY = make_excess("requests.memory=4Gi", "requests.memory=6Gi", "requests.memory=8Gi")


# The paragraph.


def test_who_has_the_gpu_is_named() -> None:
    pods = [make_server("bob", {GPU: "1"}), make_server("alice", {"cpu": "1"})]
    assert ONE_GPU.describe("vision", pods) == (
        "the quota of profile vision leaves too little GPU: 1 asked for, 1 of 1 in use by "
        "bob's server; 0 would fit"
    )


def test_the_most_comes_first_with_how_much() -> None:
    pods = [
        make_run("carol", "digits-x7k2p", {"memory": "1Gi"}),
        make_server("bob", {"memory": "3221225472"}, "gpu"),
        make_run("carol", "digits-x7k2p", {"memory": "1Gi"}),
        make_pod({"memory": "512Mi"}),
        make_pod({"cpu": "1"}),
    ]
    assert MEMORY.describe("vision", pods) == (
        "the quota of profile vision leaves too little memory: 4Gi asked for, 6Gi of 8Gi in use "
        "by bob's server gpu (3Gi), carol's run digits-x7k2p (2Gi) and pod a-pod (512Mi); "
        "2Gi would fit"
    )


def test_what_has_ended_counts_no_more() -> None:
    pods = [
        make_run("carol", "old", {"memory": "6Gi"}, phase="Succeeded"),
        make_run("carol", "older", {"memory": "6Gi"}, phase="Failed"),
        make_server("bob", {"memory": "6Gi"}),
    ]
    assert "in use by bob's server; 2Gi" in MEMORY.describe("vision", pods)


def test_what_is_going_says_so() -> None:
    pod = make_server("bob", {GPU: "1"})
    pod["metadata"]["deletionTimestamp"] = "2024-05-04T12:00:00Z"
    assert "by bob's server (which is stopping); 0" in ONE_GPU.describe("vision", [pod])


def test_a_handful_is_named() -> None:
    pods = [make_server(f"user-{n:02}", {"memory": "1Gi"}) for n in range(12)]
    words = MEMORY.describe("vision", pods)
    assert "user-04's server (1Gi) and 7 more; 2Gi would fit" in words
    assert "user-05" not in words


def test_users_are_told_from_the_label_where_there_is_no_name() -> None:
    pod = make_pod({GPU: "1"}, labels={"kfspawner.io/run": "x", "kfspawner.io/user": "bob"})
    assert "by bob's run x;" in ONE_GPU.describe("", [pod])
    del pod["metadata"]["labels"]["kfspawner.io/user"]
    assert "by run x;" in ONE_GPU.describe("", [pod])


def test_a_name_cannot_break_the_paragraph() -> None:
    words = ONE_GPU.describe("vision", [make_server("bob\n\n" + "x" * 500, {GPU: "1"})])
    assert "\n" not in words
    assert len(words) < 300


@pytest.mark.parametrize(
    ("requested", "used", "limited", "words"),
    [
        ("limits.cpu=2", "limits.cpu=7500m", "limits.cpu=8", "too little CPU for its limit: 2 ask"),
        ("limits.cpu=2", "limits.cpu=7500m", "limits.cpu=8", "7500m of 8 in use; 500m would fit"),
        ("pods=1", "pods=5", "pods=5", "too few pods: 1 asked for, 5 of 5 in use; 0 would fit"),
        # Somebody made the quota smaller than what is used.
        ("pods=1", "pods=7", "pods=5", "7 of 5 in use; 0 would fit"),
        (
            "requests.storage=10Gi",
            "requests.storage=0",
            "requests.storage=5Gi",
            "too little storage: 10Gi asked for, 0 of 5Gi in use; 5Gi would fit",
        ),
        (
            "persistentvolumeclaims=1",
            "persistentvolumeclaims=2",
            "persistentvolumeclaims=2",
            "too few volume claims",
        ),
        (
            "gold.storageclass.storage.k8s.io/requests.storage=1073741824",
            "gold.storageclass.storage.k8s.io/requests.storage=0",
            "gold.storageclass.storage.k8s.io/requests.storage=1M",
            "too little gold.storageclass.storage.k8s.io/requests.storage: 1Gi asked for",
        ),
        (
            "count/jobs.batch=1,requests.cpu=1",
            "count/jobs.batch=5,requests.cpu=2",
            "count/jobs.batch=5,requests.cpu=2",
            (
                "too little count/jobs.batch: 1 asked for, 5 of 5 in use; 0 would fit, and "
                "too little CPU: 1 asked for"
            ),
        ),
    ],
)
def test_resources_have_names(requested: str, used: str, limited: str, words: str) -> None:
    assert words in make_excess(requested, used, limited).describe("vision")


def test_another_quota_is_named() -> None:
    excess = make_excess("pods=1", "pods=5", "pods=5", quota="team")
    assert str(excess).startswith("the quota team leaves too few pods")
    assert excess.describe("vision").startswith("the quota team of profile vision leaves")


@pytest.mark.parametrize(
    "message",
    [
        "",
        'pods "x" is forbidden: violates PodSecurity',
        "exceeded quota: team, requested: cpu=many, used: cpu=1, limited: cpu=2",
        "exceeded quota: team, requested: cpu=1, used: memory=1, limited: cpu=2",
        "exceeded quota: team, requested: cpu, used: cpu, limited: cpu",
    ],
)
def test_other_messages_tell_of_none(message: str) -> None:
    assert QuotaExcess.parse(message) is None


@pytest.mark.parametrize(("limited", "may"), [("8Gi", True), ("4096Mi", True), ("4095Mi", False)])
def test_whether_it_may_fit_later(limited: str, *, may: bool) -> None:
    excess = make_excess("requests.memory=4Gi", "requests.memory=8Gi", f"requests.memory={limited}")
    assert excess.may_fit_later is may


# Beforehand.


def make_quota(hard: Mapping[str, str], used: Mapping[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "kf-resource-quota"},
        "spec": {"hard": dict(hard), **spec},
        "status": {"hard": dict(hard), "used": dict(used)},
    }


ASKED = {"containers": [{"resources": {"limits": {"memory": "2Gi", GPU: "1"}}}]}


@pytest.mark.parametrize(
    ("hard", "used", "short"),
    [
        ({"requests.memory": "2Gi"}, {"requests.memory": "0"}, []),
        ({"requests.memory": "2Gi"}, {"requests.memory": "1"}, ["requests.memory"]),
        ({"memory": "2047Mi"}, {"memory": "0"}, ["memory"]),
        ({"limits.memory": "4Gi"}, {"limits.memory": "3Gi"}, ["limits.memory"]),
        ({f"requests.{GPU}": "0"}, {f"requests.{GPU}": "0"}, [f"requests.{GPU}"]),
        ({"pods": "1", "memory": "1"}, {"pods": "1", "memory": "0"}, ["pods", "memory"]),
        # What a pod does not ask for cannot be short.
        ({"requests.cpu": "1", "configmaps": "1"}, {"requests.cpu": "5", "configmaps": "1"}, []),
        # Not counted yet.
        ({"pods": "0"}, {}, []),
    ],
)
def test_foreseeing(hard: dict[str, str], used: dict[str, str], short: list[str]) -> None:
    excess = QuotaExcess.foresee(make_quota(hard, used), ASKED)
    assert [it.resource for it in (excess.shortages if excess else ())] == short


def test_a_quota_for_some_pods_is_not_foreseen() -> None:
    full = {"pods": "0"}, {"pods": "0"}
    assert QuotaExcess.foresee(make_quota(*full), ASKED)
    assert QuotaExcess.foresee(make_quota(*full, scopes=["BestEffort"]), ASKED) is None
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}
    assert QuotaExcess.foresee(make_quota(*full, scopeSelector=selector), ASKED) is None


def test_a_quota_without_a_status_is_not_foreseen() -> None:
    assert QuotaExcess.foresee({"metadata": {"name": "new"}}, ASKED) is None


# What a pod uses.


def container(cpu: str, **more: str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, "1500m"),
        ({"initContainers": [container("1")], "containers": [container("2")]}, "2"),
        ({"initContainers": [container("3"), container("2")], "containers": [container("1")]}, "3"),
        # A sidecar stays, for the init containers after it too.
        (
            {
                "initContainers": [container("1", restartPolicy="Always"), container("3")],
                "containers": [container("2")],
            },
            "4",
        ),
        (
            {
                "initContainers": [container("3"), container("1", restartPolicy="Always")],
                "containers": [container("2")],
            },
            "3",
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, "1250m"),
    ],
)
def test_containers_are_added_up_as_the_scheduler_does(spec: dict[str, Any], cpu: str) -> None:
    usage = pod_usage(spec)
    assert usage["requests.cpu"] == usage["cpu"] == read_quantity(cpu)


def test_a_limit_is_asked_for_where_nothing_else_is() -> None:
    limits = {"cpu": "2", "memory": "2Gi", GPU: "1"}
    resources = {"limits": limits, "requests": {"cpu": "1"}}
    assert pod_usage({"containers": [{"resources": resources}]}) == {
        "pods": 1,
        "count/pods": 1,
        "cpu": 1,
        "requests.cpu": 1,
        "limits.cpu": 2,
        "memory": 2**31,
        "requests.memory": 2**31,
        "limits.memory": 2**31,
        f"requests.{GPU}": 1,
    }
