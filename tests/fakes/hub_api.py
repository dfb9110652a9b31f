"""The hub's API over HTTP on loopback, with the servers that a test gives it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "right"
_PAGE = 2


class FakeHubApi:
    """What the hub knows of people's servers.

    Attributes
    ----------
    servers
        By person and by the server's name: its model.
    deleted
        Which were stopped, in order.
    started
        Which were started, in order, and of what options.
    slow
        Whether stopping takes longer than a request.
    """

    def __init__(self) -> None:
        self.servers: dict[str, dict[str, dict[str, Any]]] = {}
        self.deleted: list[tuple[str, str]] = []
        self.started: list[tuple[str, str, Any]] = []
        self.slow = False
        self.url = ""

    def answer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        address = urlsplit(path)
        if not address.path.startswith("/hub/api/"):
            return 200, None
        parts = [unquote(it) for it in address.path.removeprefix("/hub/api/").split("/")]
        if parts == ["users"]:
            return 200, self._page(parse_qs(address.query))
        person = parts[1]
        if person not in self.servers:
            return 404, {"status": 404, "message": "Not Found"}
        if method == "GET":
            return 200, self._user(person)
        name = parts[3] if parts[2] == "servers" else ""
        if method == "POST":
            self.started.append((person, name, body["user_options"]))
            return 202, None
        self.deleted.append((person, name))
        return (202 if self.slow else 204), None

    def _user(self, person: str) -> dict[str, Any]:
        return {"name": person, "servers": self.servers[person]}

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        begin = int(query["offset"][0])
        people = sorted(name for name, servers in self.servers.items() if servers)
        more = begin + _PAGE < len(people)
        return {
            "items": [self._user(it) for it in people[begin : begin + _PAGE]],
            "_pagination": {"next": {"offset": begin + _PAGE} if more else None},
        }


@contextmanager
def serving() -> Iterator[FakeHubApi]:
    """Serve a hub's API while this is open."""
    hub = FakeHubApi()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, body = hub.answer(self.command, self.path, json.loads(sent or b"null"))
            if self.headers["Authorization"] != f"token {TOKEN}":
                status, body = 403, {"status": 403, "message": "Missing or invalid credentials."}
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_DELETE = do_POST = _do  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
