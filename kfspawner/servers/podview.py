"""The hub's view of the pods of all servers."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress

from kfspawner.errors import ClusterError, ClusterUnreachable
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.live import LiveObjects
from kfspawner.profiles.resources import Selection
from kfspawner.servers.slim import slim_pod

# For how many seconds it is waited until all pods were seen once.
_PATIENCE = 10.0
# What was last confirmed so many seconds ago is not relied on.
_STALE = 55.0
# How many pods are asked for at once where the watch does not tell, for how many
# seconds each, and for how many more nothing is asked after that was in vain.
_ASKING = 4
_ASK_SECONDS = 5.0
_IN_VAIN_SECONDS = 10.0
# Seconds between two lists that somebody asks for.
_AGAIN_SECONDS = 60.0


class _ByKey(Mapping[str, Object]):
    """All pods that are known, by ``<namespace>/<name>``."""

    def __init__(self, view: LiveObjects[Object]) -> None:
        self._view = view

    def __getitem__(self, key: str) -> Object:
        namespace, _, name = key.partition("/")
        return self._view.found[namespace][name]

    def __iter__(self) -> Iterator[str]:
        for namespace, there in self._view.found.items():
            for name in there:
                yield f"{namespace}/{name}"

    def __len__(self) -> int:
        return sum(map(len, self._view.found.values()))


class PodView(LiveObjects[Object]):
    """The pods of all servers, called as KubeSpawner calls its reflector of pods.

    Attributes
    ----------
    pods
        What `slim_pod` keeps of each, by ``<namespace>/<name>``.
    waiting
        Who waits for news of a pod, or of its events.
    first_load_future
        Is done once all were seen once.
    """

    def __init__(self, api: Api, selection: Selection, log: logging.Logger) -> None:
        super().__init__(api, selection, slim_pod, log)
        self.pods: Mapping[str, Object] = _ByKey(self)
        self.waiting = self._waiting
        self.first_load_future: asyncio.Future[None] = asyncio.Future()
        self._task: asyncio.Task[None] | None = None
        self._asking = asyncio.Semaphore(_ASKING)
        self._in_vain = -math.inf
        self._begun = -math.inf

    @property
    def running(self) -> bool:
        """Whether it is kept up."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Keep it up from now on, until `stop`."""
        await self._begin(anew=False)

    async def again(self) -> None:
        """List all anew, unless that was done a moment ago; who waits goes on waiting."""
        if time.monotonic() - self._begun > _AGAIN_SECONDS:
            await self._begin(anew=True)

    async def _begin(self, *, anew: bool) -> None:
        await self.stop()
        self._begun = time.monotonic()
        self._task = asyncio.create_task(self.follow(anew=anew))

    async def stop(self) -> None:
        """Keep it up no longer; what was seen stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def load(self) -> str:
        """List all anew, and return the version of the list."""
        version = await super().load()
        if not self.first_load_future.done():
            self.first_load_future.set_result(None)
        return version

    async def ready(self, seconds: float = _PATIENCE) -> None:
        """Return once all were seen once.

        Raises
        ------
        ClusterError
            If that takes longer than `seconds`; it tells the API's answer.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self.loaded:
                    await self.news.wait()
        except TimeoutError as error:
            raise self.trouble or ClusterUnreachable(
                "looking at the servers",
                f"the Kubernetes API did not answer in {seconds:g} s",
                "try again in a minute; if it lasts, tell the administrator",
            ) from error

    def drop(self, key: str, uid: str = "") -> None:
        """Take note that a pod is gone; with `uid`, only if it is that one."""
        known = self.pods.get(key)
        if known is not None and uid in ("", known["metadata"]["uid"]):
            super().drop(key, known["metadata"]["uid"])

    async def confirm(self, key: str) -> None:
        """See to it that what is known of a pod is not old: ask for it if the watch is silent.

        Where the API does not answer either, it stays as it was last seen.
        """
        if self._may_rely():
            return
        async with self._asking:
            if self._may_rely():
                return
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    await self._ask(key)
            except (ClusterError, TimeoutError):
                # Why was told when the watch broke.
                self._in_vain = time.monotonic()

    def _may_rely(self) -> bool:
        """Say whether the view is of now, or there is no way to a better one for the moment."""
        return self.age < _STALE or time.monotonic() - self._in_vain < _IN_VAIN_SECONDS

    async def _ask(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        known = self.pods.get(key)
        named = Selection("Pod", namespace, self._selection.labels, fields=f"metadata.name={name}")
        async with aclosing(self._api.pages(named)) as pages:
            found = [pod async for page, _ in pages for pod in page]
        for pod in found:
            self.put(pod)
        if not found and known is not None:
            self.drop(key, known["metadata"]["uid"])
