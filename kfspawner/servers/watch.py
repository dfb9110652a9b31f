"""The seam where KubeSpawner has its reflectors: one view of all servers in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from jupyterhub import orm
from tornado.ioloop import IOLoop

from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.resources import Selection
from kfspawner.servers.eventview import EventView
from kfspawner.servers.orphans import STOP, Orphans, Policy
from kfspawner.servers.podview import PodView
from kfspawner.servers.settings import Settings


class Watching(Settings):
    """KubeSpawner with one view of all servers in place of its reflectors.

    However long the API is away, the hub goes on, and so does the view
    afterwards.
    """

    # This class's own: a stock KubeSpawner in the same process has others.
    reflectors: ClassVar[dict[tuple[str, str | None], Any]] = {}
    _noticing: asyncio.Task[None] | None = None

    @property
    def _cluster(self) -> Api:
        return Api(self.api.api_client)

    def _get_reflector_key(self, kind: str) -> tuple[str, str | None]:
        return (kind, None)

    async def _start_reflector(
        self,
        kind: str,
        reflector_class: type,
        replace: bool = False,  # noqa: FBT001
        **selected: Any,
    ) -> Any:
        """Return the view of pods or of events, once it can be relied on for this server.

        KubeSpawner asks for it at each poll, start and stop.

        Raises
        ------
        ClusterError
            If the API has not answered since the hub began, for seconds.
        """
        if kind not in ("pods", "events"):
            return await super()._start_reflector(kind, reflector_class, replace, **selected)
        pods: PodView = self.reflectors.get(("pods", None)) or self._make_pod_view(selected)
        if kind == "pods":
            if not pods.running:
                await pods.start()
                await self._look_for_orphans(pods)
            elif replace:
                await pods.again()
            await pods.ready()
            await pods.confirm(self._pod_key)
            return pods
        events: EventView = self.reflectors.get((kind, None)) or self._make_event_view(pods)
        pods.waiting.want(self._pod_key)
        if not events.running:
            await events.start()
        await events.ready()
        return events

    def _make_pod_view(self, selected: Mapping[str, Any]) -> PodView:
        # The label that KubeSpawner selects them by, whichever view is asked for first.
        labels = selected.get("labels") or {"component": self.component_label}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        view = PodView(self._cluster, Selection("Pod", labels=selector), self.log)
        self.reflectors["pods", None] = view
        return view

    async def _look_for_orphans(self, pods: PodView) -> None:
        if ("orphans", None) in self.reflectors:
            return
        policy = Policy(self._hub_namespace, self.orphans == STOP, self.orphan_grace)
        db = self.user.db
        orphans = Orphans(self._cluster, pods, policy, lambda: read_owned(db), self.log)
        self.reflectors["orphans", None] = orphans
        await orphans.start()

    @property
    def _hub_namespace(self) -> str:
        # Where the hub itself is, before KubeSpawner makes it the server's.
        return str(self._namespace_default())

    def _make_event_view(self, pods: PodView) -> EventView:
        of_pods = Selection("Event", fields="involvedObject.kind=Pod")
        view = EventView(self._cluster, of_pods, pods.waiting, self.log)
        self.reflectors["events", None] = view
        return view

    # JupyterHub looks at a server from time to time; at its end, it does at once.

    def start_polling(self) -> None:
        """Look at the server from time to time, and when its pod has ended."""
        super().start_polling()
        if self.poll_interval > 0:
            self._noticing = asyncio.create_task(self._notice_end())

    def stop_polling(self) -> None:
        """Look no longer."""
        super().stop_polling()
        if self._noticing is not None:
            self._noticing.cancel()
            self._noticing = None

    async def _notice_end(self) -> None:
        while view := self.reflectors.get(("pods", None)):
            news = view.waiting.quietly(self._pod_key)
            pod = view.pods.get(self._pod_key)
            if pod is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
                # Not in this task: what a look leads to ends it.
                IOLoop.current().add_callback(self._look)
            await news.wait()

    async def _look(self) -> None:
        # Where somebody stops the server at this moment, they know.
        if self._noticing is not None:
            await self.poll_and_notify()

    @property
    def _pod_key(self) -> str:
        return f"{self.namespace}/{self.pod_name}"

    @property
    def events(self) -> list[Object]:
        """The events of this pod since this start began, the latest last."""
        view = self.event_reflector
        found: list[Object] = view.of(self._pod_key) if view else []
        last = [at for at, it in enumerate(found) if it["metadata"]["uid"] == self._last_event]
        return found[last[-1] + 1 :] if last else found


def read_owned(db: Any) -> set[str]:
    """Return the pods of the servers that run, start or stop as the hub's database has them."""
    rows = db.query(orm.Spawner).filter(orm.Spawner.server_id.is_not(None))
    states = [row.state for row in rows if row.state]
    return {f"{it.get('namespace')}/{it.get('pod_name')}" for it in states}
