"""The provisioner's process: follows claims and volumes, and has each place looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Never, TypeVar

from aiohttp import web

from kfspawner.errors import Error
from kfspawner.homes.ledger import Claim, Volume, read_claim, read_namespace, read_volume
from kfspawner.homes.mounter import Mounter
from kfspawner.homes.mounts import (
    Made,
    MountStanding,
    by_mount,
    next_mount_step,
    read_made,
    read_mounts,
)
from kfspawner.homes.plan import Standing, by_place, next_step
from kfspawner.homes.provisioner import Provisioner
from kfspawner.homes.volume import Server
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.live import LiveObjects
from kfspawner.profiles.resources import Selection
from kfspawner.profiles.workqueue import WorkQueue

T = TypeVar("T")
_Job = Callable[[], Awaitable[None]]

_LOG = logging.getLogger(__name__)

# Places that are worked on at once, and at most how many seconds pass until one
# that failed is tried again: people wait for it.
_WORKERS = 16
_PUT_OFF_SECONDS = 10.0
# What happens within this many seconds is looked at once.
_SETTLE_SECONDS = 0.02
# How old a measure may be, and how many seconds are between two.
_MEASURE_AGE = timedelta(hours=1)
_MEASURE_SECONDS = 2.0


class Service:
    """What is known of all places, and who looks at them.

    Parameters
    ----------
    api
        The cluster.
    provisioner, mounter
        Take the steps: about homes, and about what else profiles mount.
    server
        The export that both work on.
    """

    def __init__(
        self, api: Api, provisioner: Provisioner, mounter: Mounter, server: Server
    ) -> None:
        self._provisioner = provisioner
        self._mounter = mounter
        self._server = server
        self._claims = LiveObjects(api, Selection("PersistentVolumeClaim"), _read_claim, _LOG)
        self._volumes = LiveObjects(api, Selection("PersistentVolume"), _read_volume, _LOG)
        self._namespaces = LiveObjects(api, Selection("Namespace"), read_namespace, _LOG)
        self._mounts = LiveObjects(api, Selection("Profile"), read_mounts, _LOG)
        self._queue = WorkQueue(shortest=0.5, longest=_PUT_OFF_SECONDS)

    async def run(self, liveness_port: int) -> Never:
        """Work until this is cancelled."""
        runner = await _answer_liveness(liveness_port)
        try:
            async with asyncio.TaskGroup() as group:
                for kind in self._kinds:
                    group.create_task(kind.follow())
                for _ in range(_WORKERS):
                    group.create_task(self._work())
                group.create_task(self._measure())
                await self._look()
        finally:
            await runner.cleanup()
        raise AssertionError("no task of it ends by itself")  # pragma: no cover

    def standings(self) -> dict[str, Standing]:
        """Return how each place stands, by the name of its volume."""
        claims = [it for it in _all(self._claims) if isinstance(it, Claim)]
        volumes = [it for it in _all(self._volumes) if isinstance(it, Volume)]
        return by_place(claims, volumes, self._namespaces.found.get("", {}))

    def mounts(self) -> dict[str, MountStanding]:
        """Return how each mount stands, by the name of its volume."""
        made = [it for it in (*_all(self._claims), *_all(self._volumes)) if isinstance(it, Made)]
        wanted = self._mounts.found.get("", {})
        return by_mount(wanted, made, self._namespaces.found.get("", {}), self._server)

    def _todo(self) -> dict[str, _Job]:
        """Return what is to be done, by the names of volumes.

        What is not known would look like what is gone: before all is, nothing is done.
        """
        if not all(it.loaded for it in self._kinds):
            return {}
        jobs: dict[str, _Job] = {}
        for name, standing in self.standings().items():
            if step := next_step(standing):
                jobs[name] = partial(self._provisioner.take, step, standing)
        for name, mount in self.mounts().items():
            if mount_step := next_mount_step(mount):
                jobs[name] = partial(self._mounter.take, mount_step, mount)
        return jobs

    @property
    def _kinds(self) -> tuple[LiveObjects[Any], ...]:
        return self._claims, self._volumes, self._namespaces, self._mounts

    async def _look(self) -> Never:
        """Ask for a look at each volume about which something is to be done, after each change."""
        while True:
            news = [it.news for it in self._kinds]
            for name in self._todo():
                self._queue.add(name)
            waiting = [asyncio.ensure_future(it.wait()) for it in news]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for it in waiting:
                    it.cancel()
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _work(self) -> Never:
        while True:
            name = await self._queue.get()
            job = self._todo().get(name)
            try:
                if job:
                    await job()
            except Error as error:
                _LOG.warning("%s", error)
                self._queue.put_off(name)
            except Exception:  # noqa: BLE001 - one bad claim is no end of the others
                _LOG.exception("%s", name)
                self._queue.put_off(name)
            else:
                self._queue.done(name)

    async def _measure(self) -> Never:
        while True:
            await asyncio.sleep(_MEASURE_SECONDS)
            volumes = [it for it in _all(self._volumes) if isinstance(it, Volume)]
            old = datetime.now(UTC) - _MEASURE_AGE
            due = [it for it in volumes if it.measured is None or it.measured < old]
            for volume in due:
                try:
                    await self._provisioner.measure(volume)
                except Exception as error:  # noqa: BLE001 - what one has in it is no end of all
                    _LOG.warning("%s: %s", volume.name, error)
                await asyncio.sleep(_MEASURE_SECONDS)


def _all(kind: LiveObjects[T]) -> list[T]:
    return [it for found in kind.found.values() for it in found.values()]


def _read_claim(obj: Object) -> Claim | Made | None:
    return read_made(obj) or read_claim(obj)


def _read_volume(obj: Object) -> Volume | Made | None:
    return read_made(obj) or read_volume(obj)


async def _answer_liveness(port: int) -> web.AppRunner:
    """Answer ``/healthz`` as long as this process does anything at all."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", healthy)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
