"""Servers that the hub does not have: found, told of, and stopped where that is wanted."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest
from jupyterhub import orm
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from kfspawner.errors import ClusterDenied
from kfspawner.profiles.api import Object
from kfspawner.profiles.resources import Selection
from kfspawner.servers import orphans
from kfspawner.servers.orphans import Orphans, Policy, find_orphans
from kfspawner.servers.podview import PodView
from kfspawner.servers.spawner import KfSpawner
from kfspawner.servers.watch import read_owned
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub, pod_of

HUB = "hub-space"


def pod(name: str = "server-alice", hub: str = HUB, person: str = "alice", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "vision",
            "labels": {"component": "singleuser-server", "kfspawner.io/hub": hub, **labels},
            "annotations": {"hub.jupyter.org/username": person} if person else {},
        },
        "spec": {"containers": []},
    }


class View(PodView):
    """A view whose age a test sets."""

    how_old = 0.0

    @property
    def age(self) -> float:
        return self.how_old


class Cluster:
    """A cluster with pods, and who looks for orphans there."""

    def __init__(self, *, stops: bool = True) -> None:
        self.api = FakeApi({"kind": "Namespace", "metadata": {"name": "vision"}})
        self.log = logging.getLogger("orphans")
        self.view = View(self.api, Selection("Pod", labels="component=singleuser-server"), self.log)
        self.owned: set[str] = set()
        policy = Policy(HUB, stops, 60.0)
        self.orphans = Orphans(self.api, self.view, policy, lambda: self.owned, self.log)

    async def put(self, *pods: Object) -> None:
        for it in pods:
            self.api.put(it)
        await self.view.load()

    @property
    def deleted(self) -> list[str]:
        return [name for _, _, name in self.api.called("delete")]


async def test_an_orphan_is_stopped_after_its_grace() -> None:
    cluster = Cluster()
    await cluster.put(pod())

    await cluster.orphans.look(1000.0)
    await cluster.orphans.look(1059.0)
    assert not cluster.deleted
    await cluster.orphans.look(1060.0)
    assert cluster.deleted == ["server-alice"]


async def test_it_is_told_of_once_and_stays_by_default(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(stops=False)
    await cluster.put(pod())

    for now in (0.0, 100.0, 1000.0):
        await cluster.orphans.look(now)

    assert not cluster.deleted
    (said,) = caplog.messages
    assert said == (
        "The hub does not have alice's server, pod server-alice in profile vision; it stays. "
        "See `kfspawner servers orphans`"
    )


async def test_what_the_hub_has_again_begins_anew() -> None:
    cluster = Cluster()
    await cluster.put(pod())

    await cluster.orphans.look(0.0)
    cluster.owned = {"vision/server-alice"}
    await cluster.orphans.look(30.0)
    cluster.owned = set()
    await cluster.orphans.look(60.0)
    await cluster.orphans.look(119.0)
    assert not cluster.deleted
    await cluster.orphans.look(120.0)
    assert cluster.deleted == ["server-alice"]


async def test_another_pod_of_that_name_has_a_grace_of_its_own() -> None:
    cluster = Cluster()
    await cluster.put(pod())
    await cluster.orphans.look(0.0)
    cluster.api.remove("Pod", "server-alice", "vision")
    await cluster.put(pod())

    await cluster.orphans.look(60.0)

    assert not cluster.deleted


@pytest.mark.parametrize(
    "other",
    [
        pod(hub="another"),
        pod(person=""),
        pod(**{"kfspawner.io/run": "digits"}),
        {**pod(), "metadata": {**pod()["metadata"], "labels": {"component": "singleuser-server"}}},
        {**pod(), "metadata": {**pod()["metadata"], "deletionTimestamp": "2026-11-25T00:00:00Z"}},
    ],
    ids=["of another hub", "nobody's", "a run", "of no hub that is known", "on its way out"],
)
async def test_what_is_not_known_to_be_one_stays(other: Object) -> None:
    cluster = Cluster()
    await cluster.put(other)

    await cluster.orphans.look(0.0)
    await cluster.orphans.look(1000.0)

    assert not cluster.deleted


async def test_nothing_is_concluded_from_an_old_view() -> None:
    cluster = Cluster()
    await cluster.put(pod())
    cluster.view.how_old = math.inf

    await cluster.orphans.look(0.0)
    await cluster.orphans.look(1000.0)
    assert not cluster.deleted

    # And the time before does not count.
    cluster.view.how_old = 1.0
    await cluster.orphans.look(1001.0)
    assert not cluster.deleted


async def test_before_the_pods_were_seen_nothing_is_looked_at() -> None:
    cluster = Cluster()
    cluster.owned = {"vision/server-alice"}

    await cluster.orphans.look(0.0)

    assert not cluster.view.loaded
    assert not cluster.api.writes()


async def test_one_that_cannot_be_deleted_keeps_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster()
    await cluster.put(pod(), pod("server-bob", person="bob"))
    cluster.api.refusals["delete"] = [ClusterDenied("deleting a pod", "no", "ask")]

    await cluster.orphans.look(0.0)
    await cluster.orphans.look(60.0)

    assert cluster.deleted == ["server-alice", "server-bob"]
    assert list(cluster.api.objects) == [
        ("Namespace", "", "vision"),
        ("Pod", "vision", "server-alice"),
    ]
    assert "alice's server, which the hub does not have, stays: deleting a pod" in caplog.text
    assert "Stopped bob's server, which the hub did not have" in caplog.text


async def test_one_whose_person_started_anew_meanwhile_stays() -> None:
    cluster = Cluster()
    await cluster.put(pod(), pod("server-bob", person="bob"))
    await cluster.orphans.look(0.0)

    def start(_: Object) -> None:
        cluster.owned.add("vision/server-bob")

    real = cluster.api.delete

    async def delete(kind: str, name: str, namespace: str = "", *, uid: str = "") -> None:
        start({})
        await real(kind, name, namespace, uid=uid)

    cluster.api.delete = delete  # type: ignore[method-assign]
    await cluster.orphans.look(60.0)

    assert cluster.deleted == ["server-alice"]


async def test_a_servers_pod_says_whose_it_is(hub: FakeHub) -> None:
    made = await pod_of(hub.make_spawner(extra_labels={"team": "vision"}))
    made["metadata"]["namespace"] = "kf-alice"
    key = f"kf-alice/{made['metadata']['name']}"

    assert made["metadata"]["labels"]["team"] == "vision"
    assert made["metadata"]["annotations"]["kfspawner.io/image-profile"] == "cpu"
    # Outside of a cluster, KubeSpawner calls the hub's namespace so.
    assert dict(find_orphans({key: made}, (), "default")) == {key: made}
    assert not dict(find_orphans({key: made}, {key}, "default"))


async def test_the_hub_looks_for_them_from_its_first_server_on(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_EVERY", 0.01)
    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    hub.api.put({"kind": "Namespace", "metadata": {"name": "vision"}})
    hub.api.put(pod(hub="default"))
    hub.api.put(pod("server-bob", hub="another"))
    first, second = (hub.make_spawner(it, orphans="stop", orphan_grace=0) for it in ("bob", "eve"))
    with Session(engine) as db:
        first.user.db = db
        await first._start_watching_pods()
        begun = KfSpawner.reflectors["orphans", None]
        await second._start_watching_pods()
        for _ in range(500):
            if ("Pod", "vision", "server-alice") not in hub.api.objects:
                break
            await asyncio.sleep(0.01)
        assert ("Pod", "vision", "server-alice") not in hub.api.objects
        assert KfSpawner.reflectors["orphans", None] is begun
        await begun.stop()
    assert ("Pod", "vision", "server-bob") in hub.api.objects
    engine.dispose()


def test_what_the_hub_has_is_what_its_database_says() -> None:
    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    with Session(engine) as db:
        person = orm.User(name="alice")
        db.add(person)
        for name, running in (("", True), ("old", False), ("new", True)):
            state = {"namespace": "vision", "pod_name": f"server-alice-{name}"}
            it = orm.Spawner(name=name, user=person, state=None if name == "new" else state)
            it.server = orm.Server() if running else None
            db.add(it)
        db.commit()

        assert read_owned(db) == {"vision/server-alice-"}
    engine.dispose()
