"""What a server says of its use, and what it is told to show: with its own key, and no token.

Whoever has a server may read all that is sent there. A token of the hub would let
them do what the service may; the key lets them do nothing that they cannot do anyway.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from kfspawner.context import KEY_HEADER, make_server_key
from kfspawner.errors import HubError
from kfspawner.hub.api import HubServer

_LIMIT = aiohttp.ClientTimeout(total=10)
# A person writes what the server answers.
_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Activity:
    """What a server says of its use.

    Attributes
    ----------
    last
        When somebody, or a program of theirs, last did something.
    busy
        What is at work now; empty if nothing is.
    """

    last: datetime
    busy: str = ""


class Servers:
    """The servers of a hub, as far as their own extension answers.

    Every method raises a HubError if that does not.

    Parameters
    ----------
    secret
        The hub's, from which every server's key follows.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        # Where a server sends us is no place that the key should go to, nor we.
        self._session = aiohttp.ClientSession(timeout=_LIMIT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def activity(self, server: HubServer) -> Activity:
        """Return how a server is used."""
        said = await self._call("GET", server)
        try:
            last = datetime.fromisoformat(said["last_activity"])
            last = last if last.tzinfo else last.replace(tzinfo=UTC)
            return Activity(last, str(said["busy"])[:100])
        except (KeyError, TypeError, ValueError) as error:
            raise _unlike(server, "its answer is of another kind") from error

    async def tell(self, server: HubServer, text: str) -> None:
        """Have a server show a text; an empty one takes it away."""
        await self._call("PUT", server, {"text": text})

    async def _call(self, method: str, server: HubServer, sent: object = None) -> Any:
        if not server.url:
            raise _unlike(server, "the hub does not say where it is")
        headers = {KEY_HEADER: make_server_key(self._secret, server.person, server.name)}
        url = f"{server.url.rstrip('/')}/kfspawner/idle"
        try:
            async with self._session.request(
                method, url, headers=headers, json=sent, allow_redirects=False
            ) as answer:
                return await _read(server, answer)
        except (aiohttp.ClientError, OSError) as error:
            raise _unlike(server, f"it did not answer ({type(error).__name__})") from error


async def _read(server: HubServer, answer: aiohttp.ClientResponse) -> Any:
    if answer.status == HTTPStatus.NO_CONTENT:
        return None
    if answer.status != HTTPStatus.OK:
        raise _unlike(server, f"it answers {answer.status}")
    text = await answer.content.read(_LONGEST)
    try:
        return json.loads(text)
    except ValueError as error:
        raise _unlike(server, "its answer is no JSON") from error


def _unlike(server: HubServer, cause: str) -> HubError:
    return HubError(
        f"asking {server} for its use",
        cause,
        "it is left as it is; servers of images with kfspawner tell it",
    )
