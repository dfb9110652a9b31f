"""A kernel of a person's server: code goes in, outputs come back as they are made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from deploy.errors import DeployError

if TYPE_CHECKING:
    from deploy.person import Person

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CLOSE_SECONDS = 5
_SHOWN = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error"})


@dataclass(frozen=True)
class Output:
    """One output as it came, with the message type that brought it.

    Attributes
    ----------
    kind
        ``stream``, ``display_data``, ``update_display_data``, ``execute_result``
        or ``error``.
    text
        What a terminal would show.
    data
        The same by MIME type, where there is more than text.
    """

    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Execution:
    """What came of one cell.

    Attributes
    ----------
    outputs
        In the order of their coming.
    error
        The name of the exception that ended it, and empty where none did.
    """

    outputs: tuple[Output, ...]
    error: str

    @property
    def text(self) -> str:
        """All that the person reads under the cell."""
        return "".join(output.text for output in self.outputs)


class Kernel:
    """A running kernel, with its websocket; leaving the context ends it.

    Parameters
    ----------
    person
        Whose it is.
    kernel_id, session_id
        As Jupyter Server's sessions API gave them.
    """

    def __init__(self, person: Person, kernel_id: str, session_id: str) -> None:
        self._person = person
        self._id = kernel_id
        self._session_id = session_id
        self._loop = asyncio.Runner()
        self._socket: WebSocketClientConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._person.server("DELETE", f"api/sessions/{self._session_id}")
        finally:
            self.disconnect()
            self._loop.close()

    def execute(
        self,
        code: str,
        on_output: Callable[[Output], None] = lambda _: None,
        seconds: float = 300,
    ) -> Execution:
        """Execute a cell to its end.

        `on_output` sees each output as it comes, and may interrupt.

        Raises
        ------
        DeployError
            If the kernel does not finish in time, or goes away.
        """
        return self._loop.run(self._execute(code, on_output, seconds))

    def interrupt(self) -> None:
        """Interrupt what is being executed, as the stop button does."""
        self._person.server("POST", f"api/kernels/{self._id}/interrupt")

    def disconnect(self) -> None:
        """Close the websocket, as a closed browser does; the kernel goes on."""
        if self._socket is not None:
            self._loop.run(close_websocket(self._socket))
            self._socket = None

    async def _connect(self) -> WebSocketClientConnection:
        path = f"api/kernels/{self._id}/channels?session_id={self._session_id}"
        url, headers = self._person.websocket(path)
        try:
            return await websocket_connect(HTTPRequest(url, headers=headers, request_timeout=60))
        except (OSError, HTTPClientError) as error:
            doing = f"connecting to a kernel of {self._person.name}"
            raise DeployError(doing, str(error), "see the server's log") from error

    async def _execute(
        self, code: str, on_output: Callable[[Output], None], seconds: float
    ) -> Execution:
        message_id = uuid.uuid4().hex
        await self._send(json.dumps(self._request(message_id, code)))
        outputs: list[Output] = []
        error = ""
        pending = {"reply", "idle"}
        deadline = time.monotonic() + seconds
        while pending:
            message = await self._next(deadline)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "execute_reply":
                pending.discard("reply")
                if content["status"] != "ok":
                    error = str(content.get("ename") or content["status"])
            elif kind == "status" and content["execution_state"] == "idle":
                pending.discard("idle")
            elif kind in _SHOWN:
                outputs.append(_read_output(kind, content))
                on_output(outputs[-1])
        return Execution(tuple(outputs), error)

    async def _send(self, message: str) -> None:
        """Send it, by a new connection if the last one was closed while nothing was executed.

        Nobody answers the server's pings meanwhile, and it closes what is silent.
        """
        if self._socket is not None:
            # What came in since is read now, a farewell too.
            await asyncio.sleep(0.01)
            try:
                await self._socket.write_message(message)
            except WebSocketClosedError:
                self._socket.close()
            else:
                return
        self._socket = await self._connect()
        await self._socket.write_message(message)

    def _request(self, message_id: str, code: str) -> dict[str, Any]:
        return {
            "channel": "shell",
            "header": {
                "msg_id": message_id,
                "msg_type": "execute_request",
                "session": self._session_id,
                "username": self._person.name,
                "date": "",
                "version": "5.3",
            },
            "parent_header": {},
            "metadata": {},
            "content": {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        }

    async def _next(self, deadline: float) -> dict[str, Any]:
        doing = f"executing a cell as {self._person.name}"
        if self._socket is None:
            raise DeployError(doing, "there is no connection", "connect first")
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await self._socket.read_message()
        except TimeoutError as error:
            raise DeployError(doing, "it takes too long", "look at what it waits for") from error
        if message is None:
            self._socket.close()
            self._socket = None
            raise DeployError(doing, "the server closed the connection", "see the server's log")
        return dict(json.loads(message))


async def close_websocket(socket: WebSocketClientConnection) -> None:
    """Close a websocket and wait until the other side knows."""
    socket.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            while await socket.read_message() is not None:
                pass


def _read_output(kind: str, content: dict[str, Any]) -> Output:
    if kind == "stream":
        return Output(kind, str(content["text"]))
    if kind == "error":
        text = "\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}"
        return Output(kind, _ANSI.sub("", text))
    data = dict(content["data"])
    return Output(kind, str(data.get("text/plain", "")), data)
