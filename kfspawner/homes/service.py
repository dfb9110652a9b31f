"""The provisioner's process: follows claims and volumes, and has each place looked at."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Never

from aiohttp import web

from kfspawner.errors import Error
from kfspawner.homes.ledger import read_claim, read_namespace, read_volume
from kfspawner.homes.plan import Standing, by_place, next_step
from kfspawner.homes.provisioner import Provisioner
from kfspawner.profiles.api import Api
from kfspawner.profiles.live import LiveObjects
from kfspawner.profiles.workqueue import WorkQueue

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
    provisioner
        Takes the steps.
    """

    def __init__(self, api: Api, provisioner: Provisioner) -> None:
        self._provisioner = provisioner
        self._claims = LiveObjects(api, "PersistentVolumeClaim", read_claim, _LOG)
        self._volumes = LiveObjects(api, "PersistentVolume", read_volume, _LOG)
        self._namespaces = LiveObjects(api, "Namespace", read_namespace, _LOG)
        self._queue = WorkQueue(shortest=0.5, longest=_PUT_OFF_SECONDS)

    async def run(self, liveness_port: int) -> Never:
        """Work until this is cancelled."""
        runner = await _answer_liveness(liveness_port)
        try:
            async with asyncio.TaskGroup() as group:
                for kind in (self._claims, self._volumes, self._namespaces):
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
        claims = [it for found in self._claims.found.values() for it in found.values()]
        volumes = list(self._volumes.found.get("", {}).values())
        return by_place(claims, volumes, self._namespaces.found.get("", {}))

    @property
    def _loaded(self) -> bool:
        return all(it.loaded for it in (self._claims, self._volumes, self._namespaces))

    async def _look(self) -> Never:
        """Ask for a look at each place where something is to be done, after each change."""
        while True:
            news = [it.news for it in (self._claims, self._volumes, self._namespaces)]
            # What is not known would look like what is gone: nothing is done about it.
            if self._loaded:
                for name, standing in self.standings().items():
                    if next_step(standing):
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
            standing = self.standings().get(name) if self._loaded else None
            step = next_step(standing) if standing else None
            try:
                if standing and step:
                    await self._provisioner.take(step, standing)
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
            volumes = self._volumes.found.get("", {}).values()
            old = datetime.now(UTC) - _MEASURE_AGE
            due = [it for it in volumes if it.measured is None or it.measured < old]
            for volume in due:
                try:
                    await self._provisioner.measure(volume)
                except Exception as error:  # noqa: BLE001 - what one has in it is no end of all
                    _LOG.warning("%s: %s", volume.name, error)
                await asyncio.sleep(_MEASURE_SECONDS)


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
