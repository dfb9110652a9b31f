"""What servers are asked with their own key, over HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from kfspawner.context import KEY_HEADER, make_server_key
from kfspawner.errors import HubError
from kfspawner.hub.api import HubServer
from kfspawner.hub.asking import Activity, Servers

SECRET = "of-the-hub"
SERVER = HubServer("alice", "big", "today", "vision", "gpu", "", {})


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Any]) -> AsyncIterator[HubServer]:
    """Have a server that answers so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        found = answer(request)
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield replace(SERVER, url=f"http://127.0.0.1:{port}/user/alice/big/")
    finally:
        await runner.cleanup()


async def test_a_server_is_asked_with_its_key_and_no_token() -> None:
    seen: list[web.Request] = []

    def answer(request: web.Request) -> Any:
        seen.append(request)
        if request.method == "PUT":
            return web.Response(status=204)
        return {"last_activity": "2026-11-25T12:00:00Z", "busy": "a kernel is at work"}

    async with answering(answer) as server, Servers(SECRET) as servers:
        found = await servers.activity(server)
        await servers.tell(server, "It is stopped")

    assert found == Activity(datetime(2026, 11, 25, 12, tzinfo=UTC), "a kernel is at work")
    for request in seen:
        assert request.path == "/user/alice/big/kfspawner/idle"
        assert request.headers[KEY_HEADER] == make_server_key(SECRET, "alice", "big")
        assert "Authorization" not in request.headers
        assert SECRET not in str(request.headers)
    assert await seen[1].json() == {"text": "It is stopped"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(status=404), "it answers 404"),
        (lambda: web.Response(status=403), "it answers 403"),
        (lambda: web.Response(text="<html>"), "its answer is no JSON"),
        (list, "its answer is of another kind"),
        (lambda: {"last_activity": "soon", "busy": ""}, "its answer is of another kind"),
        (lambda: {"last_activity": 1, "busy": ""}, "its answer is of another kind"),
        (lambda: web.Response(text="1" * 1_000_000), "its answer is"),
    ],
)
async def test_what_is_no_answer(answer: Callable[[], Any], said: str) -> None:
    async with answering(lambda _: answer()) as server, Servers(SECRET) as servers:
        with pytest.raises(HubError, match=said):
            await servers.activity(server)


async def test_the_key_goes_nowhere_else() -> None:
    paths: list[str] = []

    def answer(request: web.Request) -> Any:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with answering(answer) as server, Servers(SECRET) as servers:
        with pytest.raises(HubError, match="it answers 307"):
            await servers.activity(server)
    assert paths == ["/user/alice/big/kfspawner/idle"]


async def test_who_is_not_there() -> None:
    async with Servers(SECRET) as servers:
        with pytest.raises(HubError, match="the hub does not say where it is"):
            await servers.activity(SERVER)
        with pytest.raises(HubError, match="did not answer"):
            await servers.activity(replace(SERVER, url="http://127.0.0.1:9/"))


def test_each_server_has_a_key_of_its_own() -> None:
    whose = [("alice", ""), ("alice", "big"), ("alicebig", ""), ('alice", "b', "ig"), ("bob", "")]
    keys = {make_server_key(SECRET, *it) for it in whose}
    assert len(keys) == len(whose)
    assert make_server_key("another", "alice", "") not in keys
