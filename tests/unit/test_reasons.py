"""What Kubernetes says, and what a run's owner reads."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.training.reasons import (
    creating_failed,
    ended_reason,
    mounting_failed,
    unschedulable,
    waiting_reason,
)
from kfspawner.training.state import RunState

GPU = "nvidia.com/gpu"
NO_VICTIMS = " preemption: 0/1 nodes are available: 1 No preemption victims found."
QUOTA = (
    'Error creating: pods "digits-x7k2p-" is forbidden: exceeded quota: team, '
    "requested: {requested}, used: {used}, limited: {limited}"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            f"0/1 nodes are available: 1 Insufficient nvidia.com/gpu.{NO_VICTIMS}",
            "waits for a GPU: 0 of 1 nodes have nvidia.com/gpu free",
        ),
        (
            f"0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient {GPU}.{NO_VICTIMS}",
            "waits for a GPU and CPU: 0 of 3 nodes have nvidia.com/gpu and enough CPU free",
        ),
        (
            (
                "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint "
                f"{{node-role.kubernetes.io/control-plane: }}.{NO_VICTIMS}"
            ),
            "waits for memory: 0 of 2 nodes have enough memory free",
        ),
        (
            "0/1 nodes are available: 1 Too many pods.",
            "waits for a place: the nodes hold as many pods as they may",
        ),
        (
            (
                '0/1 nodes are available: persistentvolumeclaim "home-alice" not found. '
                "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            ),
            "waits for its home: there is no volume claim home-alice in this namespace",
        ),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            "waits for its home: its volume is not ready",
        ),
        (
            "0/2 nodes are available: 2 node(s) had volume node affinity conflict.",
            "waits for a node that its home can be mounted on",
        ),
        (
            (
                "0/1 nodes are available: 1 node(s) had untolerated taint "
                "{node.kubernetes.io/not-ready: }."
            ),
            "waits for a node that takes runs: all are reserved or not ready",
        ),
        (
            "0/1 nodes are available: 1 node(s) were unschedulable.",
            "waits for a node that takes runs: all are closed",
        ),
        (
            "no nodes available to schedule pods",
            "waits for a node: no nodes available to schedule pods",
        ),
        ("", "waits for a node"),
    ],
)
def test_unschedulable(message: str, expected: str) -> None:
    assert unschedulable(message) == expected


@pytest.mark.parametrize(
    ("message", "state", "stuck", "words"),
    [
        (
            QUOTA.format(
                requested="requests.memory=4Gi",
                used="requests.memory=6Gi",
                limited="requests.memory=8Gi",
            ),
            RunState.QUEUED,
            False,
            (
                "waits for quota: the quota team of profile vision leaves too little memory: "
                "4Gi asked for, 6Gi of 8Gi in use; 2Gi would fit"
            ),
        ),
        (
            QUOTA.format(
                requested="requests.cpu=500m,requests.nvidia.com/gpu=3",
                used="requests.cpu=0,requests.nvidia.com/gpu=0",
                limited="requests.cpu=4,requests.nvidia.com/gpu=2",
            ),
            RunState.FAILED,
            True,
            "it can never start, for it asks for more than there is",
        ),
        (
            # The same amount in two spellings.
            QUOTA.format(requested="memory=8192Mi", used="memory=1Mi", limited="memory=8Gi"),
            RunState.QUEUED,
            False,
            "waits for quota",
        ),
        (
            (
                'Error creating: pods "digits-x7k2p-abcde" is forbidden: violates PodSecurity '
                '"restricted:latest": runAsNonRoot != true'
            ),
            RunState.FAILED,
            True,
            'pod security refuses it: violates PodSecurity "restricted:latest": runAsNonRoot',
        ),
        (
            (
                'Error creating: pods "digits-x7k2p-abcde" is forbidden: maximum memory usage per '
                "Container is 4Gi, but limit is 8Gi"
            ),
            RunState.FAILED,
            True,
            "the cluster refuses its pod: maximum memory usage per Container is 4Gi",
        ),
        (
            (
                'Error creating: pods "digits-x7k2p-" is forbidden: error looking up service '
                'account kf-alice/default: serviceaccount "default" not found'
            ),
            RunState.QUEUED,
            False,
            "could not be made yet: error looking up service account",
        ),
        (
            "Error creating: Internal error occurred: failed calling webhook: connection refused",
            RunState.QUEUED,
            False,
            "could not be made yet: Internal error occurred",
        ),
    ],
)
def test_creating_failed(message: str, state: RunState, *, stuck: bool, words: str) -> None:
    verdict = creating_failed(message, "vision")
    assert (verdict.state, verdict.stuck) == (state, stuck)
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("reason", "message", "stuck", "words"),
    [
        ("ErrImagePull", "registry.example/runs@sha256:…: not found", True, "(registry.example/"),
        ("ErrImagePull", "manifest unknown", True, "its image cannot be pulled (manifest unknown)"),
        ("ErrImagePull", "failed to authorize: 401 Unauthorized", True, "401 Unauthorized"),
        ("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout", False, "is tried again (dial tcp"),
        (
            "ImagePullBackOff",
            'Back-off pulling image "r.example/a@sha256:0": ErrImagePull: i/o timeout',
            True,
            "it cannot start: its image cannot be pulled (i/o timeout)",
        ),
        ("InvalidImageName", "couldn't parse image", True, "its image name is not valid"),
        (
            "CreateContainerConfigError",
            'configmap "kfspawner-ca" not found',
            True,
            'its container cannot be made (configmap "kfspawner-ca" not found)',
        ),
        ("RunContainerError", "exec: no such file", True, "cannot be started (exec: no such file)"),
    ],
)
def test_waiting_reason(reason: str, message: str, *, stuck: bool, words: str) -> None:
    verdict = waiting_reason({"reason": reason, "message": message})
    assert verdict is not None
    assert verdict.state == (RunState.FAILED if stuck else RunState.QUEUED)
    assert verdict.stuck is stuck
    assert words in verdict.reason


@pytest.mark.parametrize("waiting", [{}, {"reason": "ContainerCreating"}])
def test_waiting_that_tells_nothing(waiting: dict[str, str]) -> None:
    assert waiting_reason(waiting) is None


def _pod(limit: str | None = None, **status: Any) -> dict[str, Any]:
    limits = {"memory": limit} if limit else {}
    return {"spec": {"containers": [{"resources": {"limits": limits}}]}, "status": status}


def _ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


BACKOFF = {"reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}


@pytest.mark.parametrize(
    ("pod", "container", "failure", "expected"),
    [
        (_pod(), _ended(3), {}, "exit code 3"),
        (_pod(), _ended(3), BACKOFF, "exit code 3"),
        (_pod(), _ended(143), {}, "ended by SIGTERM (exit code 143)"),
        (_pod(), _ended(139), {}, "ended by SIGSEGV (exit code 139)"),
        (_pod(), _ended(255), {}, "exit code 255"),
        (
            _pod("4Gi"),
            _ended(137, "OOMKilled"),
            {},
            "out of memory: it used more than its 4Gi; give it more with --memory",
        ),
        (
            _pod(),
            _ended(128, "StartError", 'exec: "pythn": not found'),
            {},
            'its command could not be started (exec: "pythn": not found)',
        ),
        (_pod(), _ended(137, "ContainerStatusUnknown"), {}, "its node lost it"),
        (
            _pod(reason="Evicted", message="The node was low on resource: memory."),
            _ended(137),
            {},
            "its node ran short and evicted it (The node was low on resource: memory.)",
        ),
        (_pod(reason="NodeLost", message="gone"), {}, {}, "NodeLost (gone)"),
        ({}, {}, {}, "its pod was deleted or lost, and its log with it"),
        ({}, {}, BACKOFF, "its pod was deleted or lost, and its log with it"),
        (
            {},
            {},
            {"reason": "DeadlineExceeded", "message": "active too long"},
            "DeadlineExceeded (active too long)",
        ),
    ],
)
def test_ended_reason(
    pod: dict[str, Any], container: dict[str, Any], failure: dict[str, Any], expected: str
) -> None:
    assert ended_reason(pod, container, failure) == expected


def test_no_memory_limit_blames_the_node() -> None:
    assert "its node has no more" in ended_reason(_pod(), _ended(137, "OOMKilled"), {})


def test_long_messages_become_one_short_line() -> None:
    reason = mounting_failed("MountVolume.SetUp failed\n" * 100)
    assert "\n" not in reason
    assert len(reason) < 500
    assert reason.endswith("…)")


def test_image_is_not_named_three_times_before_the_cause() -> None:
    image = f"registry.example:5000/kf-alice/runs@sha256:{'1' * 64}"
    cause = (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": '
        f'failed to resolve reference "{image}": {image}: not found'
    )
    again = f'Back-off pulling image "{image}": ErrImagePull: {cause}'
    for reason, message in (("ErrImagePull", cause), ("ImagePullBackOff", again)):
        verdict = waiting_reason({"reason": reason, "message": message})
        assert verdict is not None
        assert verdict.reason.endswith(
            "(failed to pull and unpack image: failed to resolve reference: not found)"
        )
