"""What a person may choose that fits now: on the nodes, and in what is left of a quota."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any

from kfspawner.quantity import read_quantity
from kfspawner.quota import QuotaExcess
from kfspawner.servers.amounts import show_bytes, show_cores
from kfspawner.servers.capacity import (
    CORE,
    Fit,
    Request,
    Room,
    Use,
    admits,
    call_device,
    look_for_room,
)
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.options import Offers, ServerOptions, default_options

Object = Mapping[str, Any]

# In what steps less is proposed: tenths of a core, and 256M.
_CORE_STEP = 0.1
_BYTES_STEP = 2**28


@dataclass(frozen=True)
class Finding:
    """Whether a server fits now.

    Attributes
    ----------
    why
        Why it does not, as a sentence; empty if it does.
    nearest
        What does instead; None if nothing does, or nothing else is needed.
    """

    why: str = ""
    nearest: ServerOptions | None = None

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return not self.why


@dataclass(frozen=True)
class Placement:
    """Where servers may go besides what an image profile says: KubeSpawner's own settings."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()
    autoscaled: bool = False


ANYWHERE = Placement()


@dataclass(frozen=True)
class Capacity:
    """What was free at one moment.

    Attributes
    ----------
    rooms
        What is left of each node; None if that is not known.
    quotas
        The ResourceQuota objects of each namespace.
    uses
        What each pod takes, by namespace and name.
    """

    rooms: Sequence[Room] | None = None
    quotas: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    uses: Mapping[str, Mapping[str, Use]] = field(default_factory=dict)

    def find(
        self, options: ServerOptions, offers: Offers, placement: Placement = ANYWHERE
    ) -> Finding:
        """Return whether a server fits now, why not, and the nearest that does.

        Parameters
        ----------
        options
            The server.
        offers
            What else its person may choose.
        placement
            Where servers may go.
        """
        profile = _profile_of(options, offers)
        why = self._why_not(options, profile, placement)
        if not why:
            return Finding()
        others = self._instead(options, offers, placement)
        return Finding(why, next(others, None))

    def left(self, namespace: str) -> dict[str, Fraction]:
        """Return what the quotas of a namespace leave of each resource, as they call it."""
        left: dict[str, Fraction] = {}
        for quota in self.quotas.get(namespace, ()):
            if _is_for_some(quota):
                continue
            status = quota.get("status") or {}
            used = status.get("used") or {}
            for resource, limit in (status.get("hard") or {}).items():
                if resource in used:
                    free = max(Fraction(0), read_quantity(limit) - read_quantity(used[resource]))
                    left[resource] = min(free, left.get(resource, free))
        return left

    def users(self, namespace: str, resource: str) -> dict[str, Fraction]:
        """Return how much of a resource, as quotas call it, each in a namespace uses."""
        plain = resource.removeprefix("requests.")
        unit = CORE if plain == "cpu" else 1
        users: defaultdict[str, Fraction] = defaultdict(Fraction)
        for use in self.uses.get(namespace, {}).values():
            if amount := use.amounts.get(plain):
                users[use.owner] += Fraction(amount, unit)
        return dict(users)

    def rooms_of(self, profile: ImageProfile, placement: Placement = ANYWHERE) -> list[Room]:
        """Return the nodes where servers of an image profile may go, and run now."""
        kind = _request(None, profile, placement)
        return [it for it in self.rooms or () if it.node.ready and admits(it.node, kind)]

    def _why_not(self, options: ServerOptions, profile: ImageProfile, placement: Placement) -> str:
        spec = _pod_spec(options, profile)
        for quota in self.quotas.get(options.profile, ()):
            excess = QuotaExcess.foresee(quota, spec)
            if excess:
                users = partial(self.users, options.profile)
                return f"Does not fit now: {excess.describe(options.profile, users=users)}."
        if self.rooms is None:
            return ""
        fit = look_for_room(_request(options, profile, placement), self.rooms)
        return _say(fit, autoscaled=placement.autoscaled)

    def _instead(
        self, options: ServerOptions, offers: Offers, placement: Placement
    ) -> Iterator[ServerOptions]:
        """Yield what fits now: the same but smaller, then elsewhere, then something else."""
        places = [options.profile, *(it for it in offers.profiles if it != options.profile)]
        wanted = [
            replace(options, profile=place)
            for place in places
            if options.image_profile in offers.image_profiles(place)
        ]
        kinds = _profile_of(options, offers).kinds
        wanted += [replace(options, gpu_kind=it) for it in kinds if it != options.gpu_kind]
        wanted += [
            default_options(options.profile, it)
            for key, it in offers.image_profiles(options.profile).items()
            if key != options.image_profile
        ]
        for it in wanted:
            found = self._shrink(it, _profile_of(it, offers), placement)
            if found:
                yield found

    def _shrink(
        self, options: ServerOptions, profile: ImageProfile, placement: Placement
    ) -> ServerOptions | None:
        """Return the largest server up to `options` that fits now, or None."""
        left = self.left(options.profile)
        if left.get("pods", 1) < 1 or left.get("count/pods", 1) < 1:
            return None
        free: Iterable[Mapping[str, int]] = ({},)
        if self.rooms is not None:
            rooms = self.rooms_of(profile, placement)
            free = [it.free for it in rooms if it.free.get("pods", 1)]
        found = (_shrink_to(options, profile, left, it) for it in free)
        return max(filter(None, found), key=lambda it: (it.gpu, it.cpu * it.memory), default=None)


NOTHING_KNOWN = Capacity()


def _profile_of(options: ServerOptions, offers: Offers) -> ImageProfile:
    """Return the image profile of a server, with the kind of GPU that it has."""
    profile = offers.image_profiles(options.profile)[options.image_profile]
    return profile.of_kind(options.gpu_kind)


def describe_options(options: ServerOptions, profile: ImageProfile) -> str:
    """Return the size of a server in words: ``2 cores, 4G and 1 GPU``."""
    profile = profile.of_kind(options.gpu_kind)
    cores = show_cores(options.cpu)
    words = [f"{cores} {'core' if cores == '1' else 'cores'}", show_bytes(options.memory)]
    if options.gpu:
        called = profile.gpu_called or call_device(profile.gpu_resource, options.gpu)
        words.append(f"{options.gpu} {called}")
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _shrink_to(
    options: ServerOptions,
    profile: ImageProfile,
    left: Mapping[str, Fraction],
    free: Mapping[str, int],
) -> ServerOptions | None:
    """Return the largest server up to `options` for what is left of a quota and a node."""
    cores = Fraction(free["cpu"], CORE) if "cpu" in free else None
    cpu = _most(options.cpu, profile.cpu, _cap("cpu", left, cores), left.get("limits.cpu"))
    memory = _most(
        options.memory,
        profile.memory,
        _cap("memory", left, free.get("memory")),
        left.get("limits.memory"),
    )
    gpu: float | None = 0
    if profile.gpu:
        count = free.get(profile.gpu_resource, 0) if free else None
        gpu = _most(options.gpu, profile.gpu, _cap(profile.gpu_resource, left, count), None)
        gpu = None if gpu is None else math.floor(gpu)
    cpu = _rounded(cpu, options.cpu, _CORE_STEP, profile.cpu)
    memory = _rounded(memory, options.memory, _BYTES_STEP, profile.memory)
    if (
        cpu is None
        or memory is None
        or gpu is None
        or (profile.gpu and not profile.gpu.offers(gpu))
    ):
        return None
    return replace(options, cpu=cpu, memory=int(memory), gpu=int(gpu))


def _cap(resource: str, left: Mapping[str, Fraction], free: float | Fraction | None) -> float:
    """Return the most that may be asked for of a resource."""
    caps = [left.get(f"requests.{resource}"), left.get(resource), free]
    return min((float(it) for it in caps if it is not None), default=math.inf)


def _most(chosen: float, offered: Range, asked: float, limit: Fraction | None) -> float | None:
    """Return the most up to `chosen` that can be had, or None if that is less than is offered."""
    most = min(chosen, float(limit)) if limit is not None else chosen
    if offered.promised(most) > asked:
        most = asked
    return most if most >= offered.minimum else None


def _rounded(value: float | None, chosen: float, step: float, offered: Range) -> float | None:
    """Return `value` in whole steps where it is not what was chosen, but never below the least."""
    if value is None or value == chosen:
        return value
    return max(offered.minimum, round(math.floor(value / step + 1e-9) * step, 6))


def _request(options: ServerOptions | None, profile: ImageProfile, placement: Placement) -> Request:
    amounts = {}
    if options:
        amounts = {
            "pods": 1,
            "cpu": math.ceil(profile.cpu.promised(options.cpu) * CORE),
            "memory": int(profile.memory.promised(options.memory)),
        }
        if options.gpu:
            amounts[profile.gpu_resource] = options.gpu
    return Request(
        amounts,
        {**placement.node_selector, **profile.node_selector},
        (*placement.tolerations, *profile.tolerations),
    )


def _pod_spec(options: ServerOptions, profile: ImageProfile) -> Object:
    devices = {profile.gpu_resource: options.gpu} if options.gpu else {}
    promised = {
        "cpu": f"{math.ceil(profile.cpu.promised(options.cpu) * CORE)}m",
        "memory": int(profile.memory.promised(options.memory)),
    }
    limits = {"cpu": f"{math.ceil(options.cpu * CORE)}m", "memory": options.memory}
    resources = {"requests": {**promised, **devices}, "limits": {**limits, **devices}}
    return {"containers": [{"resources": resources}]}


def _say(fit: Fit, *, autoscaled: bool) -> str:
    if fit.now:
        return ""
    if autoscaled:
        return f"Waits until the cluster has added a node: {fit.why}."
    return f"Waits until there is a place: {fit.why}." if fit.ever else f"Cannot start: {fit.why}."


def _is_for_some(quota: Object) -> bool:
    """Say whether a quota is for some pods only: which ones is for the cluster to say."""
    spec = quota.get("spec") or {}
    return bool(spec.get("scopes") or spec.get("scopeSelector"))
