"""A server, as its pod tells of it.

Pods and events come in as the API's dicts, sentences go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kfspawner.labels import (
    IMAGE_PROFILE_ANNOTATION,
    MANAGED_BY,
    SERVERNAME_ANNOTATION,
    SERVERNAME_LABEL,
    USER_ANNOTATION,
    USERNAME_ANNOTATION,
)
from kfspawner.profiles.resources import Selection
from kfspawner.servers.failures import why_never
from kfspawner.servers.progress import describe, waits_for

# What KubeSpawner calls the server's container.
CONTAINER = "notebook"
_ENDED = ("Succeeded", "Failed")

_Pod = Mapping[str, Any]


class State(StrEnum):
    """How a server does, in one word."""

    RUNNING = "running"
    STARTING = "starting"
    WAITING = "waiting"
    FAILING = "failing"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True)
class Server:
    """One server on the cluster.

    Attributes
    ----------
    person, name
        Whose it is, and which of theirs; the name is empty for the default one.
    profile
        The namespace that it is in.
    pod, uid
        Its pod.
    image_profile
        The key of what it was chosen as; empty where the pod does not say.
    image
        The reference of its image.
    node
        Where it runs; empty while it has no place.
    since
        When its pod was made.
    limits
        What it may use at most, as quantities.
    state, why
        How it does, and a sentence on that which leaves out what events tell.
    """

    person: str
    name: str
    profile: str
    pod: str
    uid: str
    image_profile: str
    image: str
    node: str
    since: datetime
    limits: Mapping[str, str]
    state: State
    why: str

    def __str__(self) -> str:
        which = f"server {self.name}" if self.name else "server"
        return f"{self.person}'s {which} in profile {self.profile}"


def select_servers(profile: str = "") -> Selection:
    """Return the selection of all servers' pods, in one profile or in all."""
    managed = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
    return Selection("Pod", profile, labels=f"{managed},{SERVERNAME_LABEL}")


def read_server(pod: _Pod, now: datetime) -> Server:
    """Return what a pod says of its server."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    spec = pod.get("spec") or {}
    container = _server_of(spec.get("containers") or ())
    state = _state(pod, now)
    return Server(
        person=str(annotations.get(USERNAME_ANNOTATION) or annotations.get(USER_ANNOTATION) or ""),
        name=str(annotations.get(SERVERNAME_ANNOTATION) or ""),
        profile=metadata["namespace"],
        pod=metadata["name"],
        uid=metadata["uid"],
        image_profile=str(annotations.get(IMAGE_PROFILE_ANNOTATION) or ""),
        image=str(container.get("image") or ""),
        node=str(spec.get("nodeName") or ""),
        since=datetime.fromisoformat(metadata["creationTimestamp"]),
        limits=dict((container.get("resources") or {}).get("limits") or {}),
        state=state,
        why=explain(pod, (), now),
    )


def explain(pod: _Pod, events: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """Return one sentence on what a server waits for, or why it will not run.

    Parameters
    ----------
    pod
        A Pod as the API returns it.
    events
        What was reported of it, the latest last.
    now
        The time.
    """
    state = _state(pod, now, events)
    if state is State.STOPPING:
        return f"it is being stopped, since {pod['metadata']['deletionTimestamp']}"
    if state is State.RUNNING:
        return "it runs, and waits for nothing"
    error = why_never(pod, events, now)
    if error:
        return f"{error.cause}; {error.way_out}"
    if state is State.ENDED:
        return "it has ended, and the hub will take note of that"
    waits = waits_for(pod) or (describe(events[-1]) if events else "")
    return waits or "its pod is there, and nothing was reported of it yet"


def _state(pod: _Pod, now: datetime, events: Iterable[Mapping[str, Any]] = ()) -> State:
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return State.STOPPING
    if status.get("phase") == "Succeeded":
        return State.ENDED
    if _runs(status):
        return State.RUNNING
    if why_never(pod, events, now):
        return State.FAILING
    if status.get("phase") in _ENDED:
        return State.ENDED
    return State.WAITING if waits_for(pod) else State.STARTING


def _runs(status: Mapping[str, Any]) -> bool:
    server = _server_of(status.get("containerStatuses") or ())
    return status.get("phase") == "Running" and "running" in (server.get("state") or {})


def _server_of(containers: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((it for it in containers if it.get("name") == CONTAINER), {})
