"""A proxy before the API server, that does to the hub's requests what a test says.

It speaks TLS with the API server's own certificate. What others ask, it passes
on as it is.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

HUB = "system:serviceaccount:kfspawner:hub"
# What is said of one connection, and not of what goes over it.
_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}
_FOR_EVER = 1_000_000


@dataclass(frozen=True)
class Asked:
    """One request of the hub."""

    method: str
    path: str
    query: Mapping[str, str]

    @property
    def plural(self) -> str:
        """What it is about, as paths call it; of one object, its name comes after it."""
        parts = self.path.split("/")
        at = 3 if parts[1] == "api" else 4
        if parts[at : at + 1] == ["namespaces"] and len(parts) > at + 2:
            at += 2
        return parts[at] if len(parts) > at else ""


Which = Callable[[Asked], bool]


def watches(plural: str = "") -> Which:
    """Return what selects watches: of one kind, or of all."""
    return lambda it: "watch" in it.query and plural in ("", it.plural)


def lists(plural: str) -> Which:
    """Return what selects lists of a kind."""
    return lambda it: it.method == "GET" and "watch" not in it.query and it.plural == plural


def writes(plural: str, method: str = "POST") -> Which:
    """Return what selects writes of a kind."""
    return lambda it: it.method == method and it.plural == plural


def everything(_: Asked) -> bool:
    """Select all that the hub asks."""
    return True


class Passing:
    """A request on its way to the API server."""

    def __init__(self, proxy: ApiProxy, request: web.BaseRequest, body: bytes) -> None:
        self.request = request
        self.body = body
        self._proxy = proxy

    def ask(self, body: bytes | None = None) -> Any:
        """Return the API server's answer, as a context."""
        return self._proxy.ask(self.request, self.body if body is None else body)

    async def on(self, body: bytes | None = None) -> web.StreamResponse:
        """Pass it on, with another body if one is given, and its answer back as it comes."""
        async with self.ask(body) as answer:
            headers = {k: it for k, it in answer.headers.items() if k.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(self.request)
            async for chunk in answer.content.iter_any():
                await self._proxy.wait_while_frozen(self.request)
                await response.write(chunk)
            await response.write_eof()
            return response


class Fault:
    """What is done to requests of the hub.

    Parameters
    ----------
    which
        To which.
    times
        To how many of them.

    Attributes
    ----------
    count
        To how many it was done.
    """

    def __init__(self, which: Which, times: int = _FOR_EVER) -> None:
        self.count = 0
        self._which = which
        self._times = times

    def takes(self, asked: Asked) -> bool:
        """Say whether it is done to this one."""
        if self._times <= 0 or not self._which(asked):
            return False
        self._times -= 1
        return True

    async def treat(self, passing: Passing) -> web.StreamResponse:
        """Answer a request."""
        raise NotImplementedError


class Refused(Fault):
    """They are answered with an error."""

    def __init__(self, which: Which, status: int, times: int = _FOR_EVER, **headers: str) -> None:
        super().__init__(which, times)
        self._status = status
        self._headers = headers

    async def treat(self, passing: Passing) -> web.StreamResponse:  # noqa: ARG002
        """Answer with an error, in the API server's words."""
        self.count += 1
        body = _status(self._status)
        return web.json_response(body, status=self._status, headers=self._headers)


class Expired(Fault):
    """Watches begin, and then tell that what they begin with is forgotten."""

    async def treat(self, passing: Passing) -> web.StreamResponse:
        """Answer with an event of type ERROR."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(passing.request)
        event = {"type": "ERROR", "object": _status(410)}
        await response.write(json.dumps(event).encode() + b"\n")
        await response.write_eof()
        self.count += 1
        return response


class Held(Fault):
    """They are never answered: they reach the API server first with `done`, or else they do not."""

    def __init__(self, which: Which, *, done: bool) -> None:
        super().__init__(which, 1)
        self._done = done

    async def treat(self, passing: Passing) -> web.StreamResponse:
        """Wait for ever."""
        if self._done:
            async with passing.ask() as answer:
                await answer.read()
        self.count += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")


class Changed(Fault):
    """What they bring is changed before the API server has it."""

    def __init__(self, which: Which, change: Callable[[Any], None]) -> None:
        super().__init__(which)
        self._change = change

    async def treat(self, passing: Passing) -> web.StreamResponse:
        """Pass it on, changed."""
        manifest = json.loads(passing.body)
        self._change(manifest)
        self.count += 1
        return await passing.on(json.dumps(manifest).encode())


def _status(code: int) -> Mapping[str, object]:
    words = {409: "AlreadyExists", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": words[code],
        "message": f"a test answers with {code}",
    }


class ApiProxy:
    """The proxy, in a thread of its own.

    Parameters
    ----------
    listening
        Where it is asked; it is closed in the end.
    server
        Where the API server listens, ``https://...``.
    pki
        The cluster's certificates and keys.

    Attributes
    ----------
    address
        Where it is asked.
    asked
        What the hub has asked since `forget`.
    """

    def __init__(self, listening: socket.socket, server: str, pki: Path) -> None:
        self.asked: list[Asked] = []
        self.address: tuple[str, int] = listening.getsockname()
        self._socket = listening
        self._server = server
        self._pki = pki
        self._faults: list[Fault] = []
        self._hubs = set[web.RequestHandler]()
        self._frozen = set[web.RequestHandler]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def running(self) -> Iterator[ApiProxy]:
        """Listen until the end of this."""
        self._thread.start()
        self._do(self._begin())
        try:
            yield self
        finally:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @contextmanager
    def breaking(self, *faults: Fault) -> Iterator[None]:
        """Do this to the hub's requests until the end of this: the first that takes one."""
        self._faults += faults
        try:
            yield
        finally:
            self._faults = [it for it in self._faults if it not in faults]

    def forget(self) -> None:
        """Forget what was asked."""
        self.asked.clear()

    def saw(self, which: Which) -> bool:
        """Say whether the hub has asked such a thing."""
        return any(which(it) for it in list(self.asked))

    def cut(self) -> None:
        """Close the hub's connections."""
        self._do(self._cut())

    def freeze(self) -> None:
        """Let nothing more pass on the hub's connections of this moment, and leave them open."""
        self._do(self._freeze())

    # What is done in its thread.

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _begin(self) -> None:
        trusted = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(self._pki / "apiserver.crt", self._pki / "apiserver.key")
        self._http = web.Server(self._answer, handler_cancellation=True)
        self._listening = await self._loop.create_server(self._http, sock=self._socket, ssl=own)

    async def _end(self) -> None:
        self._listening.close()
        transports = [it.transport for it in self._http.connections if it.transport]
        await self._http.shutdown(1)
        await self._session.close()
        # A frozen peer says no farewell, and TLS would wait for it with an open socket.
        for transport in transports:
            transport.abort()
        # What is left of TLS connections ends a moment later.
        await asyncio.sleep(0.1)

    async def _cut(self) -> None:
        for connection in list(self._hubs):
            if connection.transport:
                connection.transport.abort()

    async def _freeze(self) -> None:
        self._frozen.update(self._hubs)

    async def wait_while_frozen(self, request: web.BaseRequest) -> None:
        """Return, if the connection of a request is not frozen."""
        if request.protocol in self._frozen:
            await self._loop.create_future()

    def ask(self, request: web.BaseRequest, body: bytes) -> Any:
        """Return the API server's answer to a request, as a context."""
        headers = [(k, it) for k, it in request.headers.items() if k.lower() not in _HOP]
        url = URL(self._server + request.raw_path, encoded=True)
        return self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        passing = Passing(self, request, body)
        if _who(request) != HUB:
            return await passing.on()
        self._hubs.add(request.protocol)
        await self.wait_while_frozen(request)
        asked = Asked(request.method, request.path, dict(request.query))
        self.asked.append(asked)
        fault = next((it for it in self._faults if it.takes(asked)), None)
        return await (fault.treat(passing) if fault else passing.on())


def _who(request: web.BaseRequest) -> str:
    """Return whose token a request bears; nobody's where it is none of an account."""
    payload = request.headers.get("Authorization", "").removeprefix("Bearer ").split(".")[1:2]
    if not payload:
        return ""
    decoded = base64.urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4))
    return str(json.loads(decoded).get("sub", ""))
