"""Servers that the hub does not have, as after its database was restored from a copy."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import pytest

from deploy.person import Person
from kfspawner.labels import HUB_LABEL
from kfspawner.names import namespace_name
from kfspawner.profiles.api import Api
from kfspawner.profiles.resources import Selection
from kfspawner.servers.orphans import Orphans, Policy
from kfspawner.servers.podview import PodView
from tests.cluster.cluster import Cluster, until
from tests.cluster.command import kfspawner
from tests.cluster.conftest import People


@pytest.fixture(scope="module")
def left(people: People, cluster: Cluster) -> tuple[Person, dict[str, Any]]:
    """A person whose server runs as it did before the hub forgot it, and its pod."""
    person = people.new()
    person.spawn({"image_profile": "cpu"})
    namespace = namespace_name(person.name)
    pod = cluster.server_pod(namespace)
    person.stop()
    until(lambda: not cluster.pods(namespace), "the server's pod is gone")
    return person, bring_back(cluster, pod)


def bring_back(cluster: Cluster, pod: dict[str, Any], **labels: str) -> dict[str, Any]:
    """Make a pod like one that was."""
    metadata = pod["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "annotations")}
    spec = {name: it for name, it in pod["spec"].items() if name != "nodeName"}
    made = {"metadata": {**kept, "labels": {**metadata["labels"], **labels}}, "spec": spec}
    cluster.core.create_namespaced_pod(metadata["namespace"], made)
    return cluster.pod(metadata["namespace"], metadata["name"])


def orphans() -> list[str]:
    """Return whose servers are orphans."""
    said = kfspawner("servers", "orphans", "-o", "json")
    assert said.status == 0, said.text
    return [it["person"] for it in json.loads(said.text)]


async def look(hub: str, owned: Collection[str]) -> None:
    """Look once for orphans of that hub, as it does itself, and stop them."""
    log = logging.getLogger("orphans")
    async with await Api.connect() as api:
        labels = f"component=singleuser-server,{HUB_LABEL}={hub}"
        view = PodView(api, Selection("Pod", labels=labels), log)
        await view.start()
        try:
            await view.ready()
            policy = Policy(hub, stops=True, grace=0.0)
            await Orphans(api, view, policy, lambda: owned, log).look(0.0)
        finally:
            with suppress(asyncio.CancelledError):
                await view.stop()


def test_an_orphan_is_listed_and_gives_way_to_the_next_server(
    left: tuple[Person, dict[str, Any]], cluster: Cluster
) -> None:
    person, orphan = left
    assert not person.running()
    assert person.name in orphans()
    stopped = kfspawner("servers", "stop", person.name)
    assert "the hub knows of no such server; its pod is an orphan" in stopped.text

    person.spawn({"image_profile": "cpu"})

    pod = cluster.server_pod(orphan["metadata"]["namespace"])
    assert pod["metadata"]["name"] == orphan["metadata"]["name"]
    assert pod["metadata"]["uid"] != orphan["metadata"]["uid"]
    assert person.server("GET", "api/status").json()["kernels"] == 0
    assert person.name not in orphans()
    person.stop()


def test_an_orphan_is_stopped_and_nothing_else(people: People, cluster: Cluster) -> None:
    person = people.new()
    person.spawn({"image_profile": "cpu"})
    namespace = namespace_name(person.name)
    pod = cluster.server_pod(namespace)
    key = f"{namespace}/{pod['metadata']['name']}"
    person.stop()
    until(lambda: not cluster.pods(namespace), "the server's pod is gone")
    # Of a hub that nobody else is, so that nobody else's server can be meant.
    hub = f"test-{secrets.token_hex(4)}"
    uid = bring_back(cluster, pod, **{HUB_LABEL: hub})["metadata"]["uid"]

    asyncio.run(look(hub, {key}))
    asyncio.run(look(f"{hub}-other", ()))
    assert cluster.server_pod(namespace)["metadata"]["uid"] == uid
    assert "deletionTimestamp" not in cluster.server_pod(namespace)["metadata"]

    asyncio.run(look(hub, ()))
    until(lambda: not cluster.pods(namespace), "the orphan is gone")
    claims = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
    assert claims, "its home stays"
