"""Pods of servers that the hub does not have: what is said of them, and their end.

Somebody's account may have been deleted while the API was away, or the hub's
database be that of an hour ago. Such a server is of no use to its person: the
hub does not know its token any more. It holds its CPU, memory and GPU all the
same, until they start another in its place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from kfspawner.errors import ClusterError
from kfspawner.labels import HUB_LABEL, RUN_LABEL, USERNAME_ANNOTATION
from kfspawner.profiles.api import Api, Object
from kfspawner.quota import pod_owner
from kfspawner.servers.podview import PodView

KEEP, STOP = "keep", "stop"
# How often it is looked for them, in seconds, and how old the view may be then.
_EVERY = 15.0
_FRESH = 45.0


@dataclass(frozen=True)
class Policy:
    """What becomes of orphans.

    Attributes
    ----------
    hub
        Whose pods are meant: the value of `HUB_LABEL`.
    stops
        Whether they are deleted, and not only told of.
    grace
        For how many seconds the hub must not have had one before.
    """

    hub: str
    stops: bool
    grace: float


def find_orphans(
    pods: Mapping[str, Object], owned: Collection[str], hub: str
) -> Iterator[tuple[str, Object]]:
    """Yield the pods of a hub's servers that it does not have, by ``<namespace>/<name>``.

    Parameters
    ----------
    pods
        All that are known.
    owned
        Those that the hub has, or is about to make.
    hub
        The hub's label. Whatever bears none is not known to be its own.
    """
    for key, pod in pods.items():
        metadata = pod["metadata"]
        labels = metadata.get("labels") or {}
        ours = labels.get(HUB_LABEL) == hub and RUN_LABEL not in labels
        named = USERNAME_ANNOTATION in (metadata.get("annotations") or {})
        if ours and named and key not in owned and not metadata.get("deletionTimestamp"):
            yield key, pod


class Orphans:
    """Looks for orphans among the pods that the hub knows of.

    Parameters
    ----------
    api, view
        The cluster, and what is known of its servers.
    policy
        What becomes of them.
    owned
        Returns the pods of the servers that the hub has.
    log
        Told of each orphan, once, and of its end.
    """

    def __init__(
        self,
        api: Api,
        view: PodView,
        policy: Policy,
        owned: Callable[[], Collection[str]],
        log: logging.Logger,
    ) -> None:
        self._api = api
        self._view = view
        self._policy = policy
        self._owned = owned
        self._log = log
        # Since when each was one, by the uid of its pod.
        self._since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for them from now on, until `stop`."""
        await self.stop()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Look for them no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.look(time.monotonic())
            except Exception:  # noqa: BLE001 - the next look may go better
                self._log.exception("Looking for servers that the hub does not have failed")

    async def look(self, now: float) -> None:
        """Look once; delete those that were orphans for long enough, if the policy says so.

        Nothing is concluded from a view that is not of now.
        """
        if not self._view.loaded or self._view.age > _FRESH:
            return
        found = dict(find_orphans(self._view.pods, self._owned(), self._policy.hub))
        known, self._since = self._since, {}
        for key, pod in found.items():
            uid = pod["metadata"]["uid"]
            self._since[uid] = known.get(uid, now)
            if uid not in known:
                self._tell(pod)
            if self._policy.stops and now - self._since[uid] >= self._policy.grace:
                await self._stop(key, pod)

    def _tell(self, pod: Object) -> None:
        becomes = "it stays"
        if self._policy.stops:
            becomes = f"it is stopped in {self._policy.grace:.0f} seconds"
        self._log.warning(
            "The hub does not have %s, pod %s in profile %s; %s. See `kfspawner servers orphans`",
            pod_owner(pod),
            pod["metadata"]["name"],
            pod["metadata"]["namespace"],
            becomes,
        )

    async def _stop(self, key: str, pod: Object) -> None:
        namespace, _, name = key.partition("/")
        # Its person may have started another just now, while others were stopped.
        if key in self._owned():
            return
        try:
            await self._api.delete("Pod", name, namespace, uid=pod["metadata"]["uid"])
        except ClusterError as error:
            self._log.warning("%s, which the hub does not have, stays: %s", pod_owner(pod), error)
        else:
            self._log.warning("Stopped %s, which the hub did not have", pod_owner(pod))
