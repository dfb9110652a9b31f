"""What a quota refuses, in words: what was asked, what is used, by whom, and what would fit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from kfspawner.labels import (
    RUN_LABEL,
    SERVERNAME_ANNOTATION,
    USER_ANNOTATION,
    USER_LABEL,
    USERNAME_ANNOTATION,
)
from kfspawner.quantity import read_quantity, show_bytes, show_quantity

Object = Mapping[str, Any]

# How much of a resource, as the quota calls it, each user has.
Users = Callable[[str], Mapping[str, Fraction]]

# The one that a Profile's namespace has; Kubeflow calls it so too.
PROFILE_QUOTA = "kf-resource-quota"

_REFUSAL = re.compile(
    r"exceeded quota: (?P<name>\S+), requested: (?P<requested>\S+), "
    r"used: (?P<used>\S+), limited: (?P<limited>\S+)"
)
_CALLED = {
    "cpu": "too little CPU",
    "requests.cpu": "too little CPU",
    "limits.cpu": "too little CPU for its limit",
    "memory": "too little memory",
    "requests.memory": "too little memory",
    "limits.memory": "too little memory for its limit",
    "requests.nvidia.com/gpu": "too little GPU",
    "requests.storage": "too little storage",
    "persistentvolumeclaims": "too few volume claims",
    "pods": "too few pods",
}
_BYTES = re.compile(r"(?:.*[./])?(?:memory|storage|ephemeral-storage|hugepages-\w+)")
# What a quota may call an amount that a container asks for.
_PLAIN = {"cpu", "memory", "ephemeral-storage"}
_LIMITED = {"cpu", "memory", "ephemeral-storage"}
_ENDED = {"Succeeded", "Failed"}
# Anybody reads five names, and nobody fifty.
_NAMED = 5


@dataclass(frozen=True)
class Shortage:
    """One resource that a quota leaves too little of.

    Attributes
    ----------
    resource
        As the quota calls it: ``requests.memory``.
    asked, used, limit
        How much of it.
    """

    resource: str
    asked: Fraction
    used: Fraction
    limit: Fraction

    @property
    def fits(self) -> Fraction:
        """The most that would have been granted."""
        return max(Fraction(0), self.limit - self.used)

    def describe(
        self, pods: Iterable[Object] = (), users: Mapping[str, Fraction] | None = None
    ) -> str:
        """Return that in words.

        Parameters
        ----------
        pods
            All of the namespace's.
        users
            How much each uses, where that is known without the pods.
        """
        users = _users(self.resource, pods) if users is None else users
        by = f" by {list_names(self._named(users))}" if users else ""
        asked, used, limit, fits = (
            self._show(it) for it in (self.asked, self.used, self.limit, self.fits)
        )
        called = _CALLED.get(self.resource, f"too little {self.resource}")
        return f"{called}: {asked} asked for, {used} of {limit} in use{by}; {fits} would fit"

    def _named(self, users: Mapping[str, Fraction]) -> list[str]:
        """Return who uses it, the most first, and how much where that is not all."""
        if list(users.values()) == [self.used]:
            return list(users)
        ordered = sorted(users.items(), key=lambda it: (-it[1], it[0]))
        return [f"{user} ({self._show(amount)})" for user, amount in ordered]

    def _show(self, amount: Fraction) -> str:
        return (show_bytes if _BYTES.fullmatch(self.resource) else show_quantity)(amount)


@dataclass(frozen=True)
class QuotaExcess:
    """What a ResourceQuota refuses, or would refuse.

    Attributes
    ----------
    quota
        Its name.
    shortages
        What it leaves too little of; at least one.
    """

    quota: str
    shortages: tuple[Shortage, ...]

    @classmethod
    def parse(cls, message: str) -> Self | None:
        """Return the excess that an API message tells of, or None if it tells of none."""
        found = _REFUSAL.search(message)
        if not found:
            return None
        try:
            requested, used, limited = (_read(found[it]) for it in ("requested", "used", "limited"))
            shortages = tuple(
                Shortage(resource, asked, used[resource], limited[resource])
                for resource, asked in requested.items()
            )
        except (KeyError, ValueError):
            return None
        return cls(found["name"], shortages) if shortages else None

    @classmethod
    def foresee(cls, quota: Object, pod_spec: Object) -> Self | None:
        """Return what `quota` will refuse of a pod, or None if it will not.

        A quota for some pods only, by scopes, is not foreseen: which pods those
        are is for the cluster to say.

        Parameters
        ----------
        quota
            A ResourceQuota as the API returns it.
        pod_spec
            What is to be made.
        """
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            return None
        usage, used = pod_usage(pod_spec), status.get("used") or {}
        # A limit that the cluster has not counted for yet is not foreseen either.
        shortages = (
            Shortage(resource, usage[resource], read_quantity(used[resource]), read_quantity(limit))
            for resource, limit in (status.get("hard") or {}).items()
            if usage.get(resource) and resource in used
        )
        short = tuple(it for it in shortages if it.used + it.asked > it.limit)
        return cls(quota["metadata"]["name"], short) if short else None

    @property
    def may_fit_later(self) -> bool:
        """Whether it would fit if nothing else used the quota."""
        return all(it.asked <= it.limit for it in self.shortages)

    def describe(
        self, namespace: str = "", pods: Sequence[Object] = (), users: Users | None = None
    ) -> str:
        """Return it as one paragraph.

        Parameters
        ----------
        namespace
            The Profile's, and so its name.
        pods
            All of its pods: they tell who uses what.
        users
            What tells that in their place: how much each uses of a resource.
        """
        quota = "the quota" if self.quota == PROFILE_QUOTA else f"the quota {self.quota}"
        if namespace:
            quota += f" of profile {namespace}"
        told = (it.describe(pods, users(it.resource) if users else None) for it in self.shortages)
        return f"{quota} leaves " + ", and ".join(told)

    def __str__(self) -> str:
        return self.describe()


def pod_usage(spec: Object) -> dict[str, Fraction]:
    """Return what a pod counts against a quota, by the names that quotas have for it."""
    usage = {"pods": Fraction(1), "count/pods": Fraction(1)}
    for resource, amount in pod_total(spec, "requests").items():
        usage[f"requests.{resource}"] = amount
        if resource in _PLAIN or resource.startswith("hugepages-"):
            usage[resource] = amount
    for resource, amount in pod_total(spec, "limits").items():
        if resource in _LIMITED:
            usage[f"limits.{resource}"] = amount
    return usage


def pod_total(spec: Object, part: str) -> dict[str, Fraction]:
    """Return the ``requests`` or ``limits`` of a pod, as the scheduler adds them up.

    Its init containers run before, one by one, and count where one alone needs
    more. Those that restart stay, beside what comes after them.
    """
    total: dict[str, Fraction] = defaultdict(Fraction)
    peak: dict[str, Fraction] = defaultdict(Fraction)
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, part)
        for resource in {*amounts, *total}:
            alone = total[resource] + amounts.get(resource, 0)
            peak[resource] = max(peak[resource], alone)
            if container.get("restartPolicy") == "Always":
                total[resource] = alone
    for container in spec.get("containers") or ():
        for resource, amount in _amounts(container, part).items():
            total[resource] += amount
    for resource, amount in peak.items():
        total[resource] = max(total[resource], amount)
    for resource, amount in (spec.get("overhead") or {}).items():
        total[resource] += read_quantity(amount)
    return dict(total)


def _amounts(container: Object, part: str) -> dict[str, Fraction]:
    """Return what a container has under `part`; what it may use it asks for, if it says no less."""
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    given = limits if part == "limits" else {**limits, **(resources.get("requests") or {})}
    return {resource: read_quantity(amount) for resource, amount in given.items()}


def _users(resource: str, pods: Iterable[Object]) -> dict[str, Fraction]:
    """Return how much of `resource` each server, run or other pod uses; ended pods use none."""
    users: dict[str, Fraction] = defaultdict(Fraction)
    for pod in pods:
        ended = (pod.get("status") or {}).get("phase") in _ENDED
        if ended and resource != "count/pods":
            continue
        if amount := pod_usage(pod.get("spec") or {}).get(resource):
            users[pod_owner(pod)] += amount
    return users


def pod_owner(pod: Object) -> str:
    """Return what a pod is to people: ``bob's server``."""
    metadata = pod["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    known = (
        annotations.get(USER_ANNOTATION),
        annotations.get(USERNAME_ANNOTATION),
        labels.get(USER_LABEL),
    )
    user = next((_plain(name) for name in known if name), "")
    if run := labels.get(RUN_LABEL):
        what = f"run {_plain(run)}"
    elif labels.get("component") == "singleuser-server":
        what = f"server {_plain(annotations.get(SERVERNAME_ANNOTATION) or '')}".rstrip()
    else:
        return f"pod {_plain(metadata['name'])}"
    going = " (which is stopping)" if metadata.get("deletionTimestamp") else ""
    return (f"{user}'s {what}" if user else what) + going


def _plain(text: str) -> str:
    """Return a name that a person gave, on one line and not too long."""
    return " ".join(str(text).split())[:60]


def list_names(names: Sequence[str]) -> str:
    """Return names as a sentence has them, not too many of them."""
    names = [*names[:_NAMED], *_more(len(names) - _NAMED)]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"{count} more"


def _read(pairs: str) -> dict[str, Fraction]:
    """Return the amounts in ``requests.cpu=1,requests.memory=2Gi``."""
    parted = (pair.partition("=") for pair in pairs.split(","))
    return {resource: read_quantity(amount) for resource, _, amount in parted}
