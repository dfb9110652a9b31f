"""The API server is away: the hub and the servers stay, and the hub catches up afterwards."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub
from tests.faults.node import restarts, stopped_api
from tests.faults.servers import CPU, known_as_gone, nothing_left, refusal, starts


@pytest.mark.parametrize(
    "seconds",
    [10, *(pytest.param(seconds, marks=pytest.mark.long) for seconds in (30, 120, 600))],
)
def test_the_hub_outlives_the_absence_of_the_api_server(
    seconds: int, people: People, cluster: Cluster, hub: Hub
) -> None:
    stays, ends, leaves, comes = (people.new() for _ in range(4))
    for person in (stays, ends, leaves):
        person.spawn(CPU)
    before = restarts(cluster)
    with stays.kernel() as kernel:
        assert not kernel.execute("kept = 41").error

        def is_kept() -> bool:
            return kernel.execute("print(kept + 1)").text == "42\n"

        with stopped_api(cluster):
            back = time.monotonic() + seconds
            # Nobody can tell the hub that this one ended.
            ends.server("POST", "api/shutdown")
            assert hub.call("DELETE", f"users/{leaves.name}/server").status_code == 202
            assert "Kubernetes" in refusal(comes)
            while time.monotonic() < back:
                assert hub.answers()
                assert stays.running()
                assert is_kept()
                time.sleep(2)
        known_as_gone(ends)
        # kubelet has to hear of it first. Who works meanwhile keeps their connection.
        until(lambda: is_kept() and not leaves.running(), "the server is stopped", 180)
        assert stays.running()
        assert is_kept()
    assert restarts(cluster) == before
    nothing_left(ends, cluster)
    nothing_left(leaves, cluster)
    until(lambda: starts(comes), "servers start again", 180)
    comes.stop()
    stays.stop()
