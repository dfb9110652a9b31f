"""An API server on loopback that lists and watches, and can be made to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from kubernetes_asyncio import client

from kfspawner.errors import VersionExpired
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.resources import RESOURCES, Selection
from tests.fakes.api import FakeApi

Query = Mapping[str, str]
# What a request is answered with, in place of the right answer.
Answer = Callable[[web.Request], web.StreamResponse]


class ApiServer:
    """Serves the objects of a `FakeApi` by HTTP, as far as lists and watches go.

    Attributes
    ----------
    cluster
        What there is.
    asked
        The queries of lists and of watches, in order.
    answers
        What is answered first, in place of the right answers.
    frozen
        Whether nothing is sent any more, on no connection.
    deaf
        Whether no request is answered, while watches that have begun go on.
    tell
        Set by each watch to what writes one more line into it.
    """

    def __init__(self, *objects: Mapping[str, Any]) -> None:
        self.cluster = FakeApi(*objects)
        self.asked: list[Query] = []
        self.answers: list[Answer] = []
        self.frozen = False
        self.deaf = False
        self.tell: Callable[[bytes], Any] | None = None
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def lists(self) -> list[Query]:
        """The queries of lists."""
        return [it for it in self.asked if "watch" not in it]

    @property
    def watches(self) -> list[Query]:
        """The queries of watches."""
        return [it for it in self.asked if "watch" in it]

    async def begin(self) -> None:
        """Listen; at the address of before, if there was one."""
        app = web.Application()
        app.router.add_get("/api/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def end(self) -> None:
        """Close all connections and listen no more."""
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Api]:
        """Yield a way to it."""
        settings = client.Configuration(host=self.url)
        async with Api(client.ApiClient(settings)) as api:
            yield api

    def refuse(self, status: int, message: str = "no", **headers: str) -> None:
        """Answer the next request with an error."""
        body = {"kind": "Status", "code": status, "message": message}
        self.answers.append(lambda _: web.json_response(body, status=status, headers=headers))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        while self.frozen or self.deaf:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if self.answers:
            return self.answers.pop(0)(request)
        selection = _selection(request)
        if "watch" in request.query:
            return await self._watch(request, selection)
        return await self._list(request, selection)

    async def _list(self, request: web.Request, selection: Selection) -> web.Response:
        pages = [it async for it in self.cluster.pages(selection)]
        at = int(request.query.get("continue") or 0)
        items, version = pages[at]
        more = str(at + 1) if at + 1 < len(pages) else ""
        metadata = {"resourceVersion": version, "continue": more}
        return web.json_response({"items": items, "metadata": metadata})

    async def _watch(self, request: web.Request, selection: Selection) -> web.StreamResponse:
        version = request.query["resourceVersion"]
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        watch = self.cluster.watch(selection, version)
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        if first.done() and isinstance(first.exception(), VersionExpired):
            status = {"kind": "Status", "code": 410, "message": "too old resource version"}
            return web.json_response(status, status=410)
        await response.prepare(request)
        self.tell = response.write
        with suppress(TimeoutError):
            async with asyncio.timeout(int(request.query["timeoutSeconds"])), aclosing(watch):
                await self._send(response, *await first)
                async for event, it in watch:
                    await self._send(response, event, it)
        latest = {"metadata": {"resourceVersion": str(self.cluster.version)}}
        await self._send(response, "BOOKMARK", latest)
        return response

    async def _send(self, response: web.StreamResponse, event: str, it: Object) -> None:
        while self.frozen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await response.write(json.dumps({"type": event, "object": it}).encode() + b"\n")


def _selection(request: web.Request) -> Selection:
    parts = request.match_info["path"].split("/")
    namespace = parts[1] if parts[0] == "namespaces" else ""
    (kind,) = [it for it, where in RESOURCES.items() if where.plural == parts[-1]]
    labels, fields = (request.query.get(f"{it}Selector", "") for it in ("label", "field"))
    return Selection(kind, namespace, labels, fields)
