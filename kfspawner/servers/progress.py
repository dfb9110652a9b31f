"""What Kubernetes reports of a pod -> what a person can act on.

Events and pods come in as the API's dicts, sentences go out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

from kfspawner.servers.failures import unplaced

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
    "Pulling": "Fetching the image{size}; the first time on a node this takes minutes",
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


def _nobody(_device: str) -> str:
    return ""


def describe(
    event: Mapping[str, Any], queue: Callable[[str], str] = _nobody, size: str = ""
) -> str:
    """Return one sentence for an event of a server's pod, with Kubernetes' own words after it.

    Parameters
    ----------
    event
        As the API returns it.
    queue
        Called with a device that is short: it returns what goes after "all are
        in use".
    size
        How large the server's image is, in words; empty if that is not known.
    """
    reason = str(event.get("reason") or "")
    message = " ".join(str(event.get("message") or "").split())
    if reason == "FailedScheduling":
        sentence = _scheduling(message, queue)
    else:
        sentence = _PLAIN.get(reason, "").format(size=f", {size}" if size else "")
    original = f"{reason}: {message}" if reason and message else reason or message
    return f"{sentence}. ({original})" if sentence else original


def _scheduling(message: str, queue: Callable[[str], str]) -> str:
    short = _INSUFFICIENT.findall(message)
    for device in (resource for resource in short if resource not in _SCARCE):
        name = "a GPU" if device.endswith("/gpu") else device
        return (
            f"Waiting for {name}: all are in use{queue(device)}. "
            f"The server starts as soon as one is free; "
            f"stop a server or a run that holds one, or choose an image profile without"
        )
    if short:
        return "; ".join(_SCARCE[short[0]])
    for part, meaning, way_out in _UNPLACEABLE:
        if part in message.lower():
            return f"{meaning}; {way_out}"
    return "Waiting for a place in the cluster"


def waits_for(pod: Mapping[str, Any] | None, queue: Callable[[str], str] = _nobody) -> str:
    """Return one sentence on what the scheduler misses for `pod`, or nothing.

    Its condition tells it: of the scheduler's events only the first keeps its
    words, later ones are counted. `queue` is as `describe` calls it.
    """
    said = unplaced(pod or {})
    return describe({"reason": "FailedScheduling", "message": said}, queue) if said else ""


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
