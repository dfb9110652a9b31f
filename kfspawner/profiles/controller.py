"""The controller: has each Profile looked at when something about it changed.

kopf follows the Profiles, and the process: it signs in, ends at a signal, and
says that it lives. All other objects are followed by `Follower`: there are
many, and kopf would keep a task and a memory for each. Whoever follows only
takes note (`Mirror`) and asks for a look (`WorkQueue`); what is done about it is
in `reconcile.py`. Nothing of kopf's is written on any object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf

from kfspawner.errors import ClusterError, Error, InputError
from kfspawner.profiles.api import Api
from kfspawner.profiles.conditions import not_ready
from kfspawner.profiles.follow import Follower
from kfspawner.profiles.mirror import CHILDREN, PROFILES, SURROUNDINGS, WALLS, Mirror
from kfspawner.profiles.reconcile import Reconciler
from kfspawner.profiles.seen import Key
from kfspawner.profiles.surroundings import Opening, Surroundings
from kfspawner.profiles.workqueue import WorkQueue

_LOG = logging.getLogger(__name__)

# Profiles that are worked on at once.
_WORKERS = 8
# Seconds between two looks at the file of authorities, and between two attempts
# to begin.
_CA_SECONDS = 5.0
_BEGIN_SECONDS = 2.0
# Seconds between two lists of all Profiles, and from when kopf lists them to
# when we do: what was deleted while nobody watched, it does not tell.
_LIST_SECONDS = 600.0
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """How the controller is to run.

    Attributes
    ----------
    hub_namespace, hub_account
        Where the hub runs, and its service account, ``namespace/name``.
    openings
        What the administrator opens to the pods of all profiles.
    ca_file
        Certificate authorities that servers are given; None for none.
    walls_only
        True beside Kubeflow's own controller, which makes the rest.
    liveness_port
        Where it says over HTTP that it lives.
    """

    hub_namespace: str
    hub_account: str
    openings: tuple[Opening, ...] = ()
    ca_file: Path | None = None
    walls_only: bool = False
    liveness_port: int = 8080


def run_controller(settings: Settings) -> None:
    """Keep the cluster like its Profiles say, until the process is told to end."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    async with await Api.connect() as api:
        await Controller(api, settings).run()


class Controller:
    """What is known, what is to be looked at, and who does it.

    Parameters
    ----------
    api
        The cluster.
    settings
        How to run.
    """

    def __init__(self, api: Api, settings: Settings) -> None:
        self._settings = settings
        self._ca = _read_ca(settings.ca_file) if settings.ca_file else ""
        self.mirror = Mirror()
        self.queue = WorkQueue()
        self.follower = Follower(api, self.mirror, self.ask)
        self._reconciler = Reconciler(api, self.mirror, self.surroundings)
        self._relisted = asyncio.Event()

    def surroundings(self) -> Surroundings:
        """Return what is around all Profiles now."""
        return Surroundings(
            hub_namespace=self._settings.hub_namespace,
            hub_account=self._settings.hub_account,
            api_endpoints=self.mirror.endpoints,
            node_addresses=tuple(
                sorted({it for node in self.mirror.nodes.values() for it in node})
            ),
            openings=self._settings.openings,
            ca=self._ca,
            walls_only=self._settings.walls_only,
        )

    async def run(self) -> None:
        """Work until the process is told to end, or cannot go on."""
        async with asyncio.TaskGroup() as group:
            loops = await self.begin(group)
            try:
                await kopf.operator(
                    registry=make_registry(self),
                    settings=make_kopf_settings(),
                    standalone=True,
                    clusterwide=True,
                    liveness_endpoint=f"http://0.0.0.0:{self._settings.liveness_port}/healthz",
                )
            finally:
                for loop in loops:
                    loop.cancel()

    async def begin(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Learn what there is, then have every Profile looked at; return what goes on."""
        # kopf would not wait for the API, nor for the definition of Profiles.
        while not await self._list_profiles():  # noqa: ASYNC110
            await asyncio.sleep(_BEGIN_SECONDS)
        loops = []
        for selection in (*SURROUNDINGS, *(WALLS if self._settings.walls_only else CHILDREN)):
            listed = asyncio.Event()
            loops.append(group.create_task(self.follower.follow(selection, listed)))
            await listed.wait()
        self._ask_all()
        _LOG.info("following %s Profiles", len(self.mirror.profiles))
        loops += [group.create_task(self._work()) for _ in range(_WORKERS)]
        loops += [group.create_task(it()) for it in (self._follow_ca, self._relist_profiles)]
        return loops

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of what kopf tells of a Profile."""
        if event["type"] is None:
            # The watch begins, or begins again: some may have gone meanwhile.
            self._relisted.set()
        self.follower.notice(event["type"], dict(event["object"]))

    def ask(self, key: Key) -> None:
        """Ask for a look at the Profiles that an object is about."""
        kind, namespace, name = key
        if kind in ("Node", "EndpointSlice"):
            self._ask_all()
        elif (namespace or name) in self.mirror.profiles:
            self.queue.add(namespace or name)

    def take_ca(self) -> None:
        """Hand out the certificate authorities anew if their file has changed."""
        if self._settings.ca_file is None:
            return
        try:
            found = _read_ca(self._settings.ca_file)
        except InputError as error:
            _LOG.warning("%s", error)
            return
        if found != self._ca:
            self._ca = found
            self._ask_all()

    def _ask_all(self) -> None:
        for name in self.mirror.profiles:
            self.queue.add(name)

    async def _work(self) -> None:
        while True:
            name = await self.queue.get()
            try:
                await self._reconciler.reconcile(name)
            except Exception as error:  # noqa: BLE001 - one bad Profile is no end of the others
                await self._put_off(name, error)
            else:
                self.queue.done(name)
            if name not in self.mirror.profiles:
                self.queue.forget(name)

    async def _put_off(self, name: str, error: Exception) -> None:
        if isinstance(error, Error):
            told = str(error)
            _LOG.warning("Profile %s: %s", name, told)
        else:
            told = f"{type(error).__name__} in the controller; its log has more"
            _LOG.error("Profile %s", name, exc_info=error)
        again = self.queue.failures(name) > 0
        self.queue.put_off(name)
        # Once is no reason to keep people out: somebody else wrote at the same time.
        if again:
            try:
                await self._reconciler.report(name, [not_ready("ApiError", told)])
            except ClusterError as unheard:
                _LOG.warning("Profile %s: %s", name, unheard)

    async def _list_profiles(self) -> bool:
        try:
            await self.follower.list(PROFILES)
        except ClusterError as error:
            _LOG.warning("%s", error)
            return False
        return True

    async def _relist_profiles(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._relisted.wait(), _LIST_SECONDS)
                await asyncio.sleep(_SETTLE_SECONDS)
            self._relisted.clear()
            if not await self._list_profiles():
                self._relisted.set()

    async def _follow_ca(self) -> None:
        while True:
            await asyncio.sleep(_CA_SECONDS)
            self.take_ca()


def make_registry(controller: Controller) -> kopf.OperatorRegistry:
    """Return what kopf calls: for Profiles, to sign in, and to say that all is well."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def sign_in(**given: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    @kopf.on.probe(registry=registry)
    async def waiting(**_: Any) -> int:
        return len(controller.queue)

    @kopf.on.event("kubeflow.org", "v1", "profiles", registry=registry)
    async def hear(event: Mapping[str, Any], **_: Any) -> None:
        controller.hear(event)

    return registry


def make_kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf writes nothing, and asks for nothing but Profiles."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    # A task for each Profile that changed, no longer than it is needed.
    settings.queueing.idle_timeout = 0.5
    return settings


def _read_ca(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise InputError(
            f"reading the certificate authorities in {path}", str(error), "see --ca-file"
        ) from error
