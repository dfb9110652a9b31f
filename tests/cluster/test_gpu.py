"""GPU servers: two run, the third waits and says why."""

from __future__ import annotations

from deploy.person import Event
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People


def test_two_gpu_servers_run_and_a_third_waits(people: People, cluster: Cluster) -> None:
    first, second, third = (people.new() for _ in range(3))
    for person in (first, second):
        person.start({"image_profile": "gpu"})
    for person in (first, second):
        person.wait_ready()
        pod = cluster.server_pod(namespace_name(person.name))
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert container["resources"]["requests"]["nvidia.com/gpu"] == "1"
        assert container["image"] == cluster.images()["gpu"]
        assert pod["status"]["phase"] == "Running"

    third.start({"image_profile": "gpu"})
    seen: list[Event] = []
    for event in third.progress():
        seen.append(event)
        if "Waiting for a GPU" in event.message:
            break
    reason = seen[-1]
    assert "all are in use" in reason.message, seen
    assert "Insufficient nvidia.com/gpu" in reason.message
    assert not reason.failed
    namespace = namespace_name(third.name)
    pod = cluster.server_pod(namespace)
    assert pod["status"]["phase"] == "Pending"
    assert "nodeName" not in pod["spec"]

    # Whoever does not want to wait can leave, and come back.
    third.stop()
    until(lambda: not cluster.pods(namespace), "the third server's pod is gone")
    third.start({"image_profile": "gpu"})

    # A place that becomes free is taken.
    first.stop()
    third.wait_ready()
    assert cluster.server_pod(namespace)["status"]["phase"] == "Running"
