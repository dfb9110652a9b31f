"""What the API server does to the hub's watches and requests, and the network between."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub
from tests.faults.node import dropped_packets, restarts
from tests.faults.proxy import (
    ApiProxy,
    Expired,
    Fault,
    Refused,
    everything,
    lists,
    watches,
    writes,
)
from tests.faults.servers import (
    CPU,
    known_as_gone,
    lose_pod,
    nothing_left,
    refusal,
    works,
)

PODS = watches("pods")
LONG = pytest.mark.long


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Refused(PODS, 410, times=1), id="410"),
        pytest.param(Expired(PODS, times=1), id="410 as an event", marks=LONG),
        pytest.param(Refused(PODS, 429, times=5, **{"Retry-After": "1"}), id="429", marks=LONG),
        pytest.param(Refused(PODS, 500, times=5), id="500", marks=LONG),
    ],
)
def test_a_watch_that_is_refused_begins_again(
    fault: Fault, people: People, cluster: Cluster, proxy: ApiProxy
) -> None:
    person = people.new()
    person.spawn(CPU)
    with proxy.breaking(fault):
        proxy.cut()
        until(lambda: fault.count, "the watch was refused")
        lose_pod(person, cluster)
        known_as_gone(person)
    nothing_left(person, cluster)
    works(person, cluster)


@LONG
def test_lists_that_are_refused_too(people: People, cluster: Cluster, proxy: ApiProxy) -> None:
    person = people.new()
    person.spawn(CPU)
    gone, failing = Refused(PODS, 410, times=1), Refused(lists("pods"), 500, times=4)
    with proxy.breaking(gone, failing):
        proxy.cut()
        until(lambda: failing.count, "the list was refused")
        lose_pod(person, cluster)
        known_as_gone(person)
    nothing_left(person, cluster)


@LONG
def test_a_connection_that_is_half_open_is_left(
    people: People, cluster: Cluster, proxy: ApiProxy
) -> None:
    person = people.new()
    person.spawn(CPU)
    proxy.forget()
    proxy.cut()
    until(lambda: proxy.saw(PODS), "the hub watches pods again")
    proxy.freeze()
    lose_pod(person, cluster)
    known_as_gone(person)
    works(person, cluster)


@LONG
def test_the_network_between_drops_every_packet(people: People, cluster: Cluster, hub: Hub) -> None:
    person = people.new()
    person.spawn(CPU)
    before = restarts(cluster)
    with dropped_packets(cluster):
        lose_pod(person, cluster)
        until_then = time.monotonic() + 75
        while time.monotonic() < until_then:
            assert hub.answers()
            time.sleep(2)
    known_as_gone(person)
    assert restarts(cluster) == before
    works(person, cluster)


# Starts.


@pytest.mark.parametrize(
    ("plural", "status"),
    [
        pytest.param("pods", 429),
        pytest.param("pods", 409, marks=LONG),
        pytest.param("persistentvolumeclaims", 429, marks=LONG),
    ],
)
def test_a_start_goes_on_where_the_api_server_asks_for_patience(
    plural: str, status: int, people: People, cluster: Cluster, proxy: ApiProxy
) -> None:
    person = people.new()
    fault = Refused(writes(plural), status, times=1, **{"Retry-After": "1"})
    with proxy.breaking(fault):
        works(person, cluster)
    assert fault.count == 1


@LONG
def test_a_start_that_the_api_server_fails_says_so_and_leaves_nothing(
    people: People, cluster: Cluster, hub: Hub, proxy: ApiProxy
) -> None:
    person = people.new()
    with proxy.breaking(Refused(writes("pods"), 500)):
        assert "500" in refusal(person)
    nothing_left(person, cluster)
    works(person, cluster)


@LONG
def test_the_api_server_fails_at_everything(
    people: People, cluster: Cluster, hub: Hub, proxy: ApiProxy
) -> None:
    person, other = people.new(), people.new()
    person.spawn(CPU)
    before = restarts(cluster)
    with proxy.breaking(Refused(everything, 500)):
        proxy.cut()
        assert "500" in refusal(other)
        lose_pod(person, cluster)
        time.sleep(20)
        assert hub.answers()
    known_as_gone(person)
    assert restarts(cluster) == before
    works(other, cluster)
