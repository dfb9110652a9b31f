"""The synchronous way to the Kubernetes API, for the notebook and the command line.

Objects go in and come out as plain dicts, spelled as in manifests. Whatever
the client or the network raises becomes a ClusterError here, and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from kfspawner.errors import (
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
    ObjectMissing,
)
from kfspawner.quota import QuotaExcess

Object = dict[str, Any]

# Seconds to connect, and between two pieces of an answer.
_TIMEOUT = (5.0, 30.0)
# A log may be silent for hours. A connection that is dead looks the same, so a
# silent one is given up after this many seconds, and its reader asks anew.
_LOG_TIMEOUT = (5.0, 60.0)

_RIGHTS = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')


class Cluster:
    """One namespace of a Kubernetes cluster.

    Every method raises a ClusterError: ClusterUnreachable if the API does not
    answer, ClusterDenied if it forbids, ObjectMissing and ObjectExists.

    Parameters
    ----------
    namespace
        Where everything is looked up and made.
    api_client
        The official client, configured.
    """

    def __init__(self, namespace: str, api_client: client.ApiClient) -> None:
        self.namespace = namespace
        self._api_client = api_client
        self._core = client.CoreV1Api(api_client)
        self._batch = client.BatchV1Api(api_client)

    @classmethod
    def in_namespace(cls, namespace: str) -> Cluster:
        """Return `namespace` of the cluster that this process runs in.

        Outside of a cluster, the one of ``KUBECONFIG`` or ``~/.kube/config``.

        Raises
        ------
        ClusterUnreachable
            If there is neither a service account here nor a kubeconfig.
        """
        settings = client.Configuration()
        # The caller says what to do about a failure; silent repetition hides it.
        settings.retries = False
        try:
            config.load_incluster_config(client_configuration=settings)
            # The API server's address in its own cluster is not a proxy's business.
            settings.proxy = None
        except ConfigException:
            try:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
            except (ConfigException, OSError) as error:
                raise ClusterUnreachable(
                    "connecting to Kubernetes",
                    "there is no service account in this process and no kubeconfig",
                    "run this in a notebook server, or set KUBECONFIG",
                ) from error
        return cls(namespace, client.ApiClient(settings))

    def create_job(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create a Job; with `dry_run`, only learn whether it would be."""
        checked = {"dry_run": "All"} if dry_run else {}
        with _mapped(f"creating run {manifest['metadata']['name']}"):
            return _read(
                self._batch.create_namespaced_job(
                    self.namespace, manifest, field_validation="Strict", **checked, **_RAW
                )
            )

    def get_job(self, name: str) -> Object:
        """Return a Job."""
        with _mapped(f"looking up run {name}"):
            return _read(self._batch.read_namespaced_job(name, self.namespace, **_RAW))

    def list_jobs(self, selector: str) -> list[Object]:
        """Return the Jobs whose labels fit `selector`."""
        with _mapped(f"listing the runs of {self.namespace}"):
            return _items(
                self._batch.list_namespaced_job(self.namespace, label_selector=selector, **_RAW)
            )

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> Object:
        """Merge `patch` into a Job and return it."""
        with _mapped(f"changing run {name}"):
            return _read(self._batch.patch_namespaced_job(name, self.namespace, patch, **_RAW))

    def delete_job(self, name: str) -> None:
        """Delete a Job; its pods go after it."""
        with _mapped(f"deleting run {name}"):
            _read(
                self._batch.delete_namespaced_job(
                    name, self.namespace, propagation_policy="Background", **_RAW
                )
            )

    def get_pod(self, name: str) -> Object:
        """Return a pod."""
        with _mapped(f"looking up pod {name}"):
            return _read(self._core.read_namespaced_pod(name, self.namespace, **_RAW))

    def list_pods(self, selector: str) -> list[Object]:
        """Return the pods whose labels fit `selector`, an empty one for all."""
        with _mapped(f"listing the pods of {self.namespace}"):
            return _items(
                self._core.list_namespaced_pod(self.namespace, label_selector=selector, **_RAW)
            )

    def list_quotas(self) -> list[Object]:
        """Return the ResourceQuotas, and how much of each is used."""
        with _mapped(f"looking up the quota of {self.namespace}"):
            return _items(self._core.list_namespaced_resource_quota(self.namespace, **_RAW))

    def stream_log(self, pod: str, *, follow: bool, since_time: str | None = None) -> Iterator[str]:
        """Yield the log of a pod's only container, each line after an RFC 3339 time and a space.

        A line that a lost connection cut off is left out.

        Parameters
        ----------
        pod
            Whose log.
        follow
            Whether to wait for more, until the container ends or has been
            silent for a minute.
        since_time
            How old the oldest line may be, an RFC 3339 time in whole seconds.
        """
        query = {"timestamps": "true", "follow": str(follow).lower()}
        if since_time is not None:
            query["sinceTime"] = since_time
        with _mapped(f"reading the log of pod {pod}"):
            response = self._get_raw(
                f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(pod)}/log", query
            )
            yield from _lines(response, following=follow)

    def list_events(self, kind: str, name: str) -> list[Object]:
        """Return what was reported about the `kind` called `name`: ``"Job"``, ``"Pod"``."""
        about = f"involvedObject.kind={kind},involvedObject.name={name}"
        with _mapped(f"listing the events of {name}"):
            return _items(
                self._core.list_namespaced_event(self.namespace, field_selector=about, **_RAW)
            )

    def _get_raw(self, path: str, query: Mapping[str, str]) -> Any:
        """Return the open answer to a GET: the client knows no ``sinceTime``."""
        settings = self._api_client.configuration
        headers = {auth["key"]: auth["value"] for auth in settings.auth_settings().values()}
        response = self._api_client.rest_client.pool_manager.request(
            "GET",
            f"{settings.host}{path}?{urlencode(query)}",
            headers=headers,
            timeout=urllib3.Timeout(connect=_LOG_TIMEOUT[0], read=_LOG_TIMEOUT[1]),
            preload_content=False,
        )
        if response.status != HTTPStatus.OK:
            raise ApiException(response.status, response.reason, body=response.data.decode())
        return response


_RAW = {"_preload_content": False, "_request_timeout": _TIMEOUT}


def _read(response: Any) -> Object:
    """Return the body of an answer that came in whole."""
    document: Object = json.loads(response.data)
    return document


def _items(response: Any) -> list[Object]:
    # Of what there is none, the API server may write null.
    items: list[Object] = _read(response)["items"] or []
    return items


def _lines(response: Any, *, following: bool) -> Iterator[str]:
    """Yield the lines of an answer that is still coming in.

    What is followed may fall silent, and its last line may be half of one: it
    is there whole when it is read again.
    """
    rest = b""
    try:
        for chunk in response.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
    except ReadTimeoutError:
        if not following:
            raise
    finally:
        # Not given back to the pool: more of this answer may be under way.
        response.close()
    if rest and not following:
        yield rest.decode("utf-8", "replace")


@contextlib.contextmanager
def _mapped(doing: str) -> Iterator[None]:
    """Turn what the client raises into our own errors."""
    try:
        yield
    except ApiException as error:
        raise _refusal(doing, error) from error
    except (HTTPError, OSError) as error:
        raise ClusterUnreachable(
            doing,
            f"the Kubernetes API does not answer ({_what(error)})",
            "try again in a minute",
        ) from error
    except json.JSONDecodeError as error:
        raise ClusterUnreachable(
            doing,
            "what answers is not the Kubernetes API",
            "see where KUBECONFIG points, and whether a proxy is in between",
        ) from error


def _what(error: HTTPError | OSError) -> str:
    """Return what happened to a connection, without the addresses of Python objects."""
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "it took too long"
    if isinstance(error, ProtocolError):
        return "the connection was lost"
    return str(error).rpartition(": ")[2] or type(error).__name__


_PLAIN = {
    401: (
        ClusterDenied,
        "the Kubernetes API does not know this account, or not any more",
        "stop this server and start it again from the hub's control panel",
    ),
    404: (ObjectMissing, "there is none of that name", "%kf ls shows what there is"),
}


def _refusal(doing: str, error: ApiException) -> ClusterError:
    message = _message(error)
    if error.status in _PLAIN:
        kind, cause, way_out = _PLAIN[error.status]
        return kind(doing, cause, way_out)
    if not error.status:
        return ClusterUnreachable(
            doing,
            f"there is no safe connection to the Kubernetes API ({message})",
            "ask the administrator for its certificate authority",
        )
    if error.status == 403:
        return ClusterDenied(doing, *_forbidden(message))
    if error.status == 409:
        return _conflict(doing, message)
    if error.status in {400, 422}:
        return ClusterError(doing, message, "correct what it names and try again")
    return ClusterUnreachable(
        doing,
        f"the Kubernetes API cannot answer now (status {error.status}: {message})",
        "try again in a minute; if it stays so, tell the administrator",
    )


def _conflict(doing: str, message: str) -> ClusterError:
    if message.endswith("already exists"):
        return ObjectExists(
            doing,
            "there is one of that name already",
            "choose another --name, or remove that one with %kf rm",
        )
    return ClusterError(doing, f"it changed meanwhile ({message})", "try again")


def _message(error: ApiException) -> str:
    """Return what the API said, on one line."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.body or error.reason or "no reason given"
    return " ".join(str(message).split())[:600]


def _forbidden(message: str) -> tuple[str, str]:
    """Return the cause and the way out of a 403."""
    if excess := QuotaExcess.parse(message):
        way_out = "remove a run that you no longer need, or ask the administrator for more"
        return str(excess), way_out
    if rights := _RIGHTS.search(message):
        return (
            f"this account may not {rights['verb']} {rights['resource']}",
            "ask the administrator for the role kubeflow-edit in this namespace",
        )
    return message, "ask the administrator"
