"""Asking a registry: patience, second attempts, signing in, and what errors become.

Every error of the network and of a registry becomes one of ours here, and
nowhere else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from kfspawner import __version__
from kfspawner.errors import (
    ImageMissing,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
)
from kfspawner.packaging.signin import Credentials, SignIn

ATTEMPTS = 3
# Attempts once a push is under way: with their pauses, time for a registry to start anew.
PERSISTENCE = 8
# Seconds for a registry to take what a request sends.
STORING = 300.0

# Docker Hub's name is not that of the host which speaks the API.
_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_FIRST_PAUSE = 0.2
_CONNECT = 3.0
_CHUNK = 2**20

Content = bytes | Iterator[bytes]


@dataclass(frozen=True)
class Ask:
    """One request, and what it is for in a reader's words.

    `attempts` counts the first one; `patience` is in seconds, all attempts
    together, None for the conversation's own.
    """

    doing: str
    method: str
    url: str
    repository: str
    headers: dict[str, str] = field(default_factory=dict)
    content: Content | None = None
    attempts: int = ATTEMPTS
    patience: float | None = None


class Conversation:
    """All that is said to one registry. Threads may share it.

    Parameters
    ----------
    host
        Name and, where it is not the usual one, port.
    plain_http
        Whether it speaks HTTP without TLS; on this machine's own addresses it
        always does.
    credentials
        An account there; None to ask as anybody.
    patience
        Seconds to wait for an answer, all attempts together.
    """

    def __init__(
        self, host: str, *, plain_http: bool, credentials: Credentials | None, patience: float
    ) -> None:
        self._host = host
        self._patience = patience
        self._stopped = threading.Event()
        scheme = "http" if plain_http or _is_loopback(host) else "https"
        origin = httpx.URL(f"{scheme}://{_API_HOSTS.get(host, host)}")
        self._sign_in = SignIn(origin, credentials)
        self._client = httpx.Client(
            base_url=origin,
            headers={"User-Agent": f"kfspawner/{__version__}", "Accept-Encoding": "identity"},
        )

    def stop(self) -> None:
        """Let what other threads have under way fail soon, and try nothing again."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def pause(self, attempt: int) -> None:
        """Wait before the attempt after `attempt`, the first being 0."""
        self._stopped.wait(_FIRST_PAUSE * 2**attempt)

    @property
    def stopped(self) -> bool:
        """Whether nothing is to be tried again."""
        return self._stopped.is_set()

    @contextlib.contextmanager
    def stream(self, ask: Ask, start: int = 0) -> Iterator[Iterator[bytes]]:
        """Yield the answer in pieces, from the byte `start` on.

        What breaks on the way is this registry's fault.
        """
        if start:
            ask = replace(ask, headers={**ask.headers, "Range": f"bytes={start}-"})
        response = self.expect(ask, 200, 206, stream=True)
        # Not every registry knows parts.
        skip = start if response.status_code == 200 else 0

        def pieces() -> Iterator[bytes]:
            ahead = skip
            try:
                for piece in response.iter_raw(_CHUNK):
                    if self._stopped.is_set():
                        raise RegistryError(ask.doing, "it was stopped", "start it again")
                    if len(piece) > ahead:
                        yield piece[ahead:]
                    ahead = max(0, ahead - len(piece))
            except httpx.RequestError as error:
                raise self._unreachable(ask, error) from error

        try:
            yield pieces()
        finally:
            response.close()

    def expect(self, ask: Ask, *good: int, stream: bool = False) -> httpx.Response:
        """Send `ask` and return the answer, if its status is one of `good`."""
        response = self.send(ask, stream=stream)
        self.check(ask, response, *good)
        return response

    def check(self, ask: Ask, response: httpx.Response, *good: int) -> None:
        """Raise what `response` means, if its status is none of `good`."""
        status = response.status_code
        if status in good:
            return
        with contextlib.suppress(httpx.RequestError, httpx.StreamError):
            response.read()
        response.close()
        cause = self._sign_in.hide(_said(response))
        if status in {401, 403}:
            raise RegistryDenied(
                ask.doing,
                cause,
                "sign in to the registry, or ask who runs it for access to the repository",
            )
        if status == 404:
            raise ImageMissing(ask.doing, cause, "check the registry, repository and tag")
        if is_busy(response):
            raise RegistryBusy(ask.doing, cause, "try again, or ask who runs the registry")
        raise RegistryError(ask.doing, cause, "ask who runs the registry what it objects to")

    def send(self, ask: Ask, *, stream: bool = False) -> httpx.Response:
        """Send until there is an answer worth having, or patience ends."""
        deadline = time.monotonic() + (ask.patience or self._patience)
        for attempt in itertools.count():
            pause = _FIRST_PAUSE * 2**attempt
            response, failure = None, None
            try:
                response = self._send_signed(ask, deadline, stream=stream)
            except (httpx.RequestError, httpx.InvalidURL, httpx.HTTPStatusError) as error:
                failure = error
            last = (
                attempt + 1 >= ask.attempts
                or time.monotonic() + pause >= deadline
                or self._stopped.is_set()
            )
            if response is not None:
                if last or not is_busy(response):
                    return response
                response.close()
            elif last or _is_certificate(failure):
                raise self._unreachable(ask, failure) from failure
            self.pause(attempt)
        raise AssertionError("counting does not end")

    def _send_signed(self, ask: Ask, deadline: float, *, stream: bool) -> httpx.Response:
        def send() -> httpx.Response:
            left = max(0.1, deadline - time.monotonic())
            timeout = httpx.Timeout(left, connect=min(_CONNECT, left))
            request = self._client.build_request(
                ask.method, ask.url, headers=ask.headers, content=ask.content, timeout=timeout
            )
            self._sign_in.sign(request, ask.repository)
            return self._client.send(request, stream=stream, follow_redirects=ask.method == "GET")

        response = send()
        if response.status_code != 401:
            return response
        response.read()
        again = self._sign_in.answer(response, ask.repository, self._client, ask.doing)
        # What was streamed is gone: there the next attempt has the token.
        return send() if again and not isinstance(ask.content, Iterator) else response

    def _unreachable(self, ask: Ask, error: Exception | None) -> RegistryUnreachable:
        cause = self._sign_in.hide(str(error).partition("\n")[0]) or type(error).__name__
        way_out = "check its name, that it runs and that this network lets you reach it"
        if isinstance(error, httpx.TimeoutException):
            cause = "no answer in time"
        elif "WRONG_VERSION_NUMBER" in cause or "record layer failure" in cause:
            way_out = "it may speak plain HTTP: have that set for it"
        return RegistryUnreachable(ask.doing, f"{self._host}: {cause}", way_out)


def is_busy(response: httpx.Response) -> bool:
    """Say whether the registry may do better in a moment."""
    return response.status_code >= 500 or response.status_code == 429


def _is_loopback(host: str) -> bool:
    name = httpx.URL(f"http://{host}").host
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _is_certificate(error: BaseException | None) -> bool:
    while error:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _said(response: httpx.Response) -> str:
    """Return the registry's own words for what is wrong, shortened."""
    text = f"{response.status_code} from the registry"
    try:
        body: Any = response.json()
        first = body["errors"][0]
        said = str(first.get("message") or first["code"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, httpx.StreamError):
        return text
    return f"{text} ({' '.join(said.split())[:200]})"
