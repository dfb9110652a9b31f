"""`kfspawner servers` on the deployed system."""

from __future__ import annotations

import json

import pytest

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.command import kfspawner
from tests.cluster.conftest import People

# How soon the hub has taken note of a pod that somebody deleted, in seconds.
SOON = 60


def rows(person: Person) -> list[list[str]]:
    """Return the lines of the list that are a person's, by their words."""
    said = kfspawner("servers", "list")
    assert said.status == 0, said.text
    return [line.split() for line in said.text.splitlines() if line.split()[0] == person.name]


def test_a_server_is_listed_shown_and_read(person: Person, cluster: Cluster) -> None:
    profile = namespace_name(person.name)
    pod = cluster.server_pod(profile)

    (row,) = rows(person)
    assert row[:5] == [person.name, "-", profile, "cpu", "running"]
    assert row[-1] == pod["spec"]["nodeName"]

    shown = json.loads(kfspawner("servers", "show", person.name, "-o", "json").text)
    assert shown["pod"] == pod["metadata"]["name"]
    assert shown["image"] == cluster.images()["cpu"]
    assert shown["why"] == "it runs, and waits for nothing"

    log = kfspawner("servers", "logs", person.name, "--tail", "200")
    assert log.status == 0
    assert "jupyterhub" in log.text.lower()


def test_what_is_not_there_is_told() -> None:
    said = kfspawner("servers", "why", "nobody-of-that-name")
    assert said.status == 1
    assert "nobody called 'nobody-of-that-name' has a server here" in said.text


def test_the_hub_stops_a_server(people: People, cluster: Cluster) -> None:
    person = people.new()
    person.spawn({"image_profile": "cpu"})

    said = kfspawner("servers", "stop", person.name)

    assert said.status == 0, said.text
    assert said.text.startswith("The hub ")
    until(lambda: not person.running(), "the hub has stopped it")
    until(lambda: not cluster.pods(namespace_name(person.name)), "its pod is gone")
    assert not rows(person)


def test_the_hub_takes_note_of_a_pod_that_is_deleted(people: People, cluster: Cluster) -> None:
    person = people.new()
    person.spawn({"image_profile": "cpu"})

    said = kfspawner("servers", "stop", person.name, "--pod")

    assert said.text.startswith(f"Deleted the pod of {person.name}'s server")
    until(lambda: not person.running(), "the hub has taken note", SOON)
    # And has nothing against another.
    person.spawn({"image_profile": "cpu"})
    assert person.running()


def test_why_says_what_a_pending_server_waits_for(people: People, cluster: Cluster) -> None:
    free = gpus(cluster)
    if not free:
        pytest.fail("the cluster has no GPU, and nothing waits for one")
    holder = people.new()
    holder.spawn({"image_profile": "gpu"})
    holders = [holder]
    try:
        for _ in range(free - 1):
            holders.append(people.new())
            holders[-1].spawn({"image_profile": "gpu"})
        waits = people.new()
        waits.start({"image_profile": "gpu"})
        try:
            until(lambda: rows(waits), "its pod is there")
            until(lambda: rows(waits)[0][4] == "waiting", "it waits")
            said = kfspawner("servers", "why", waits.name)
            assert "Waiting for a GPU: all are in use" in said.text
        finally:
            waits.stop()
    finally:
        for it in holders:
            it.stop()


def gpus(cluster: Cluster) -> int:
    """Return how many GPUs nobody holds."""
    nodes = cluster.plain(cluster.core.list_node())["items"]
    there = sum(int(it["status"]["allocatable"].get("nvidia.com/gpu", 0)) for it in nodes)
    pods = cluster.plain(cluster.core.list_pod_for_all_namespaces())["items"]
    held = (
        int((it.get("resources", {}).get("limits") or {}).get("nvidia.com/gpu", 0))
        for pod in pods
        if pod["status"].get("phase") in ("Pending", "Running")
        for it in pod["spec"]["containers"]
    )
    return there - sum(held)
