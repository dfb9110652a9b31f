"""Starts that cannot succeed, and deletions that come twice: the hub stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from deploy.node import layout as at
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub
from tests.cluster.settings import configured
from tests.faults.node import restarts
from tests.faults.proxy import ApiProxy, Changed, writes
from tests.faults.servers import CPU, nothing_left, refusal, works

MISSING = f"{at.REGISTRY}/kfspawner/no-such-image:1"
IN_A_ROW = 5
# JupyterHub's way out of a trouble of its own is to end; a person's is none.
LIMIT = f"c.KfSpawner.consecutive_failure_limit = {IN_A_ROW}\n"


def lose_image(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["image"] = MISSING


def test_an_image_that_is_not_there(people: People, cluster: Cluster, proxy: ApiProxy) -> None:
    person = people.new()
    with proxy.breaking(Changed(writes("pods"), lose_image)):
        assert f"its image {MISSING} cannot be fetched" in refusal(person)
    nothing_left(person, cluster)
    works(person, cluster)


@pytest.mark.long
def test_bad_starts_in_a_row_do_not_restart_the_hub(
    people: People, cluster: Cluster, hub: Hub, proxy: ApiProxy
) -> None:
    person = people.new()
    with configured(cluster, hub, LIMIT):
        before = restarts(cluster)
        with proxy.breaking(Changed(writes("pods"), lose_image)):
            for _ in range(IN_A_ROW):
                assert f"its image {MISSING} cannot be fetched" in refusal(person)
        nothing_left(person, cluster)
        works(person, cluster)
        assert restarts(cluster) == before


def test_a_quota_that_is_full_leaves_nothing(
    people: People, profiles: Profiles, cluster: Cluster
) -> None:
    person = people.new()
    profile = profiles.new(person.name, resourceQuotaSpec={"hard": {"pods": "0"}})
    assert f"the quota of profile {profile}" in refusal(person, {"profile": profile, **CPU})
    assert not person.running()
    assert not cluster.pods(profile)


@pytest.mark.long
def test_one_person_is_deleted_twice_at_once(people: People, cluster: Cluster, hub: Hub) -> None:
    person = people.new()
    person.spawn(CPU)
    path = f"users/{quote(person.name)}"
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: hub.call("DELETE", path).status_code, range(2)))
    # One of them did it; to the other they were going, or gone.
    assert 204 in said
    assert set(said) <= {204, 400, 404}
    assert hub.call("DELETE", path).status_code == 404
    until(lambda: not cluster.pods(namespace_name(person.name)), "the server's pod is gone")
    assert hub.answers()
    # Whoever is called so next is somebody else.
    person.sign_in(hub.password)
    works(person, cluster)
