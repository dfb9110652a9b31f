"""Why a run waits or ended: Kubernetes' messages in words that its owner can act on."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

from kfspawner.quota import QuotaExcess
from kfspawner.training.resources import GPU
from kfspawner.training.state import RunState, Verdict

Object = Mapping[str, Any]


_NODES = re.compile(r"(?P<free>\d+)/(?P<all>\d+) nodes are available: (?P<why>.*)", re.DOTALL)
_SHORT = re.compile(r"\d+ Insufficient (?P<resource>[\w./-]*\w)")
_CALLED = {"cpu": "CPU", "memory": "memory", GPU: "a GPU"}
_FREE = {"cpu": "enough CPU", "memory": "enough memory"}
# Part of the scheduler's message -> what to say. The first that fits is taken.
_UNPLACED = (
    (
        re.compile(r'persistentvolumeclaim "(?P<what>[^"]+)" (?:not found|is being deleted)'),
        "waits for its home: there is no volume claim {what} in this namespace",
    ),
    (re.compile(r"PersistentVolumeClaims"), "waits for its home: its volume is not ready"),
    (
        re.compile(r"volume node affinity conflict"),
        "waits for a node that its home can be mounted on",
    ),
    (
        re.compile(r"untolerated taint"),
        "waits for a node that takes runs: all are reserved or not ready",
    ),
    (re.compile(r"Too many pods"), "waits for a place: the nodes hold as many pods as they may"),
    (re.compile(r"unschedulable"), "waits for a node that takes runs: all are closed"),
)

_NEVER = {
    "InvalidImageName": "its image name is not valid",
    "ErrImageNeverPull": "its image is not on the node and may not be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ImageInspectError": "its image is damaged on the node",
    "CreateContainerConfigError": "its container cannot be made",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
}
# In what the registry or containerd said: asking again brings the same answer.
_FINAL_PULL = re.compile(
    r"not found|manifest unknown|denied|unauthori[sz]ed|forbidden|no match for platform|"
    r"unsupported|invalid|mismatch",
    re.IGNORECASE,
)
# What containerd says around that: the image's name three times over, which
# would leave no room for the cause.
_PULL_NOISE = re.compile(
    r'^Back-off pulling image "[^"]*"(?:: ErrImagePull)?:? ?|rpc error: code = \w+ desc = |'
    r' (?:"[^" ]+@sha256:[0-9a-f]{64}"|[^" ]+@sha256:[0-9a-f]{64}:)'
)


def unschedulable(message: str) -> str:
    """Return why the scheduler finds no node, from its message."""
    found = _NODES.search(message)
    why = found["why"] if found else message
    # What follows tells whom it might have driven out.
    why = why.partition(" preemption:")[0].strip().rstrip(".")
    short = list(_SHORT.finditer(why))
    if found and short:
        # A GPU is what people wait for: it goes first.
        short.sort(key=lambda item: item["resource"] in {"cpu", "memory"})
        wanted = [_CALLED.get(item["resource"], item["resource"]) for item in short]
        names = " and ".join(_FREE.get(item["resource"], item["resource"]) for item in short)
        return (
            f"waits for {' and '.join(wanted)}: {found['free']} of {found['all']} nodes "
            f"have {names} free"
        )
    for pattern, words in _UNPLACED:
        if what := pattern.search(why):
            return words.format(**what.groupdict())
    return f"waits for a node: {_line(why)}" if why else "waits for a node"


def creating_failed(message: str, profile: str = "") -> Verdict:
    """Return what becomes of a run whose pod the API refused, from the Job's event.

    Over quota it is refused before anybody sees it as a run, but where the
    cluster took seconds to say so.
    """
    if excess := QuotaExcess.parse(message):
        why = excess.describe(profile)
        if excess.may_fit_later:
            return Verdict(RunState.QUEUED, f"waits for quota: {why}")
        words = f"it can never start, for it asks for more than there is: {why}"
        return Verdict(RunState.FAILED, words, stuck=True)
    cause = _line(re.sub(r"^Error creating: (?:pods \"[^\"]*\" is forbidden: )?", "", message))
    if "violates PodSecurity" in message:
        return Verdict(
            RunState.FAILED, f"the namespace's pod security refuses it: {cause}", stuck=True
        )
    if "is forbidden" in message and "not found" not in message:
        return Verdict(RunState.FAILED, f"the cluster refuses its pod: {cause}", stuck=True)
    # An account or a webhook that is not there yet may come.
    return Verdict(RunState.QUEUED, f"its pod could not be made yet: {cause}")


def waiting_reason(waiting: Object) -> Verdict | None:
    """Return what a container that waits is to be taken for, or None if that tells nothing."""
    reason = str(waiting.get("reason", ""))
    message = _PULL_NOISE.sub("", str(waiting.get("message") or ""))
    if reason == "ErrImagePull":
        if not _FINAL_PULL.search(message):
            words = "its image could not be pulled yet, and is tried again"
            return Verdict(RunState.QUEUED, _with(words, message))
        reason = "ImagePullBackOff"
    if reason in _NEVER:
        return Verdict(
            RunState.FAILED, _with(f"it cannot start: {_NEVER[reason]}", message), stuck=True
        )
    return None


def mounting_failed(message: str) -> str:
    """Return why a pod's volumes are not there, from its event."""
    return _with("its volumes could not be mounted yet, and are tried again", message)


def ended_reason(pod: Object, container: Object, failure: Object) -> str:
    """Return why a run Failed.

    Parameters
    ----------
    pod, container
        The pod and what kubelet says of the container, empty where they are gone.
    failure
        The Job's own Failed condition, empty before it has one.
    """
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return _with("its node ran short and evicted it", str(status.get("message") or ""))
    ended = (container.get("state") or {}).get("terminated") or {}
    if ended and status.get("reason") not in {"DeadlineExceeded", "Preempting"}:
        return _exit_reason(pod, ended)
    if status.get("reason") or status.get("message"):
        words = str(status.get("reason") or "its pod failed")
        return _with(words, str(status.get("message") or ""))
    if failure.get("reason", "BackoffLimitExceeded") == "BackoffLimitExceeded":
        return "its pod was deleted or lost, and its log with it"
    return _with(str(failure.get("reason")), str(failure.get("message") or ""))


def _exit_reason(pod: Object, ended: Object) -> str:
    code = int(ended.get("exitCode", 0))
    kind = ended.get("reason")
    if kind == "OOMKilled":
        limit = _memory_limit(pod)
        more = "give it more with --memory"
        return (
            f"out of memory: it used more than its {limit}; {more}"
            if limit
            else (
                f"out of memory: its node has no more; {more}, so that it gets a place with enough"
            )
        )
    if kind in {"StartError", "ContainerCannotRun"}:
        return _with("its command could not be started", str(ended.get("message") or ""))
    if kind == "ContainerStatusUnknown":
        return "its node lost it"
    if code > 128 and (name := _signal_name(code - 128)):
        return f"ended by {name} (exit code {code})"
    return f"exit code {code}"


def _memory_limit(pod: Object) -> str:
    containers = (pod.get("spec") or {}).get("containers") or [{}]
    return str(((containers[0].get("resources") or {}).get("limits") or {}).get("memory") or "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _with(words: str, message: str) -> str:
    message = _line(message)
    return f"{words} ({message})" if message else words


def _line(text: str, limit: int = 400) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
