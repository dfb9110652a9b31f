"""Why a server's pod will not start, however long one waits.

Pods and events come in as the API's dicts, errors to be raised go out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from kfspawner.errors import ClusterError

_Pod = Mapping[str, Any]
_Event = Mapping[str, Any]

_IMAGE_UNUSABLE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_UNUSABLE = frozenset({"CreateContainerConfigError", "CreateContainerError"})
# What a registry says that it will say again. Anything else may be a hiccup:
# then the back-off after it tells that there were two.
_PULL_REFUSED = re.compile(
    r"not found|manifest unknown|unauthorized|authorization failed|denied|forbidden|"
    r"insufficient_scope|no match for platform|unexpected media type",
    re.IGNORECASE,
)
# For how many seconds kubelet may try to mount before that is hopeless, and a
# scheduler to place where nodes are added on demand.
_MOUNT_SECONDS = 8.0
_TELL_ADMIN = "choose another image profile, or show this to the administrator"
# What KubeSpawner calls the server's container.
_SERVER = "notebook"
# How many of the last lines of a server's log are told.
_LINES = 20
_LIMIT = 600

# What the scheduler says of each node, and then of preemption.
_NODES = re.compile(r"0/(\d+) nodes are available: (.*)", re.DOTALL)
_REASON = re.compile(r"(\d+) (.+)")
_FOR_GOOD = re.compile(r"Insufficient [\w./-]+|node\(s\) didn't match Pod's node affinity/selector")
_TAINTED = re.compile(r"node\(s\) had untolerated taint.*")
_UNHELPFUL = "Preemption is not helpful for scheduling"


def why_never(
    pod: _Pod,
    events: Iterable[_Event],
    now: datetime,
    *,
    autoscaled: bool = False,
    shut: bool = False,
) -> ClusterError | None:
    """Return why a pod will not start however long one waits, or None while it may.

    Parameters
    ----------
    pod
        A Pod as the API returns it.
    events
        What was reported; other pods' events may be among it.
    now
        The time.
    autoscaled
        Whether nodes are added on demand: then one that fits may yet come.
    shut
        Whether the taints of nodes that keep the pod away are there to stay.
    """
    doing = f"starting server {pod['metadata']['name']}"
    its = [event for event in events if _is_about(event, pod)]
    return (
        _cannot_start(doing, pod.get("status") or {})
        or _cannot_mount(doing, its, now)
        or _cannot_place(doing, unplaced(pod), its, autoscaled=autoscaled, shut=shut)
    )


def unplaced(pod: _Pod) -> str:
    """Return what the scheduler says that it misses for a pod, or nothing."""
    return next(
        (
            str(it.get("message") or "")
            for it in (pod.get("status") or {}).get("conditions") or ()
            if it.get("type") == "PodScheduled" and it.get("status") == "False"
        ),
        "",
    )


def _is_about(event: _Event, pod: _Pod) -> bool:
    uid = pod["metadata"].get("uid")
    return uid is not None and event["involvedObject"].get("uid") == uid


def _cannot_start(doing: str, status: Mapping[str, Any]) -> ClusterError | None:
    if status.get("phase") == "Failed" and not any(map(_ended, _containers(status))):
        cause = f"the pod failed: {status.get('message') or status.get('reason') or 'no reason'}"
        return ClusterError(doing, _line(cause), _TELL_ADMIN)
    # One that comes before the server may try again until it succeeds.
    before = (_back_off(doing, it) for it in status.get("initContainerStatuses") or ())
    beside = (_container_error(doing, it) for it in status.get("containerStatuses") or ())
    return next((error for error in chain(before, beside) if error), None)


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def _ended(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container ended, this time or the last time; empty if it has not."""
    for when in ("state", "lastState"):
        terminated: Mapping[str, Any] = (container.get(when) or {}).get("terminated") or {}
        # One beside the server may have done what it was for.
        if terminated and (container.get("name") == _SERVER or terminated.get("exitCode")):
            return terminated
    return {}


def _container_error(doing: str, container: Mapping[str, Any]) -> ClusterError | None:
    error = _back_off(doing, container)
    ended = _ended(container)
    return error or (_crash(doing, ended) if ended else None)


def _back_off(doing: str, container: Mapping[str, Any]) -> ClusterError | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    message = waiting.get("message") or reason
    if reason in _IMAGE_UNUSABLE or (reason == "ErrImagePull" and _PULL_REFUSED.search(message)):
        image = container.get("image", "")
        # containerd names the image several times over before it says what is wrong.
        cause = message.rpartition("ErrImagePull: ")[2]
        cause = cause.replace(image, "...") if image else cause
        return ClusterError(
            doing, _line(f"its image {image} cannot be fetched: {cause}"), _TELL_ADMIN
        )
    if reason in _CONFIG_UNUSABLE:
        return ClusterError(doing, _line(f"its container cannot be made: {message}"), _TELL_ADMIN)
    if reason == "CrashLoopBackOff":
        return _crash(doing, _ended(container))
    return None


def _crash(doing: str, ended: Mapping[str, Any]) -> ClusterError:
    if ended.get("reason") == "OOMKilled":
        return ClusterError(doing, "it ran out of memory while it started", "choose more memory")
    # kubelet puts the end of the log there: see `terminationMessagePolicy` in the pod.
    lines = str(ended.get("message") or "").strip().splitlines()[-_LINES:]
    said = "".join(f" {line}" for line in lines)
    if len(lines) > 1:
        said = "; its last words:\n" + "\n".join(lines) + "\n"
    return ClusterError(
        doing,
        f"it ends as soon as it starts, with exit code {ended.get('exitCode', 'unknown')}{said}",
        "if you changed files under ~/.jupyter or ~/.local, move them away; otherwise "
        "show this to the administrator",
    )


def _cannot_mount(doing: str, events: Iterable[_Event], now: datetime) -> ClusterError | None:
    failed = [it for it in events if it.get("reason") in ("FailedMount", "FailedAttachVolume")]
    begun = [datetime.fromisoformat(when) for it in failed if (when := _first_time(it))]
    if not begun or (now - min(begun)).total_seconds() < _MOUNT_SECONDS:
        return None
    return ClusterError(
        doing,
        _line(f"its files cannot be mounted: {failed[-1].get('message') or 'no reason given'}"),
        "show this to the administrator, who may look whether the server of the files runs; "
        "nothing in them was touched",
    )


def _first_time(event: _Event) -> str:
    return str(event.get("firstTimestamp") or event.get("eventTime") or "")


def _cannot_place(
    doing: str, said: str, events: Iterable[_Event], *, autoscaled: bool, shut: bool
) -> ClusterError | None:
    if not _is_for_good(said, shut=shut):
        return None
    reasons = {str(event.get("reason")) for event in events}
    if "TriggeredScaleUp" in reasons or (autoscaled and "NotTriggerScaleUp" not in reasons):
        return None
    return ClusterError(
        doing,
        _line(f"no node of the cluster is large enough for it, or of the kind it needs: {said}"),
        "choose a smaller size or another image profile; the administrator may compare its "
        "range and node selector with the nodes",
    )


def _is_for_good(said: str, *, shut: bool) -> bool:
    """Say whether the scheduler says that each node lacks what no pod's end would give it.

    Taints are left to pass, as those of a node that is restarting do, unless they
    are there to stay.
    """
    nodes = _NODES.match(said)
    if nodes is None:
        return False
    words, _, preemption = nodes[2].partition("preemption:")
    found = _NODES.search(preemption)
    if found is None or f"{nodes[1]} {_UNHELPFUL}" not in found[2]:
        return False
    # The reasons end with a full stop; a sentence about devices may follow.
    parts = [_REASON.match(part.strip()) for part in words.partition(". ")[0].split(",")]
    said_of = [part[2].rstrip(". ") if part else "" for part in parts]
    return all(_FOR_GOOD.fullmatch(it) or (shut and _TAINTED.fullmatch(it)) for it in said_of)


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else f"{text[: _LIMIT - 3]}..."
