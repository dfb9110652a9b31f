"""A container's log, as the API sends it in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web
from kubernetes_asyncio import client

from kfspawner.errors import ClusterDenied, ClusterError, ClusterUnreachable, ObjectMissing
from kfspawner.profiles.api import Api


class Log:
    """An API server with one log.

    Attributes
    ----------
    pieces
        What is sent, each by itself.
    status, message
        What is answered instead, if the status is not 200.
    asked
        The paths and queries of requests.
    """

    def __init__(self) -> None:
        self.pieces: Sequence[bytes] = ()
        self.status = 200
        self.message = ""
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if self.status != 200:
            return web.json_response({"message": self.message}, status=self.status)
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in self.pieces:
            await response.write(piece)
        return response


@asynccontextmanager
async def serving(log: Log) -> AsyncIterator[Api]:
    """Serve a log, and yield the way to it."""
    app = web.Application()
    app.router.add_get("/{path:.*}", log.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with Api(client.ApiClient(settings)) as api:
            yield api
    finally:
        await runner.cleanup()


async def read(api: Api, *, follow: bool = False) -> list[str]:
    lines = api.log("server-alice", "vision", "notebook", tail=2, follow=follow)
    async with aclosing(lines):
        return [it async for it in lines]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\n\nth", b"ree"], ["one", "", "three"]),
        (["für\n".encode()[:2], "für\n".encode()[2:]], ["für"]),
        ([b"\xff\n"], ["�"]),
        ([b"x" * 300_000 + b"\n"], ["x" * 300_000]),
    ],
)
async def test_lines_are_whole_however_they_come(pieces: list[bytes], lines: list[str]) -> None:
    log = Log()
    log.pieces = pieces
    async with serving(log) as api:
        assert await read(api) == lines


async def test_what_is_asked_for() -> None:
    log = Log()
    async with serving(log) as api:
        await read(api)
        await read(api, follow=True)
    path = "/api/v1/namespaces/vision/pods/server-alice/log?container=notebook&tailLines=2"
    assert log.asked == [path, f"{path}&follow=true"]


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "pods server-alice not found", ObjectMissing),
        (403, "pods is forbidden", ClusterDenied),
        (400, "container notebook is waiting to start: ContainerCreating", ClusterError),
    ],
)
async def test_refusals_are_told(status: int, message: str, kind: type[ClusterError]) -> None:
    log = Log()
    log.status, log.message = status, message
    async with serving(log) as api:
        with pytest.raises(kind, match=message) as refused:
            await read(api)
    assert refused.value.doing == "reading the log of Pod server-alice in vision"


async def test_an_api_that_is_away_is_told() -> None:
    async with Api(client.ApiClient(client.Configuration(host="http://127.0.0.1:9"))) as api:
        with pytest.raises(ClusterUnreachable, match="reading the log"):
            await read(api)
