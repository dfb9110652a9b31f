"""What Kubernetes reports of a pod -> what a person can act on.

Events and pods come in as the API's dicts, sentences go out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from kfspawner.errors import ClusterError

# What JupyterHub sends to the page: "message", and perhaps "progress" in percent.
Step = dict[str, Any]

_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]*\w)")
_SCARCE = {
    "cpu": (
        "Waiting for CPU: the cluster has too little left",
        "choose less CPU, or stop a server or a run that you no longer need",
    ),
    "memory": (
        "Waiting for memory: the cluster has too little left",
        "choose less memory, or stop a server or a run that you no longer need",
    ),
    "pods": ("Waiting for a place: the nodes hold as many pods as they may", "ask for more nodes"),
}
# A part of the scheduler's message -> what it means. The first that fits is taken.
_UNPLACEABLE = (
    (
        "persistentvolumeclaim",
        "Waiting for your home volume",
        "if this lasts over a minute, ask the administrator to look at the storage class",
    ),
    (
        "untolerated taint",
        "No node takes this kind of server",
        "choose another image profile, or ask the administrator to look at its tolerations",
    ),
    (
        "node affinity/selector",
        "No node fits this kind of server",
        "choose another image profile, or ask the administrator to look at its node selector",
    ),
)
# An event's reason -> what it means.
_PLAIN = {
    "Scheduled": "A node was found",
    "Pulling": "Fetching the image; the first time on a node this takes minutes",
    "Pulled": "The image is on the node",
    "Created": "The server's container was made",
    "Started": "The server is starting",
    "Killing": "The server is being stopped",
    "TriggeredScaleUp": "The cluster is adding a node; this takes minutes",
    "NotTriggerScaleUp": "No node can be added for this server; it waits for a free place",
    "Preempted": "The server made place for more important work",
    "FailedMount": "Waiting for your files to be mounted",
    "FailedAttachVolume": "Waiting for your files to be attached to the node",
    "FailedCreatePodSandBox": "The node could not prepare the pod yet, and tries again",
    "BackOff": "The node waits before it tries again",
    "Failed": "The node could not start the server",
    "Evicted": "The node ran out of a resource and ended the server",
}

_IMAGE_UNUSABLE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_UNUSABLE = frozenset({"CreateContainerConfigError", "CreateContainerError"})
# For how many seconds kubelet may try to mount before that is hopeless.
_MOUNT_SECONDS = 10.0
_TELL_ADMIN = "choose another image profile, or show this to the administrator"


def describe(event: Mapping[str, Any]) -> str:
    """Return one sentence for an event of a server's pod, with Kubernetes' own words after it."""
    reason = str(event.get("reason") or "")
    message = " ".join(str(event.get("message") or "").split())
    sentence = _scheduling(message) if reason == "FailedScheduling" else _PLAIN.get(reason, "")
    original = f"{reason}: {message}" if reason and message else reason or message
    return f"{sentence}. ({original})" if sentence else original


def _scheduling(message: str) -> str:
    short = _INSUFFICIENT.findall(message)
    for device in (resource for resource in short if resource not in _SCARCE):
        name = "a GPU" if device.endswith("/gpu") else device
        return (
            f"Waiting for {name}: all are in use. The server starts as soon as one is free; "
            f"stop a server or a run that holds one, or choose an image profile without"
        )
    if short:
        return "; ".join(_SCARCE[short[0]])
    for part, meaning, way_out in _UNPLACEABLE:
        if part in message.lower():
            return f"{meaning}; {way_out}"
    return "Waiting for a place in the cluster"


def waits_for(pod: Mapping[str, Any] | None) -> str:
    """Return one sentence on what the scheduler misses for `pod`, or nothing.

    Its condition tells it: of the scheduler's events only the first keeps its
    words, later ones are counted.
    """
    for condition in ((pod or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return describe({"reason": "FailedScheduling", "message": condition.get("message")})
    return ""


async def interleave(
    steps: AsyncGenerator[Step, None], look: Callable[[], str], every: float = 1.0
) -> AsyncGenerator[Step, None]:
    """Yield `steps`, and between them what `look` says; nothing twice in a row.

    Parameters
    ----------
    steps
        Dicts with a ``message``; closed at the end.
    look
        Called at least once in `every` seconds; an empty text is not shown.
    """
    told = ""
    step = asyncio.ensure_future(anext(steps))
    try:
        while True:
            done, _ = await asyncio.wait({step}, timeout=every)
            news = [{"message": look()}]
            if done:
                try:
                    news.append(step.result())
                except StopAsyncIteration:
                    return
                step = asyncio.ensure_future(anext(steps))
            for one in news:
                if one["message"] and one["message"] != told:
                    told = one["message"]
                    yield one
    finally:
        step.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await step
        await steps.aclose()


def cannot_start(pod: Mapping[str, Any]) -> ClusterError | None:
    """Return why a pod will not start however long one waits, or None while it may.

    Parameters
    ----------
    pod
        A Pod as the API returns it.
    """
    doing = f"starting server {pod['metadata']['name']}"
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        cause = f"the pod failed: {status.get('message') or status.get('reason') or 'no reason'}"
        return ClusterError(doing, _line(cause), _TELL_ADMIN)
    for container in _containers(status):
        error = _container_error(doing, container)
        if error:
            return error
    return None


def cannot_mount(
    pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]], now: datetime
) -> ClusterError | None:
    """Return why a pod's files cannot be had, once kubelet has tried for a while; or None.

    Parameters
    ----------
    pod
        A Pod as the API returns it, whose containers have not started.
    events
        What was reported; other pods' events may be among it.
    now
        The time.
    """
    uid = pod["metadata"].get("uid")
    failed = [
        event
        for event in events
        if event.get("reason") in ("FailedMount", "FailedAttachVolume")
        and event["involvedObject"].get("uid") == uid
    ]
    begun = [datetime.fromisoformat(it) for event in failed if (it := _first_time(event))]
    if not begun or (now - min(begun)).total_seconds() < _MOUNT_SECONDS:
        return None
    return ClusterError(
        f"starting server {pod['metadata']['name']}",
        _line(f"its files cannot be mounted: {failed[-1].get('message') or 'no reason given'}"),
        "show this to the administrator, who may look whether the server of the files runs; "
        "nothing in them was touched",
    )


def _first_time(event: Mapping[str, Any]) -> str:
    return str(event.get("firstTimestamp") or event.get("eventTime") or "")


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def _container_error(doing: str, container: Mapping[str, Any]) -> ClusterError | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    message = waiting.get("message") or reason
    if reason in _IMAGE_UNUSABLE:
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
        return _crash(doing, (container.get("lastState") or {}).get("terminated") or {})
    return None


def _crash(doing: str, ended: Mapping[str, Any]) -> ClusterError:
    if ended.get("reason") == "OOMKilled":
        return ClusterError(
            doing, "it ran out of memory while it started, again and again", "choose more memory"
        )
    code = ended.get("exitCode", "unknown")
    return ClusterError(
        doing,
        _line(f"it ends as soon as it starts, with exit code {code} {ended.get('message') or ''}"),
        "if you changed files under ~/.jupyter or ~/.local, move them away; otherwise "
        "show this to the administrator",
    )


def _line(text: str, limit: int = 600) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
