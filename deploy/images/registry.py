"""What a registry has, asked by its HTTP API."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager

from deploy.errors import DeployError

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TIMEOUT_SECONDS = 10


@contextmanager
def _open(host: str, *, plain_http: bool) -> Iterator[http.client.HTTPConnection]:
    connection = (
        http.client.HTTPConnection(host, timeout=_TIMEOUT_SECONDS)
        if plain_http
        else http.client.HTTPSConnection(
            host, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    )
    with closing(connection):
        yield connection


def find_digest(reference: str, *, plain_http: bool) -> str | None:
    """Return the digest that the registry has under `reference`, None if it has none.

    A registry that wants a sign-in is not asked further: the container tool
    has one, and sends what is there already in no time.

    Raises
    ------
    DeployError
        If it does not answer, or not as a registry does.
    """
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    doing = f"looking for {reference}"
    try:
        with _open(host, plain_http=plain_http) as connection:
            path = f"/v2/{repository}/manifests/{tag}"
            connection.request("HEAD", path, headers={"Accept": _MANIFESTS})
            answer = connection.getresponse()
            answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DeployError(
            doing,
            f"the registry {host} does not answer: {error}",
            "see that it runs, and that REGISTRY names it",
        ) from error
    if answer.status == http.HTTPStatus.OK:
        return answer.headers.get("Docker-Content-Digest")
    if answer.status in (401, 403, 404):
        return None
    raise DeployError(
        doing, f"the registry {host} answers {answer.status}", "see in its log what ails it"
    )
