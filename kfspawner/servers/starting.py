"""How a server starts: what is waited for, how that is seen, and what is told meanwhile.

KubeSpawner asks in ever longer pauses whether a pod runs, and JupyterHub then
whether it answers. Here the first question is answered once, when it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

from traitlets import Integer, default

from kfspawner.errors import ClusterError
from kfspawner.profiles.api import Object
from kfspawner.servers.capacity import stays_shut
from kfspawner.servers.choosing import Choosing, extend
from kfspawner.servers.failures import unplaced, why_never
from kfspawner.servers.progress import Step, describe, interleave, waits_for
from kfspawner.servers.queueing import describe_queue

# For how many seconds a start waits for the controller.
_PROFILE_PATIENCE = 60.0
# How often a pod is looked at where only time passes, in seconds.
_LOOK = 1.0
# Seconds between two knocks at a server's door: for one, and for each of many at once.
_KNOCK = 0.02
_KNOCK_EACH = 0.005
_KNOCK_LIMIT = 2.0


class Starting(Choosing):
    """KubeSpawner's start, that ends as soon as the server answers or cannot any more.

    These hooks are overridden: `_ensure_namespace`, `is_pod_running`, `get_url`,
    `progress`.
    """

    queue_timeout = Integer(
        600,
        min=1,
        config=True,
        help="""
        Set for how many seconds a start waits for a place on a node.

        While a GPU is in use, say, or while the cluster adds a node. What no node
        could ever hold is refused within seconds. `start_timeout` is what a start
        may take in all, and 600 seconds longer unless it is set: an image may
        have to be fetched.
        """,
    )

    # How many starts wait for an answer at this moment.
    _knocking: ClassVar[int] = 0
    # Whether the pod of this start was seen.
    _seen = False

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return int(self.queue_timeout) + 600

    # What is made on the cluster.

    async def _start_in_time(self) -> str:
        # Before JupyterHub's own timeout, which could not say what was waited for.
        patience = max(1.0, self.start_timeout - 2.0)
        self._seen = False
        try:
            async with asyncio.timeout(patience):
                url: str = await super().start()
        except TimeoutError as error:
            raise self._too_late(patience, str(error)) from error
        return url

    def _too_late(self, seconds: float, said: str = "") -> ClusterError:
        events = self.events
        last = self._waits_for() or (describe(events[-1], self._queue) if events else said)
        return ClusterError(
            self._doing,
            f"it did not run after {seconds:.0f} seconds. {last}",
            "try again later, or choose another size or image profile",
        )

    async def _ensure_namespace(self) -> None:
        """Wait for the namespace, which the controller makes, and know what happens in it."""
        # Should the hub end now, its successor finds what was begun.
        self.orm_spawner.state = self.get_state()
        self.user.db.commit()
        profiles = [self.namespace]
        if self._files.own_home:
            profiles.append(self._personal)
        await asyncio.gather(
            *(self._directory.wait_ready(name, _PROFILE_PATIENCE) for name in profiles),
            self._start_watching_pods(),
            self._start_watching_events(),
        )

    # What is waited for.

    @property
    def _pod(self) -> Object | None:
        pod: Object | None = self.pod_reflector.pods.get(self._pod_key)
        return pod

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool | Awaitable[bool]:
        """Say whether the pod runs; to the start that waits for it, once it answers.

        Raises
        ------
        ClusterError
            In a start, if it never will.
        """
        if self._start_future is asyncio.current_task():
            return self._until_ready()
        return bool(super().is_pod_running(pod))

    async def _until_ready(self) -> bool:
        """Return True once the server answers."""
        pod = await self._until_running()
        await self._until_answering(str(self._get_pod_url(pod)))
        return True

    async def _until_running(self) -> Object:
        begun = asyncio.get_running_loop().time()
        while True:
            news = self.pod_reflector.changed(self._pod_key)
            pod = self._pod
            self._check(pod)
            if pod and super().is_pod_running(pod):
                return pod
            waited = asyncio.get_running_loop().time() - begun
            if waits_for(pod) and waited > self.queue_timeout:
                raise self._too_late(waited)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await news.wait()

    def _check(self, pod: Object | None) -> None:
        """Raise what keeps the pod from ever running."""
        if pod is None:
            if not self._seen:
                return
            raise ClusterError(
                self._doing, "somebody deleted its pod while it started", "start it again"
            )
        self._seen = True
        now = datetime.now(UTC)
        error = why_never(pod, self.events, now, autoscaled=self.autoscaled, shut=self._shut(pod))
        if error:
            raise error

    def _shut(self, pod: Object) -> bool:
        if not unplaced(pod):
            return False
        self._capacity.want()
        return stays_shut(self._capacity.nodes(), extend(self.tolerations, ()))

    async def _until_answering(self, url: str) -> None:
        """Return once something listens where the server should."""
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        begun = asyncio.get_running_loop().time()
        Starting._knocking += 1
        try:
            while not await _listens(str(address.hostname), port):
                self._check(self._pod)
                if asyncio.get_running_loop().time() - begun > self.http_timeout:
                    raise ClusterError(
                        self._doing,
                        f"its container runs, but after {self.http_timeout} seconds nothing "
                        f"answers at {address.hostname}:{port}",
                        "show this to the administrator: the image may start something else, "
                        "or a network policy be in the way",
                    )
                await asyncio.sleep(max(_KNOCK, _KNOCK_EACH * self._knocking))
        finally:
            Starting._knocking -= 1

    async def get_url(self) -> str:
        """Return where the server is; after a restart of the hub, once it has started there."""
        url: str = await super().get_url()
        pod = self._pod
        if pod is None or super().is_pod_running(pod):
            return url
        self.log.info("Waiting for %s, which was starting when the hub ended", self._log_name)
        try:
            async with asyncio.timeout(self.start_timeout):
                await self._until_ready()
        except (ClusterError, TimeoutError) as error:
            # JupyterHub finds that nothing answers, and stops it.
            self.log.warning("%s", error)
            return url
        return str(self._get_pod_url(self._pod))

    # What the person sees meanwhile.

    def _waits_for(self) -> str:
        return waits_for(self._pod, self._queue) if self.pod_reflector else ""

    def _queue(self, device: str) -> str:
        self._capacity.want()
        since = self._pod["metadata"].get("creationTimestamp") if self._pod else None
        return describe_queue(device, since or "", self._capacity.uses())

    async def progress(self) -> AsyncGenerator[Step, None]:
        """Yield KubeSpawner's progress, and what the pod waits for, as one can act on it."""
        told = 0

        def look() -> str:
            nonlocal told
            if told < len(self._remarks):
                told += 1
                return self._remarks[told - 1]
            return self._waits_for()

        async with aclosing(interleave(self._events_told(), look)) as steps:
            async for step in steps:
                yield step

    async def _events_told(self) -> AsyncGenerator[Step, None]:
        async with aclosing(super().progress()) as steps:
            async for step in steps:
                if "raw_event" in step:
                    size = self._contents_of(self.image).describe_size()
                    step["message"] = describe(step["raw_event"], self._queue, size)
                yield step


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_KNOCK_LIMIT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
