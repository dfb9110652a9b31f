"""The hub's own API, for whoever has a token of it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from kfspawner.errors import HubError

URL_VARIABLE = "KFSPAWNER_HUB_URL"
TOKEN_VARIABLE = "KFSPAWNER_ADMIN_TOKEN"  # noqa: S105 - where it stands, not what it is
# Seconds for one request: a server that is stopped may take some.
_LIMIT = aiohttp.ClientTimeout(total=30)
_PAGE = 200
_PAGED = "application/jupyterhub-pagination+json"


@dataclass(frozen=True)
class HubServer:
    """A server that runs, as the hub knows it.

    Attributes
    ----------
    person, name
        Whose it is, and which of theirs; the name is empty for the default one.
    started
        When, as the hub writes it: another start is another text.
    profile, image_profile
        Where it is, and as what it was chosen; empty where the hub does not say.
    url
        Where it answers inside the cluster; empty where the hub does not say.
    options
        What was chosen, as JSON values.
    """

    person: str
    name: str
    started: str
    profile: str
    image_profile: str
    url: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        which = f"server {self.name}" if self.name else "server"
        return f"{self.person}'s {which} in profile {self.profile or 'unknown'}"


class HubApi:
    """A hub, as far as one token may see and change it.

    Every method raises a HubError if the hub refuses or does not answer.

    Parameters
    ----------
    url
        Where it answers: ``https://hub.example``.
    token
        Of an administrator, or of a service with the scopes ``read:users``,
        ``read:servers``, ``admin:server_state`` and ``delete:servers``.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url.rstrip('/')}/hub/api"
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"token {token}"}, timeout=_LIMIT
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> HubApi | None:
        """Return the hub that the environment names; None if it names none, or has no token."""
        url, token = environ.get(URL_VARIABLE), environ.get(TOKEN_VARIABLE)
        return cls(url, token) if url and token else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def has(self, person: str, server: str) -> bool:
        """Say whether a server runs, starts or stops as far as the hub knows."""
        return await self.server(person, server) is not None

    async def server(self, person: str, server: str) -> Mapping[str, Any] | None:
        """Return how the hub models a server; None if it neither runs, nor starts, nor stops."""
        doing = f"asking the hub for {person}"
        status, body = await self._call("GET", f"users/{quote(person, safe='')}", doing)
        if status == HTTPStatus.NOT_FOUND:
            return None
        found: Mapping[str, Any] = self._said(doing, status, body).get("servers") or {}
        return found.get(server)

    async def pods(self) -> AsyncGenerator[str, None]:
        """Yield the pods of all servers that the hub has, by ``<namespace>/<name>``.

        Raises
        ------
        HubError
            Also if the token does not let it tell.
        """
        async for user in self._users("active"):
            for server in user["servers"].values():
                state = server.get("state")
                if state is None:
                    raise HubError(
                        f"asking the hub for the pods of {user['name']}",
                        "it tells no server's state",
                        f"see that {TOKEN_VARIABLE} is a token with the scope admin:server_state",
                    )
                yield f"{state.get('namespace')}/{state.get('pod_name')}"

    async def ready(self) -> AsyncGenerator[HubServer, None]:
        """Yield every server that runs, and neither starts nor stops."""
        async for user in self._users("ready"):
            for name, server in user["servers"].items():
                if server["ready"] and not server["pending"]:
                    yield _read_server(user["name"], name, server)

    async def _users(self, state: str) -> AsyncGenerator[Mapping[str, Any], None]:
        doing = "asking the hub for the servers of everyone"
        offset = 0
        while True:
            query = urlencode({"state": state, "limit": _PAGE, "offset": offset})
            status, body = await self._call("GET", f"users?{query}", doing)
            page = self._said(doing, status, body)
            for user in page["items"]:
                yield user
            following = page["_pagination"]["next"]
            if not following:
                return
            offset = int(following["offset"])

    async def start(self, person: str, server: str, options: Mapping[str, Any]) -> None:
        """Have a server start; it goes on starting when this returns."""
        doing = f"starting a server of {person}"
        sent = {"user_options": dict(options)}
        status, body = await self._call("POST", _path(person, server), doing, sent)
        self._check(doing, status, body)

    async def stop(self, person: str, server: str) -> bool:
        """Stop a server; return whether it is gone already, and is not still being stopped."""
        doing = f"stopping a server of {person}"
        status, body = await self._call("DELETE", _path(person, server), doing)
        self._check(doing, status, body)
        return status == HTTPStatus.NO_CONTENT

    async def _call(
        self, method: str, path: str, doing: str, sent: object = None
    ) -> tuple[int, Any]:
        url = URL(f"{self._url}/{path}", encoded=True)
        accept = {"Accept": _PAGED}
        try:
            async with self._session.request(method, url, headers=accept, json=sent) as answer:
                text = await answer.text(errors="replace")
                return answer.status, _read(text)
        except (aiohttp.ClientError, OSError) as error:
            raise HubError(
                doing,
                f"{self._url} did not answer ({type(error).__name__})",
                f"see whether the hub runs, and where {URL_VARIABLE} points",
            ) from error

    def _said(self, doing: str, status: int, body: Any) -> Mapping[str, Any]:
        self._check(doing, status, body)
        if not isinstance(body, dict):
            cause = f"what answers at {self._url} is not the hub's API"
            raise HubError(doing, cause, f"see where {URL_VARIABLE} points")
        return body

    def _check(self, doing: str, status: int, body: Any) -> None:
        if status < HTTPStatus.BAD_REQUEST:
            return
        said = body.get("message") if isinstance(body, dict) else None
        way_out = "the hub's log says more"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            way_out = f"see that {TOKEN_VARIABLE} is a token with the scopes for it"
        raise HubError(doing, f"{status} {said or 'without a word'}", way_out)


def _path(person: str, server: str) -> str:
    path = f"users/{quote(person, safe='')}/server"
    return f"{path}s/{quote(server, safe='')}" if server else path


def _read_server(person: str, name: str, server: Mapping[str, Any]) -> HubServer:
    state, options = server.get("state") or {}, server.get("user_options") or {}
    return HubServer(
        person=person,
        name=name,
        started=str(server.get("started") or ""),
        profile=str(state.get("namespace") or options.get("profile") or ""),
        image_profile=str(state.get("image_profile") or options.get("image_profile") or ""),
        url=str(state.get("url") or ""),
        options=options,
    )


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
