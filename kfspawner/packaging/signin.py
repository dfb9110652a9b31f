"""Signing in to a registry, as the distribution specification has it.

A registry answers 401 and says where to ask for a token. The token is for
some repositories and actions, and good for some minutes.
"""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import dataclass, field

import httpx

from kfspawner.errors import RegistryDenied

# A registry may offer several ways in one header, or in several.
_SCHEME = re.compile(r"(?:^|,)\s*(basic|bearer)(?=[\s,]|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Credentials:
    """A registry account; neither part shows in its representation."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class SignIn:
    """What one registry was told about who we are, and what it gave for it.

    Threads may share it.
    """

    def __init__(self, origin: httpx.URL, credentials: Credentials | None) -> None:
        self._origin = origin
        self._credentials = credentials
        self._lock = threading.Lock()
        # Repository -> the scopes that were asked for, and the header that they gave.
        self._scopes: dict[str, set[str]] = {}
        self._headers: dict[str, str] = {}

    def sign(self, request: httpx.Request, repository: str) -> None:
        """Add what is known to work for `repository`; never for another host."""
        header = self._headers.get(repository)
        here = (request.url.scheme, request.url.netloc)
        if header and here == (self._origin.scheme, self._origin.netloc):
            request.headers["Authorization"] = header

    def answer(
        self, response: httpx.Response, repository: str, client: httpx.Client, doing: str
    ) -> bool:
        """Get what a 401 asks for; say whether to send the request again.

        Raises
        ------
        RegistryDenied
            If the registry's token service gives nothing to us, or is not one.
        """
        used = response.request.headers.get("Authorization")
        challenge = response.headers.get("WWW-Authenticate", "")
        with self._lock:
            if self._headers.get(repository, used) != used:
                return True  # another thread was faster
            offered = _parse(challenge)
            asked = offered.get("bearer")
            if asked is None:
                if "basic" in offered and self._credentials and used is None:
                    self._headers[repository] = self._credentials.basic
                    return True
                return False
            scopes = self._scopes.setdefault(repository, set())
            scopes.update(asked.get("scope", "").split())
            token = self._fetch(client, asked, sorted(scopes), doing)
            self._headers[repository] = f"Bearer {token}"
            return True

    def hide(self, text: str) -> str:
        """Return `text` without any secret that it may quote."""
        headers = [*self._headers.values()]
        if self._credentials:
            headers += [self._credentials.basic, f" {self._credentials.password}"]
        for header in headers:
            secret = header.partition(" ")[2]
            text = text.replace(secret, "…") if secret else text
        return text

    def _fetch(
        self, client: httpx.Client, asked: dict[str, str], scopes: list[str], doing: str
    ) -> str:
        realm = asked.get("realm", "")
        allowed = ("https://",) if self._origin.scheme == "https" else ("https://", "http://")
        if not realm.startswith(allowed):
            raise _denied(doing, "it sends sign-ins to a place that is not safe")
        query: dict[str, str | list[str]] = {"scope": scopes}
        if "service" in asked:
            query["service"] = asked["service"]
        headers = {"Authorization": self._credentials.basic} if self._credentials else {}
        response = client.get(realm, params=query, headers=headers)
        if response.status_code in {400, 401, 403}:
            raise _denied(doing, f"{response.status_code} from its token service")
        response.raise_for_status()
        try:
            body = response.json()
            token = str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise _denied(doing, "its token service gave no token") from error
        if not _TOKEN.fullmatch(token):
            raise _denied(doing, "its token service gave a token that is not one")
        return token


def _parse(challenge: str) -> dict[str, dict[str, str]]:
    """Return the ways to sign in that a registry offers, each with its parameters."""
    _, *parts = _SCHEME.split(challenge)
    return {
        scheme.lower(): {name: quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        for scheme, rest in zip(parts[::2], parts[1::2], strict=True)
    }


def _denied(doing: str, cause: str) -> RegistryDenied:
    return RegistryDenied(
        doing, cause, "sign in to the registry, or ask who runs it for access to the repository"
    )
