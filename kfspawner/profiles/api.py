"""The asynchronous way to the Kubernetes API, for the hub, the controller and the command line.

Objects go in and come out as plain dicts, spelled as in manifests. Whatever
the client or the network raises becomes a ClusterError here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.config.config_exception import ConfigException

from kfspawner.errors import ClusterUnreachable, ObjectMissing
from kfspawner.profiles.answers import mapped, refused
from kfspawner.profiles.resources import RESOURCES, Selection

Object = dict[str, Any]
# A method of the class below is called `list`.
Objects = list[Object]

# Who wrote a field, unless it is said otherwise.
MANAGER = "kfspawner"

# Seconds for one call, and for a portion of a list.
_CALL = aiohttp.ClientTimeout(total=10)
_LIST = aiohttp.ClientTimeout(total=60)
# A watch may be silent until its end. When that is overdue by as many seconds, or
# it does not begin within as many, the connection is dead.
_OVERDUE = 10

# Objects in one portion of a list.
_PAGE = 500

# What the API server does not know, it is to refuse and not to drop.
_STRICT = {"fieldValidation": "Strict"}
_JSON = "application/json"
# With its charset the client sends it as it is: see `_to_yaml`.
_APPLY = "application/apply-patch+yaml; charset=utf-8"
_MERGE = "application/merge-patch+json"
# What YAML does not take as it is, or takes for the end of a line.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# Asks for all of an object but what it says.
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class _Call:
    """One request; what is empty in the query is left out."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content: str = _JSON
    body: Mapping[str, Any] | bytes | None = None
    limit: aiohttp.ClientTimeout = _CALL
    accept: str = _JSON


class Api:
    """A Kubernetes cluster, as far as the account of this process may see it.

    Every method raises a ClusterError: ClusterUnreachable if the API does not
    answer in time, ClusterDenied if it forbids, ObjectMissing and ObjectExists.
    Nothing is tried twice: the caller says what to do about a failure.

    Parameters
    ----------
    api_client
        kubernetes_asyncio's ApiClient, configured; it is closed by `close`.
    """

    def __init__(self, api_client: Any) -> None:
        self._client = api_client

    @classmethod
    async def connect(cls) -> Api:
        """Return the cluster that this process runs in.

        Outside of a cluster, the one of ``KUBECONFIG`` or ``~/.kube/config``.

        Raises
        ------
        ClusterUnreachable
            If there is neither a service account here nor a kubeconfig.
        """
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except ConfigException:
            try:
                await config.load_kube_config(
                    config_file=os.environ.get("KUBECONFIG"), client_configuration=settings
                )
            except (ConfigException, OSError) as error:
                raise ClusterUnreachable(
                    "connecting to Kubernetes",
                    "there is no service account in this process and no kubeconfig",
                    "run this in the hub's pod, or set KUBECONFIG",
                ) from error
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Return an object, or None if there is none."""
        path = RESOURCES[kind].path(namespace, name)
        try:
            with mapped(f"looking up {_called(kind, name, namespace)}"):
                return await self._call(_Call("GET", path))
        except ObjectMissing:
            return None

    async def list(self, kind: str, namespace: str = "") -> tuple[list[Object], str]:
        """Return the objects of a kind, in one namespace or all, and the version to watch from."""
        items: list[Object] = []
        version = ""
        async for page, version in self.pages(Selection(kind, namespace)):  # noqa: B007
            items += page
        return items, version

    async def pages(self, selection: Selection) -> AsyncGenerator[tuple[Objects, str], None]:
        """Yield what is selected in portions, each with the version to watch from."""
        resource = selection.resource
        query = {**selection.query, "limit": str(_PAGE)}
        accept = _METADATA_LIST if selection.metadata_only else _JSON
        while True:
            path = resource.path(selection.namespace)
            with mapped(f"listing {resource.plural}"):
                found = await self._call(_Call("GET", path, query, limit=_LIST, accept=accept))
                # Of what there is none, the API server may write null.
                items = [_typed(item, selection.kind) for item in found["items"] or ()]
            yield items, found["metadata"]["resourceVersion"]
            query["continue"] = found["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def watch(
        self,
        selection: Selection,
        version: str,
        seconds: int = 30,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Yield what happens after `version`, until the API server ends it after `seconds`.

        Each is a pair: ``ADDED``, ``MODIFIED`` or ``DELETED`` with the object;
        ``BOOKMARK`` with nothing but the version to go on from. `opened` is called
        once the API server has agreed to tell.

        Raises
        ------
        VersionExpired
            If the API server does not remember that far back: list again.
        """
        resource = selection.resource
        query = {
            **selection.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        path = resource.path(selection.namespace)
        accept = _METADATA if selection.metadata_only else _JSON
        limit = aiohttp.ClientTimeout(sock_read=seconds + _OVERDUE)
        with mapped(f"watching {resource.plural}"):
            call = _Call("GET", path, query, limit=limit, accept=accept)
            async with asyncio.timeout(_OVERDUE):
                response = await self._open(call)
            try:
                await _check(response)
                opened()
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise refused(event["object"])
                    yield event["type"], _typed(event["object"], selection.kind)
            finally:
                response.close()

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object and return it; with `dry_run`, only learn whether it would be."""
        kind, name, namespace = _identity(manifest)
        query = {**_STRICT, "fieldManager": MANAGER, "dryRun": "All" if dry_run else ""}
        with mapped(f"creating {_called(kind, name, namespace)}"):
            path = RESOURCES[kind].path(namespace)
            return await self._call(_Call("POST", path, query, body=manifest))

    async def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Have an object say what `manifest` says, and return it.

        Fields of others that `manifest` names become ours; without `force` it is
        ObjectExists instead where they say something else. What it no longer
        names, but `manager` once applied, goes.
        """
        kind, name, namespace = _identity(manifest)
        query = {
            **_STRICT,
            "fieldManager": manager,
            "force": "true" if force else "",
            "dryRun": "All" if dry_run else "",
        }
        with mapped(f"applying {_called(kind, name, namespace)}"):
            path = RESOURCES[kind].path(namespace, name)
            return await self._call(_Call("PATCH", path, query, _APPLY, _to_yaml(manifest)))

    async def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Put `manifest` in place of what is there, whole, and return it."""
        kind, name, namespace = _identity(manifest)
        query = {**_STRICT, "fieldManager": MANAGER}
        with mapped(f"replacing {_called(kind, name, namespace)}"):
            path = RESOURCES[kind].path(namespace, name)
            return await self._call(_Call("PUT", path, query, body=manifest))

    async def patch(
        self,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        subresource: str = "",
    ) -> Object:
        """Merge `patch` into an object, or into its ``status``, and return it."""
        query = {**_STRICT, "fieldManager": MANAGER}
        with mapped(f"changing {_called(kind, name, namespace)}"):
            path = RESOURCES[kind].path(namespace, name, subresource)
            return await self._call(_Call("PATCH", path, query, _MERGE, patch))

    async def delete(self, kind: str, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Delete an object, and what depends on it; with `uid`, only if it is still that one.

        One that is gone already is no error: somebody else was quicker.
        """
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        with suppress(ObjectMissing), mapped(f"deleting {_called(kind, name, namespace)}"):
            path = RESOURCES[kind].path(namespace, name)
            await self._call(_Call("DELETE", path, body=options))

    async def log(
        self, pod: str, namespace: str, container: str, *, tail: int, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """Yield the last `tail` lines of a container's log; with `follow`, what comes after too.

        Raises
        ------
        ObjectMissing
            If there is no such pod.
        ClusterError
            If its container has not begun.
        """
        query = {"container": container, "tailLines": str(tail), "follow": "true" if follow else ""}
        path = RESOURCES["Pod"].path(namespace, pod, "log")
        limit = aiohttp.ClientTimeout(sock_read=None if follow else _LIST.total)
        with mapped(f"reading the log of {_called('Pod', pod, namespace)}"):
            response = await self._open(_Call("GET", path, query, limit=limit))
            try:
                await _check(response)
                async for line in _lines(response):
                    yield line
            finally:
                response.close()

    async def _call(self, call: _Call) -> Object:
        response = await self._open(call)
        try:
            await _check(response)
            found: Object = json.loads(await response.read())
            return found
        finally:
            response.release()

    async def _open(self, call: _Call) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._client.call_api(
            call.path,
            call.method,
            query_params=[(name, value) for name, value in call.query.items() if value],
            header_params={"Accept": call.accept, "Content-Type": call.content},
            body=call.body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=call.limit,
        )
        return response


def _typed(it: Object, kind: str) -> Object:
    """Return an object that says of which kind it is: in lists and as metadata it does not."""
    return {**it, "apiVersion": RESOURCES[kind].group_version, "kind": kind}


def _to_yaml(manifest: Mapping[str, Any]) -> bytes:
    """Return JSON that is YAML too: there, a fox is no two halves, and a line has fewer ends."""
    text = json.dumps(manifest, ensure_ascii=False)
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _identity(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["name"], metadata.get("namespace", "")


def _called(kind: str, name: str, namespace: str) -> str:
    return f"{kind} {name} in {namespace}" if namespace else f"{kind} {name}"


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
    """Yield the lines of an answer, however long they are."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        error = ApiException(status=response.status, reason=response.reason)
        error.body = await response.read()
        error.headers = response.headers
        raise error
