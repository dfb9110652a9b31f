"""What is kept of a server's pod, and of an event, in the hub's memory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from kfspawner.profiles.api import Object

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
)
# Longer ones are other programs' notes, such as the whole manifest.
_LONGEST_ANNOTATION = 1024
_SPEC = ("nodeName", "schedulerName", "serviceAccountName", "priorityClassName")
_CONTAINER = ("name", "image", "ports", "resources")
_STATUS = ("phase", "reason", "message", "podIP", "hostIP", "startTime")
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_CONTAINER_STATUS = ("name", "image", "ready", "started", "restartCount", "state", "lastState")
# Where what came of containers is told.
_STATUSES = ("initContainerStatuses", "containerStatuses")
_CONTAINERS = ("initContainers", "containers")
_EVENT_DROPPED = ("managedFields", "annotations", "labels")


def slim_pod(pod: Mapping[str, Any]) -> Object:
    """Return of a Pod what KubeSpawner, its hooks and we read of servers that run.

    All keys are the API's. Environments, commands, volumes, probes and security
    contexts are left out, and annotations of more than 1024 characters.
    """
    metadata = _pick(pod["metadata"], _METADATA)
    if "annotations" in metadata:
        annotations = metadata["annotations"] or {}
        metadata["annotations"] = {
            name: value for name, value in annotations.items() if len(value) <= _LONGEST_ANNOTATION
        }
    spec = _pick(pod.get("spec") or {}, _SPEC)
    for name in _CONTAINERS:
        if containers := (pod.get("spec") or {}).get(name):
            spec[name] = [_pick(it, _CONTAINER) for it in containers]
    spec.setdefault("containers", [])
    status: Object = {"phase": "Pending", "podIP": None}
    told = pod.get("status") or {}
    status.update(_pick(told, _STATUS))
    if conditions := told.get("conditions"):
        status["conditions"] = [_pick(it, _CONDITION) for it in conditions]
    for name in _STATUSES:
        if told.get(name) is not None:
            status[name] = [_pick(it, _CONTAINER_STATUS) for it in told[name]]
    kept: Object = _shared({"kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
    return kept


def slim_event(event: Mapping[str, Any]) -> Object:
    """Return of an Event all but who wrote which field of it, with the times that it may lack."""
    metadata = {k: it for k, it in event["metadata"].items() if k not in _EVENT_DROPPED}
    times = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
    texts = {"reason": "", "message": "", "type": "Normal"}
    return {**times, **texts, **event, "metadata": metadata}


def _shared(value: Any) -> Any:
    """Return a JSON value whose strings are kept once for all who have the same."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(key): _shared(it) for key, it in value.items()}
    if isinstance(value, list):
        return [_shared(it) for it in value]
    return value


def _pick(it: Mapping[str, Any], names: tuple[str, ...]) -> Object:
    return {name: it[name] for name in names if it.get(name) is not None}
