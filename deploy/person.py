"""A person over HTTP: signs in, starts a server, uses it, as a browser does.

What drives the demonstration, the tests and the benchmarks. Needs httpx and
tornado, so it runs in the environment of development, not on the bare machine.
"""

from __future__ import annotations

import copy
import html
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from deploy.errors import DeployError
from deploy.kernel import Kernel

_PAGE_ERROR = re.compile(r'class="(?:login_error|spawn-error-msg)[^"]*">(.*?)</p>', re.DOTALL)
_STOP_SECONDS = 60


class Refused(DeployError):
    """The hub or a server answered with an error.

    Attributes
    ----------
    status
        The HTTP status.
    message
        What it said.
    """

    def __init__(self, doing: str, status: int, message: str) -> None:
        super().__init__(doing, f"HTTP {status}: {message}", "the hub's log says more")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Event:
    """One line of a start's progress, as the page shows it."""

    progress: int
    message: str
    ready: bool = False
    failed: bool = False


class Person:
    """One person in a browser of their own.

    Parameters
    ----------
    hub_url
        Where the hub answers: ``http://127.0.0.1:8000``.
    name
        Their JupyterHub name, in lower case as JupyterHub keeps it.
    """

    def __init__(self, hub_url: str, name: str) -> None:
        self.name = name
        self.hub_url = hub_url.rstrip("/")
        self._escaped = quote(name, safe="@~")
        self._server = ""
        self._server_api = f"users/{self._escaped}/server"
        self.server_path = f"/user/{self._escaped}/"
        # This machine's proxy settings are not for the hub on it.
        self._http = httpx.Client(
            base_url=self.hub_url, follow_redirects=True, timeout=60, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def named(self, server: str) -> Self:
        """Return the same person at their server of that name, one of several that they have."""
        other = copy.copy(self)
        other._server = server
        other._server_api = f"users/{self._escaped}/servers/{quote(server, safe='')}"
        other.server_path = f"/user/{self._escaped}/{quote(server, safe='')}/"
        return other

    # Sign-in.

    def sign_in(self, password: str) -> None:
        """Sign in by the hub's own form; Refused with status 403 if it is the wrong password."""
        doing = f"signing in as {self.name}"
        self.send("GET", "/hub/login", doing)
        form = {"username": self.name, "password": password, "_xsrf": self._xsrf("/hub/")}
        self.send("POST", "/hub/login", doing, data=form)
        # The first page after it renews the token against forged requests.
        self.send("GET", "/hub/home", doing)

    # Starting and stopping.

    def spawn(
        self, options: Mapping[str, object], on_event: Callable[[Event], None] = lambda _: None
    ) -> None:
        """Start a server by the API and return once it answers.

        Raises
        ------
        Refused
            If the hub does not take `options`.
        DeployError
            If the server does not start.
        """
        self.start(options)
        self.wait_ready(on_event)

    def start(self, options: Mapping[str, object]) -> None:
        """Ask the API for a server of `options`; it goes on starting when this returns."""
        self._api("POST", self._server_api, json={"user_options": dict(options)})

    def send_form(self, fields: Mapping[str, str]) -> None:
        """Send the spawn form; the server goes on starting when this returns."""
        doing = f"sending the spawn form as {self.name}"
        self.send("GET", "/hub/spawn", doing)
        form = {**fields, "_xsrf": self._xsrf("/hub/")}
        self.send("POST", f"/hub/spawn/{self._escaped}", doing, data=form)

    def wait_ready(self, on_event: Callable[[Event], None] = lambda _: None) -> None:
        """Follow a start to its end; DeployError if that is a failure."""
        doing = f"starting the server of {self.name}"
        last = None
        for last in self.progress():
            on_event(last)
        if last is None or not last.ready:
            cause = last.message if last else "the hub reported nothing"
            raise DeployError(doing, cause, "see the pod's events for more")
        self.enter()

    def progress(self) -> Iterator[Event]:
        """Yield the events of a start as they come, the last one ready or failed."""
        path = f"/hub/api/{self._server_api}/progress"
        try:
            with self._http.stream("GET", path, timeout=httpx.Timeout(30, read=900)) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _refused(f"following the start of {self.name}'s server", answer)
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        yield _read_event(json.loads(line.removeprefix("data:")))
        except httpx.TransportError as error:
            raise self._unreachable(
                f"following the start of {self.name}'s server", error
            ) from error

    def running(self) -> bool:
        """Say whether the server is up or on its way."""
        servers: dict[str, Any] = self.model()["servers"]
        server = servers.get(self._server)
        return bool(server and (server["ready"] or server["pending"]))

    def stop(self) -> None:
        """Stop the server, started or starting, and return once it is gone."""
        deadline = time.monotonic() + _STOP_SECONDS
        asked = False
        while True:
            server = self.model()["servers"].get(self._server)
            if not server or not (server["ready"] or server["pending"]):
                return
            # A hub that has just started looks at a server first, and stops none meanwhile.
            if server["pending"] not in ("stop", "check") and not asked:
                self._api("DELETE", self._server_api)
                asked = True
            elif time.monotonic() > deadline:
                cause = f"it still runs after {_STOP_SECONDS} s"
                raise DeployError(f"stopping {self.name}'s server", cause, "look at its pod")
            time.sleep(0.2)

    def model(self) -> dict[str, Any]:
        """Return what the hub's API says of this person."""
        return dict(self._api("GET", f"users/{self._escaped}").json())

    # The server.

    def enter(self) -> str:
        """Open JupyterLab's page, which signs this person in to the server; return its HTML."""
        doing = f"opening JupyterLab of {self.name}"
        return self.send("GET", f"{self.server_path}lab", doing).text

    def server(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the REST API of the person's Jupyter Server: ``server("GET", "api/status")``."""
        doing = f"{method} {path} on the server of {self.name}"
        headers = {"X-XSRFToken": self._xsrf(self.server_path)}
        return self.send(method, f"{self.server_path}{path}", doing, headers=headers, **request)

    def read(self, path: str) -> str:
        """Return the text of a file below the person's home."""
        query = {"type": "file", "format": "text"}
        answer = self.server("GET", f"api/contents/{quote(path)}", params=query)
        return str(answer.json()["content"])

    def write(self, path: str, text: str) -> None:
        """Write a file below the person's home, in a folder that is there."""
        content = {"type": "file", "format": "text", "content": text}
        self.server("PUT", f"api/contents/{quote(path)}", json=content)

    def listing(self, path: str = "") -> set[str]:
        """Return the names in a folder below the person's home."""
        answer = self.server("GET", f"api/contents/{quote(path)}", params={"type": "directory"})
        return {str(entry["name"]) for entry in answer.json()["content"]}

    def kernel(self, notebook: str = "Untitled.ipynb") -> Kernel:
        """Start a kernel as JupyterLab does when it opens `notebook`; it is a context."""
        session = {
            "path": notebook,
            "name": notebook.rpartition("/")[2],
            "type": "notebook",
            "kernel": {"name": "python3"},
        }
        started = self.server("POST", "api/sessions", json=session).json()
        return Kernel(self, str(started["kernel"]["id"]), str(started["id"]))

    def cells(self, notebook: str) -> list[str]:
        """Return the code of a notebook's code cells, in their order."""
        document = json.loads(self.read(notebook))
        code = (cell for cell in document["cells"] if cell["cell_type"] == "code")
        return ["".join(cell["source"]) for cell in code]

    # How requests are sent.

    def cookie(self, path: str) -> str:
        """Return the cookies that a browser sends with a request of that path."""
        return str(self._http.build_request("GET", path).headers.get("Cookie", ""))

    def websocket(self, path: str) -> tuple[str, dict[str, str]]:
        """Return the address and the headers that open a websocket of the server."""
        request = self._http.build_request("GET", f"{self.server_path}{path}")
        address = urlsplit(str(request.url))._replace(
            scheme="wss" if self.hub_url.startswith("https") else "ws"
        )
        return address.geturl(), {"Cookie": request.headers["Cookie"], "Origin": self.hub_url}

    def _api(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"X-XSRFToken": self._xsrf("/hub/")}
        doing = f"{method} {path} as {self.name}"
        return self.send(method, f"/hub/api/{path}", doing, headers=headers, **request)

    def send(self, method: str, path: str, doing: str, **request: Any) -> httpx.Response:
        """Send one request with this person's cookies.

        Raises
        ------
        Refused
            If the answer is an error.
        DeployError
            If there is none.
        """
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._unreachable(doing, error) from error
        if answer.status_code >= 400:
            raise _refused(doing, answer)
        return answer

    def _unreachable(self, doing: str, error: httpx.TransportError) -> DeployError:
        cause = f"{self.hub_url} did not answer ({error})"
        return DeployError(doing, cause, "see `make status`, and start it with `make up`")

    def _xsrf(self, path: str) -> str:
        # One per path, and the longer path's is the server's own.
        for cookie in self._http.cookies.jar:
            if cookie.name == "_xsrf" and cookie.path == path:
                return cookie.value or ""
        return ""


def _read_event(raw: Mapping[str, Any]) -> Event:
    return Event(
        int(raw.get("progress", 0)),
        str(raw.get("message", "")),
        ready=bool(raw.get("ready")),
        failed=bool(raw.get("failed")),
    )


def _refused(doing: str, answer: httpx.Response) -> Refused:
    """Return the error that an answer stands for, with the sentence in its JSON or its page."""
    message = ""
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        found = _PAGE_ERROR.search(answer.text)
        if found:
            message = html.unescape(re.sub(r"<[^>]+>", "", found[1]))
    return Refused(doing, answer.status_code, " ".join(message.split()) or answer.reason_phrase)
