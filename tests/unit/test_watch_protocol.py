"""The view of servers by HTTP: whatever breaks on the way, it tells what there is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from kfspawner.errors import ClusterBusy, ClusterError, ClusterUnreachable
from kfspawner.profiles import api as api_module
from kfspawner.profiles import feed, pace
from kfspawner.profiles.resources import Selection
from kfspawner.servers.podview import PodView
from tests.fakes.apiserver import ApiServer
from tests.fakes.servers import make_pod

SERVERS = Selection("Pod", labels="component=singleuser-server")
ALICE = "vision/server-alice"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    monkeypatch.setattr(pace, "SOON", 0.01)
    monkeypatch.setattr(pace, "LATE", 0.05)
    monkeypatch.setattr(pace, "USEFUL", 0.5)
    monkeypatch.setattr(feed, "WATCH_SECONDS", 1)
    monkeypatch.setattr(api_module, "_OVERDUE", 0.3)
    made = ApiServer(make_pod())
    await made.begin()
    yield made
    await made.end()


@pytest.fixture
async def view(server: ApiServer) -> AsyncIterator[PodView]:
    async with server.connect() as api:
        made = PodView(api, SERVERS, logging.getLogger("watch"))
        yield made
        await made.stop()


async def until(holds: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def begin(view: PodView, server: ApiServer) -> None:
    """Have the view load, and its watch begun."""
    await view.start()
    await view.ready()
    await until(lambda: server.tell)


def error(code: int) -> bytes:
    status = {"kind": "Status", "code": code, "message": "so it is"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


async def test_it_lists_once_and_asks_for_bookmarks(server: ApiServer, view: PodView) -> None:
    server.cluster.put(make_pod("server-bob"))
    server.cluster.put(make_pod("server-carol", "audio"))
    server.cluster.put({**make_pod("run-1"), "metadata": {"name": "run-1", "namespace": "vision"}})
    await begin(view, server)
    assert sorted(view.pods) == ["audio/server-carol", "vision/server-alice", "vision/server-bob"]
    # The list came in portions, from no cache.
    assert [it.get("continue") for it in server.lists] == [None, "1"]
    assert all("resourceVersion" not in it for it in server.lists)

    await until(lambda: len(server.watches) == 3)

    assert len(server.lists) == 2
    first, *_, last = server.watches
    assert first["allowWatchBookmarks"] == "true"
    assert first["labelSelector"] == "component=singleuser-server"
    assert first["timeoutSeconds"] == "1"
    assert first["resourceVersion"] == last["resourceVersion"] == str(server.cluster.version)


async def test_a_bookmark_is_where_the_next_watch_begins(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    for number in range(10):
        server.cluster.put({"kind": "ConfigMap", "metadata": {"name": f"c{number}"}})
    await until(lambda: len(server.watches) == 2)

    assert server.watches[1]["resourceVersion"] == str(server.cluster.version)


async def test_a_frozen_connection_is_left(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    server.frozen = True
    server.cluster.put(make_pod("server-bob"))
    server.cluster.remove("Pod", "server-alice", "vision")
    await until(lambda: view.trouble)
    assert isinstance(view.trouble, ClusterUnreachable)
    # Until then, what was seen last stands.
    assert list(view.pods) == [ALICE]

    server.frozen = False

    await until(lambda: list(view.pods) == ["vision/server-bob"])
    assert view.trouble is None
    assert len(server.lists) == 1


async def test_a_watch_that_does_not_begin_is_left_sooner(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    server.deaf = True
    await until(lambda: len(server.watches) == 2)

    await until(lambda: view.trouble, 0.8)


@pytest.mark.parametrize(
    "line",
    [b'{"type": "ADDED", "object": {"metad\n', b"\xff\xfe\n", b"<html>Bad gateway</html>\n"],
)
async def test_a_line_that_is_cut_ends_the_watch_and_not_the_view(
    server: ApiServer, view: PodView, line: bytes
) -> None:
    await begin(view, server)
    assert server.tell
    await server.tell(line)
    await until(lambda: len(server.watches) == 2)
    server.cluster.put(make_pod("server-bob"))

    await until(lambda: "vision/server-bob" in view.pods)
    assert len(server.lists) == 1


async def test_a_connection_that_is_cut_goes_on_where_it_was(
    server: ApiServer, view: PodView
) -> None:
    await begin(view, server)
    await server.end()
    server.cluster.remove("Pod", "server-alice", "vision")
    server.cluster.put(make_pod("server-bob"))
    await until(lambda: view.trouble)
    assert list(view.pods) == [ALICE]

    await server.begin()

    await until(lambda: list(view.pods) == ["vision/server-bob"])
    assert len(server.lists) == 1


@pytest.mark.parametrize("how", ["as a status", "as an event"])
async def test_what_is_no_longer_remembered_is_listed_again(
    server: ApiServer, view: PodView, how: str
) -> None:
    await begin(view, server)
    news = view.changed(ALICE)
    if how == "as a status":
        await server.end()
        server.cluster.remove("Pod", "server-alice", "vision")
        server.cluster.put(make_pod("server-bob"))
        server.cluster.expire()
        await server.begin()
    else:
        server.frozen = True
        server.cluster.remove("Pod", "server-alice", "vision")
        server.cluster.put(make_pod("server-bob"))
        server.cluster.expire()
        assert server.tell
        await server.tell(error(410))
        server.frozen = False

    await until(lambda: list(view.pods) == ["vision/server-bob"])
    assert news.is_set()
    assert len(server.lists) == 2
    assert view.trouble is None


@pytest.mark.parametrize("code", [500, 504, 403])
async def test_another_error_within_a_watch_has_all_listed_again(
    server: ApiServer, view: PodView, code: int
) -> None:
    await begin(view, server)
    assert server.tell
    await server.tell(error(code))

    await until(lambda: len(server.lists) == 2)
    await until(lambda: view.trouble is None)


async def test_a_server_that_has_no_time_is_left_alone(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    server.refuse(429, "too many requests", **{"Retry-After": "1"})
    await until(lambda: view.trouble)
    assert isinstance(view.trouble, ClusterBusy)
    assert view.trouble.retry_after == 1.0
    asked = len(server.asked)
    await asyncio.sleep(0.7)
    assert len(server.asked) == asked

    await until(lambda: view.trouble is None)
    assert len(server.lists) == 1


async def test_an_api_that_does_not_answer_at_first_is_told_and_tried_on(
    server: ApiServer, view: PodView
) -> None:
    for _ in range(3):
        server.refuse(500, "etcdserver: no leader")
    await view.start()
    with pytest.raises(ClusterError, match="no leader"):
        await view.ready(0.02)
    assert not view.first_load_future.done()

    await view.ready(5)

    assert view.first_load_future.done()
    assert list(view.pods) == [ALICE]


async def test_a_list_that_expires_between_its_portions_begins_anew(
    server: ApiServer, view: PodView
) -> None:
    for name in ("a", "b", "c"):
        server.cluster.put(make_pod(name))

    def first_page(_: web.Request) -> web.Response:
        metadata = {"resourceVersion": "1", "continue": "1"}
        return web.json_response({"items": [make_pod("gone")], "metadata": metadata})

    server.answers.append(first_page)
    server.refuse(410, "The provided continue parameter is too old")
    await begin(view, server)

    assert sorted(view.pods) == ["vision/a", "vision/b", "vision/c", ALICE]


async def test_what_is_told_again_changes_nothing(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    old = server.cluster.objects["Pod", "vision", "server-alice"]
    old = {**old, "metadata": {**old["metadata"]}}
    server.cluster.put(make_pod(podIP="10.0.0.2"))
    await until(lambda: view.pods[ALICE]["status"]["podIP"] == "10.0.0.2")
    server.cluster.remove("Pod", "server-alice", "vision")
    await until(lambda: ALICE not in view.pods)
    assert server.tell

    for event in ("ADDED", "MODIFIED"):
        await server.tell(json.dumps({"type": event, "object": old}).encode() + b"\n")
    server.cluster.put(make_pod("server-bob"))

    await until(lambda: "vision/server-bob" in view.pods)
    assert list(view.pods) == ["vision/server-bob"]


async def test_one_of_the_same_name_is_another(server: ApiServer, view: PodView) -> None:
    await begin(view, server)
    old = view.pods[ALICE]["metadata"]["uid"]
    server.cluster.remove("Pod", "server-alice", "vision")
    server.cluster.put(make_pod())

    await until(lambda: ALICE in view.pods and view.pods[ALICE]["metadata"]["uid"] != old)
