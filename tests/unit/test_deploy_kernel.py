"""A kernel's connection, before a server that closes it while nothing is executed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from deploy.kernel import Kernel


class Channels(WebSocketHandler):
    """Answers each request with its code, and then closes the connection."""

    opened = 0

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002
        return True

    def open(self, *_: str, **__: str) -> None:
        Channels.opened += 1

    def on_message(self, message: str | bytes) -> None:
        asked = json.loads(message)
        for kind, content in (
            ("stream", {"name": "stdout", "text": asked["content"]["code"]}),
            ("execute_reply", {"status": "ok"}),
            ("status", {"execution_state": "idle"}),
        ):
            header = {"msg_type": kind}
            answer = {"parent_header": asked["header"], "header": header, "content": content}
            self.write_message(json.dumps(answer))
        self.close()


class Alice:
    """A person whose server it is."""

    name = "alice"

    def __init__(self, port: int) -> None:
        self._port = port

    def websocket(self, path: str) -> tuple[str, dict[str, str]]:
        return f"ws://127.0.0.1:{self._port}/{path}", {}

    def server(self, *_: str) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Where the server listens."""
    Channels.opened = 0
    (listening,) = bind_sockets(0, "127.0.0.1")
    loop = asyncio.new_event_loop()

    async def begin() -> HTTPServer:
        server = HTTPServer(Application([("/.*", Channels)]))
        server.add_sockets([listening])
        return server

    async def end(server: HTTPServer) -> None:
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(5)
    yield listening.getsockname()[1]
    asyncio.run_coroutine_threadsafe(end(server), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_connection_that_was_closed_meanwhile_is_made_anew(port: int) -> None:
    alice: Any = Alice(port)
    with Kernel(alice, "a-kernel", "a-session") as kernel:
        assert [kernel.execute(code).text for code in ("1", "2", "3")] == ["1", "2", "3"]
    assert Channels.opened == 3
