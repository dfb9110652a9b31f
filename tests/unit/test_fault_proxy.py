"""The proxy of the fault tests does what they say, and the view of servers gets over it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client

from kfspawner.errors import ClusterBusy, ClusterError
from kfspawner.profiles import api as api_module
from kfspawner.profiles import feed, pace
from kfspawner.profiles.api import Api
from kfspawner.profiles.resources import Selection
from kfspawner.servers.podview import PodView
from tests.fakes.apiserver import ApiServer
from tests.fakes.certificates import write_certificate
from tests.fakes.servers import make_pod
from tests.faults.proxy import (
    HUB,
    ApiProxy,
    Expired,
    Fault,
    Held,
    Refused,
    lists,
    watches,
)

SERVERS = Selection("Pod", labels="component=singleuser-server")
PODS = watches("pods")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a cluster has: an authority, and the API server's certificate."""
    where = tmp_path_factory.mktemp("pki")
    write_certificate(where, "127.0.0.1")
    return where


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """An API server with one server's pod."""
    monkeypatch.setattr(pace, "SOON", 0.01)
    monkeypatch.setattr(pace, "LATE", 0.05)
    monkeypatch.setattr(pace, "USEFUL", 0.5)
    monkeypatch.setattr(feed, "WATCH_SECONDS", 1)
    monkeypatch.setattr(api_module, "_OVERDUE", 0.3)
    made = ApiServer(make_pod())
    await made.begin()
    yield made
    await made.end()


@pytest.fixture
def proxy(server: ApiServer, pki: Path) -> Iterator[ApiProxy]:
    """The proxy before it."""
    with ApiProxy(socket.create_server(("127.0.0.1", 0)), server.url, pki).running() as running:
        yield running


def connect(proxy: ApiProxy, pki: Path, account: str = HUB) -> Api:
    """Return the way of an account by the proxy."""
    host, port = proxy.address
    settings = client.Configuration(host=f"https://{host}:{port}")
    settings.ssl_ca_cert = str(pki / "ca.crt")
    payload = base64.urlsafe_b64encode(json.dumps({"sub": account}).encode()).decode()
    settings.api_key["BearerToken"] = f"Bearer head.{payload.rstrip('=')}.signature"
    return Api(client.ApiClient(settings))


@pytest.fixture
async def view(proxy: ApiProxy, pki: Path) -> AsyncIterator[PodView]:
    """The hub's view of servers, by the proxy."""
    async with connect(proxy, pki) as api:
        made = PodView(api, SERVERS, logging.getLogger("watch"))
        await made.start()
        await made.ready()
        await until(lambda: proxy.saw(PODS))
        yield made
        await made.stop()


async def until(holds: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "fault",
    [
        Refused(PODS, 410, times=1),
        Expired(PODS, times=1),
        Refused(PODS, 429, times=2, **{"Retry-After": "0"}),
        Refused(PODS, 500, times=2),
    ],
    ids=["410", "410 as an event", "429", "500"],
)
async def test_a_watch_that_is_refused(
    fault: Fault, server: ApiServer, proxy: ApiProxy, view: PodView
) -> None:
    with proxy.breaking(fault):
        await asyncio.to_thread(proxy.cut)
        await until(lambda: fault.count)
        server.cluster.put(make_pod("server-bob"))
        await until(lambda: "vision/server-bob" in view.pods)


async def test_frozen_connections_stay_open_and_others_work(
    server: ApiServer, proxy: ApiProxy, view: PodView
) -> None:
    await asyncio.to_thread(proxy.freeze)
    server.cluster.put(make_pod("server-bob"))
    await asyncio.sleep(0.1)
    assert "vision/server-bob" not in view.pods
    # The watch is left as one that is silent for too long.
    await until(lambda: "vision/server-bob" in view.pods)


@pytest.mark.parametrize("reached", [0, 1])
async def test_a_request_that_is_held(
    reached: int, server: ApiServer, proxy: ApiProxy, pki: Path
) -> None:
    held = Held(lists("pods"), done=bool(reached))
    with proxy.breaking(held):
        async with connect(proxy, pki) as api:
            asking = asyncio.create_task(api.list("Pod"))
            await until(lambda: held.count)
            assert len(server.lists) == reached
            assert not asking.done()
            asking.cancel()


async def test_what_others_ask_passes(proxy: ApiProxy, pki: Path) -> None:
    with proxy.breaking(Refused(lists("pods"), 429)):
        async with connect(proxy, pki, "system:serviceaccount:kfspawner:controller") as api:
            found, _ = await api.list("Pod")
        assert len(found) == 1
        async with connect(proxy, pki) as api:
            with pytest.raises(ClusterBusy):
                await api.list("Pod")
    assert len(proxy.asked) == 1


async def test_what_it_does_ends_with_the_context(proxy: ApiProxy, pki: Path) -> None:
    async with connect(proxy, pki) as api:
        with proxy.breaking(Refused(lists("pods"), 500)), pytest.raises(ClusterError, match="500"):
            await api.list("Pod")
        assert len((await api.list("Pod"))[0]) == 1
