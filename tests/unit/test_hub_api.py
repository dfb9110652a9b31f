"""The hub's API, as services and the command line use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kfspawner.errors import HubError
from kfspawner.hub.api import HubApi, HubServer
from tests.fakes.hub_api import TOKEN, FakeHubApi, serving


@pytest.fixture
def hub() -> Iterator[FakeHubApi]:
    with serving() as found:
        yield found


def model(**said: Any) -> dict[str, Any]:
    """Return how the hub models a server that runs, unless it is said otherwise."""
    return {"ready": True, "pending": None, "started": "today", "user_options": {}, **said}


async def test_what_runs_is_read_page_by_page(hub: FakeHubApi) -> None:
    state = {"namespace": "vision", "pod_name": "p", "image_profile": "gpu", "url": "http://it/"}
    options = {"profile": "asked-for", "image_profile": "cpu"}
    hub.servers = {
        "alice": {"": model(state=state, user_options=options), "big": model(pending="stop")},
        "bob": {"": model(ready=False, pending="spawn")},
        "carol": {"": model(user_options=options)},
        "dave": {"": model(user_options=None)},
    }

    async with HubApi(hub.url, TOKEN) as api:
        found = [it async for it in api.ready()]

    assert found == [
        HubServer("alice", "", "today", "vision", "gpu", "http://it/", options),
        HubServer("carol", "", "today", "asked-for", "cpu", "", options),
        HubServer("dave", "", "today", "", "", "", {}),
    ]


async def test_what_is_started_is_of_these_options(hub: FakeHubApi) -> None:
    hub.servers["alice"] = {}
    async with HubApi(f"{hub.url}/", TOKEN) as api:
        await api.start("alice", "big", {"image_profile": "cpu"})
        await api.start("alice", "", {})
        with pytest.raises(HubError, match="404"):
            await api.start("bob", "", {})
    assert hub.started == [("alice", "big", {"image_profile": "cpu"}), ("alice", "", {})]


async def test_what_answers_but_is_no_hub(hub: FakeHubApi) -> None:
    async with HubApi(f"{hub.url}/elsewhere", TOKEN) as api:
        with pytest.raises(HubError, match="is not the hub's API; see where KFSPAWNER_HUB_URL"):
            await api.has("alice", "")
        with pytest.raises(HubError, match="is not the hub's API"):
            await anext(api.ready())
