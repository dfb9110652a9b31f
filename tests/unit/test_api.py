"""The asynchronous seam: what is asked of the API server, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_asyncio import client
from kubernetes_asyncio.client.exceptions import ApiException

from kfspawner.errors import (
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
    ObjectMissing,
    VersionExpired,
)
from kfspawner.profiles.answers import mapped
from kfspawner.profiles.api import Api, _to_yaml
from kfspawner.profiles.resources import Selection
from tests.fakes.api import FakeApi

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "small", "namespace": "vision"},
    "spec": {"hard": {"cpu": "4"}},
}
PROFILE = {"apiVersion": "kubeflow.org/v1", "kind": "Profile"}


class Server:
    """An API server that gives the answers it was told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: dict[str, str] = {}
        self.body = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.body = body = await request.text()
        self.asked.append(
            (request.method, request.path, dict(request.query), json.loads(body or "null"))
        )
        self.headers = dict(request.headers)
        return self.answers.pop(0)

    def answer(self, status: int = 200, body: Any = None, text: str | None = None) -> None:
        said = json.dumps(body if body is not None else {}) if text is None else text
        self.answers.append(web.Response(status=status, text=said))

    def refuse(self, status: int, message: str) -> None:
        self.answer(status, {"kind": "Status", "code": status, "message": message})


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        settings = client.Configuration(host=str(running.make_url("")).rstrip("/"))
        settings.api_key["BearerToken"] = "Bearer secret"
        async with Api(client.ApiClient(settings)) as connected:
            yield connected


async def test_apply_is_forced_strict_and_in_our_name(server: Server, api: Api) -> None:
    server.answer(body={"kind": "ResourceQuota"})

    assert await api.apply(QUOTA) == {"kind": "ResourceQuota"}
    ((method, path, query, body),) = server.asked
    assert (method, path) == ("PATCH", "/api/v1/namespaces/vision/resourcequotas/small")
    assert query == {"fieldValidation": "Strict", "fieldManager": "kfspawner", "force": "true"}
    assert body == QUOTA
    assert server.headers["Content-Type"].startswith("application/apply-patch+yaml;")
    assert server.headers["Authorization"] == "Bearer secret"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_applied_reads_the_same_as_yaml(text: str) -> None:
    manifest = {"metadata": {"annotations": {"owner": text}}}
    assert yaml.safe_load(_to_yaml(manifest)) == manifest


@pytest.mark.parametrize("text", ["🦊", "\x85", "\u2028", "\x7f", "\ufeff", "a\\ud83e", "\x00"])
async def test_what_yaml_reads_otherwise_arrives(server: Server, api: Api, text: str) -> None:
    server.answer()
    await api.apply({**QUOTA, "spec": {"hard": {"cpu": text}}})
    assert yaml.safe_load(server.body)["spec"]["hard"]["cpu"] == text


async def test_what_others_wrote_stays_unless_it_is_forced(server: Server, api: Api) -> None:
    server.refuse(409, "Apply failed with 1 conflict")

    with pytest.raises(ObjectExists, match="1 conflict"):
        await api.apply(QUOTA, force=False)
    assert "force" not in server.asked[0][2]


async def test_a_dry_run_says_so(server: Server, api: Api) -> None:
    server.answer()
    await api.apply(QUOTA, manager="kfspawner-config", dry_run=True)
    server.answer()
    await api.create(QUOTA, dry_run=True)

    assert [query["dryRun"] for _, _, query, _ in server.asked] == ["All", "All"]
    assert server.asked[0][2]["fieldManager"] == "kfspawner-config"


async def test_where_objects_are(server: Server, api: Api) -> None:
    for _ in range(5):
        server.answer(body={"items": [], "metadata": {"resourceVersion": "7"}})
    await api.get("Profile", "vision")
    await api.get("RoleBinding", "a:b/c", "vision")
    await api.list("NetworkPolicy")
    await api.replace(QUOTA)
    await api.delete("ConfigMap", "ca", "vision", uid="u1")

    assert [path for _, path, _, _ in server.asked] == [
        "/apis/kubeflow.org/v1/profiles/vision",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/vision/rolebindings/a:b/c",
        "/apis/networking.k8s.io/v1/networkpolicies",
        "/api/v1/namespaces/vision/resourcequotas/small",
        "/api/v1/namespaces/vision/configmaps/ca",
    ]
    assert server.asked[3][0] == "PUT"
    assert server.asked[4][3]["preconditions"] == {"uid": "u1"}


async def test_a_list_says_what_its_items_are(server: Server, api: Api) -> None:
    items = [{"metadata": {"name": "small"}}]
    server.answer(body={"items": items, "metadata": {"resourceVersion": "7"}})

    found, version = await api.list("ResourceQuota", "vision")
    assert found == [{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}]
    assert version == "7"


async def test_a_list_of_nothing_may_be_null(server: Server, api: Api) -> None:
    server.answer(body={"items": None, "metadata": {"resourceVersion": "7"}})

    assert await api.list("ConfigMap") == ([], "7")


async def test_a_long_list_comes_in_portions(server: Server, api: Api) -> None:
    for name, following in (("one", "more"), ("two", "")):
        metadata = {"resourceVersion": "7", "continue": following}
        server.answer(body={"items": [{"metadata": {"name": name}}], "metadata": metadata})

    found, version = await api.list("Profile")
    assert [it["metadata"]["name"] for it in found] == ["one", "two"]
    assert version == "7"
    queries = [query for _, _, query, _ in server.asked]
    assert queries == [{"limit": "500"}, {"limit": "500", "continue": "more"}]


async def test_what_is_asked_for_is_selected_and_may_be_metadata(server: Server, api: Api) -> None:
    selection = Selection("ConfigMap", "", "a=b", "metadata.name=c", metadata_only=True)
    metadata = {"name": "c"}
    partial = {"kind": "PartialObjectMetadata", "metadata": metadata}
    server.answer(body={"items": [partial], "metadata": {"resourceVersion": "7"}})
    pages = [page async for page, _ in api.pages(selection)]
    assert pages == [[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}]]
    assert server.headers["Accept"].startswith("application/json;as=PartialObjectMetadataList;")

    server.answer(text=json.dumps({"type": "ADDED", "object": partial}))
    events = [it async for it in api.watch(selection, "7")]
    assert events == [("ADDED", pages[0][0])]
    assert server.headers["Accept"].startswith("application/json;as=PartialObjectMetadata;")
    for _, _, query, _ in server.asked:
        assert query["labelSelector"] == "a=b"
        assert query["fieldSelector"] == "metadata.name=c"


async def test_a_patch_is_merged_and_may_be_about_the_status(server: Server, api: Api) -> None:
    server.answer()
    await api.patch("Profile", "vision", {"status": {}}, subresource="status")

    assert server.asked[0][1] == "/apis/kubeflow.org/v1/profiles/vision/status"
    assert server.headers["Content-Type"] == "application/merge-patch+json"


async def test_what_is_not_there_is_none(server: Server, api: Api) -> None:
    server.refuse(404, "not found")

    assert await api.get("Namespace", "vision") is None


async def test_a_watch_yields_until_the_server_ends_it(server: Server, api: Api) -> None:
    events = [
        {"type": "ADDED", "object": {**PROFILE, "n": 1}},
        {"type": "BOOKMARK", "object": PROFILE},
    ]
    server.answer(text="".join(f"{json.dumps(it)}\n" for it in events))

    found = [it async for it in api.watch(Selection("Profile"), "7", seconds=5)]
    assert found == [("ADDED", {**PROFILE, "n": 1}), ("BOOKMARK", PROFILE)]
    assert server.asked[0][2] == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "5",
    }


async def test_a_watch_takes_large_objects(server: Server, api: Api) -> None:
    large = {"type": "ADDED", "object": {**PROFILE, "n": "x" * 1_000_000}}
    small = {"type": "BOOKMARK", "object": PROFILE}
    server.answer(text=f"{json.dumps(large)}\n{json.dumps(small)}")

    found = [it async for it in api.watch(Selection("Profile"), "7", seconds=5)]
    assert found == [("ADDED", large["object"]), ("BOOKMARK", small["object"])]


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_watch_from_too_long_ago_says_so(server: Server, api: Api, when: str) -> None:
    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
    if when == "at once":
        server.answer(410, status)
    else:
        server.answer(text=json.dumps({"type": "ERROR", "object": status}))

    with pytest.raises(VersionExpired, match="watching profiles: too old"):
        _ = [it async for it in api.watch(Selection("Profile"), "1")]


async def test_deleting_what_is_gone_is_no_error(server: Server, api: Api) -> None:
    server.refuse(404, "not found")
    server.refuse(409, "the UID in the precondition is another")

    await api.delete("ConfigMap", "ca", "vision", uid="u1")
    with pytest.raises(ObjectExists, match="deleting ConfigMap ca in vision"):
        await api.delete("ConfigMap", "ca", "vision", uid="u1")


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (404, "gone", ObjectMissing),
        (409, "there is one", ObjectExists),
        (410, "too old", VersionExpired),
        (401, "who are you", ClusterDenied),
        (403, "may not", ClusterDenied),
        (422, "roleRef: cannot change", ClusterError),
        (500, "etcd", ClusterError),
    ],
)
async def test_refusals_are_ours(
    server: Server, api: Api, status: int, message: str, error: type[ClusterError]
) -> None:
    server.refuse(status, f"{message}\n  twice")

    with pytest.raises(ClusterError) as caught:
        await api.create(QUOTA)
    assert type(caught.value) is error
    assert str(caught.value).startswith("creating ResourceQuota small in vision: ")
    assert f"{message} twice" in str(caught.value)
    assert isinstance(caught.value.__cause__, ApiException)


async def test_a_full_quota_says_what_to_do(server: Server, api: Api) -> None:
    server.refuse(403, "exceeded quota: small")

    with pytest.raises(ClusterDenied, match="choose less"):
        await api.create(QUOTA)


async def test_an_answer_of_something_else_is_no_answer(server: Server, api: Api) -> None:
    server.answer(text="<html>Sign in</html>")

    with pytest.raises(ClusterUnreachable, match="is not the Kubernetes API"):
        await api.list("Profile")


async def test_an_answer_without_a_message_gives_its_reason(server: Server, api: Api) -> None:
    server.answer(503, text="")

    with pytest.raises(ClusterError, match="503 Service Unavailable"):
        await api.get("Profile", "vision")


@pytest.mark.parametrize("error", [TimeoutError(), aiohttp.ServerDisconnectedError()])
def test_no_answer_is_ours(error: Exception) -> None:
    with (
        pytest.raises(ClusterUnreachable, match=f"did not answer .{type(error).__name__}"),
        mapped("listing pods"),
    ):
        raise error


async def test_connecting_needs_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(ClusterUnreachable, match="set KUBECONFIG"):
        await Api.connect()


async def test_the_fake_watches_as_the_api_does() -> None:
    api = FakeApi(QUOTA | {"metadata": {"name": "old", "namespace": "vision"}})
    _, version = await api.list("ResourceQuota")
    api.put(QUOTA)
    events = api.watch(Selection("ResourceQuota"), version)

    assert [(await anext(events))[0]] == ["ADDED"]
    api.put({**QUOTA, "spec": {"hard": {"cpu": "5"}}})
    event, it = await anext(events)
    assert (event, it["spec"]) == ("MODIFIED", {"hard": {"cpu": "5"}})
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    api.remove("ResourceQuota", "small", "vision")
    assert (await waiting)[0] == "DELETED"
    api.expire()
    with pytest.raises(VersionExpired):
        await anext(api.watch(Selection("ResourceQuota"), version))


async def test_the_fake_applies_as_the_api_does() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vision"}}
    api = FakeApi(namespace)
    first = await api.apply({**QUOTA, "spec": {"hard": {"cpu": "4", "pods": "9"}}})
    assert (await api.apply({**QUOTA, "spec": {"hard": {"cpu": "4", "pods": "9"}}})) == first
    by_hand = {**first, "spec": {"hard": {"cpu": "8", "pods": "9", "memory": "1Gi"}}}
    api.put(by_hand)

    found = await api.apply(QUOTA)
    # Ours again, what we no longer name is gone, and what others added stays.
    assert found["spec"] == {"hard": {"cpu": "4", "memory": "1Gi"}}
    assert (await api.replace(QUOTA))["spec"] == QUOTA["spec"]
