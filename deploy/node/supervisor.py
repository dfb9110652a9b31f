"""Talk to the node's supervisor over its socket."""

from __future__ import annotations

import contextlib
import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import cast


@dataclass(frozen=True)
class PartStatus:
    """How one part does, in the supervisor's words."""

    name: str
    state: str
    description: str


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _SocketTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:  # noqa: ARG002
        return _SocketConnection(self._path)


class Supervisor:
    """The supervisor that listens on the socket at `path`."""

    def __init__(self, path: Path) -> None:
        transport = _SocketTransport(path)
        self._server = xmlrpc.client.ServerProxy("http://localhost", transport=transport)

    def parts(self) -> list[PartStatus]:
        """Return how each part does; OSError if there is no supervisor."""
        # XML-RPC knows no types: http://supervisord.org/api.html has them.
        listed = cast("list[dict[str, str]]", self._server.supervisor.getAllProcessInfo())
        return [
            PartStatus(info["name"], info["statename"], info["description"])
            for info in listed
            if info["name"] != "crashes"
        ]

    def start_all(self) -> None:
        """Start every part that does not run, and return when all do."""
        self._server.supervisor.startAllProcesses()

    def shut_down(self) -> None:
        """Stop every part in the reverse order of its start; no supervisor is fine."""
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._server.supervisor.stopAllProcesses()
