"""What the Kubernetes client and the network raise -> a ClusterError, once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from kfspawner.errors import (
    ClusterBusy,
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
    ObjectMissing,
    VersionExpired,
)


def refused(status: Mapping[str, Any]) -> ApiException:
    """Return what a Status in the middle of a watch would have been at its beginning."""
    error = ApiException(status=status.get("code", 0), reason=status.get("reason", ""))
    error.body = json.dumps(status).encode()
    return error


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Raise what the Kubernetes client raises inside as a `ClusterError` of `doing`."""
    try:
        yield
    except ApiException as error:
        raise _map(doing, error) from error
    except (OSError, aiohttp.ClientError) as error:
        raise ClusterUnreachable(
            doing,
            f"the Kubernetes API did not answer ({type(error).__name__})",
            "try again in a minute; if it lasts, tell the administrator",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ClusterUnreachable(
            doing,
            "what answers is not the Kubernetes API",
            "tell the administrator; a proxy may be in between",
        ) from error


_PLAIN: dict[int, tuple[type[ClusterError], str]] = {
    404: (ObjectMissing, "show this to the administrator"),
    409: (ObjectExists, "try again in a minute"),
    410: (VersionExpired, "list again"),
}


def _map(doing: str, error: ApiException) -> ClusterError:
    message = _message(error)
    if error.status in _PLAIN:
        kind, way_out = _PLAIN[error.status]
        return kind(doing, message, way_out)
    if error.status == 403 and "quota" in message:
        return ClusterDenied(
            doing, message, "choose less, or stop a server or a run that you no longer need"
        )
    if error.status in (401, 403):
        return ClusterDenied(doing, message, "show this to the administrator")
    if error.status in (429, 503):
        return ClusterBusy(
            doing,
            f"{error.status} {message}",
            "try again in a minute; if it lasts, tell the administrator",
            _retry_after(error),
        )
    return ClusterError(
        doing, f"{error.status} {message}", "try again; if it lasts, show this to the administrator"
    )


def _retry_after(error: ApiException) -> float:
    """Return for how many seconds the API server asks to be left alone."""
    try:
        headers: Mapping[str, str] = error.headers or {}
        told = headers.get("Retry-After")
        return float(told or json.loads(error.body or "")["details"]["retryAfterSeconds"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _message(error: ApiException) -> str:
    """Return the sentence in an API answer, whose body is a Status object when all is well."""
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return " ".join(str(message).split())[:600]
