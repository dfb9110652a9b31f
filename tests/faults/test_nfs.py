"""What happens to people's files when the NFS server or what mounts it goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from deploy.node import mounts
from tests.cluster.cluster import Cluster, until
from tests.cluster.shares import Share, shared
from tests.cluster.test_node import status
from tests.faults.node import deploy, in_node, stopped_part

SERVER = "nfs-server"

# Appends a line and syncs it, for ever; prints how many there are and how long the slowest
# took, looking for the end included.
_APPEND = """
import os, time

fd = os.open("/data/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
count, slowest, before = 0, 0.0, time.time()
while not os.path.exists("/data/stop"):
    os.write(fd, b"%08d\\n" % count)
    os.fsync(fd)
    count += 1
    now = time.time()
    slowest, before = max(slowest, now - before), now
    if count % 100 == 0:
        print(count, f"{slowest:.1f}")
print(count, f"{max(slowest, time.time() - before):.1f}")
"""
# Writes a file again and again; prints how that went, and how long it took.
_KEEP_WRITING = """
import time

while True:
    begun = time.time()
    try:
        with open("/data/file", "w") as file:
            file.write("x")
        word = "ok"
    except OSError as error:
        word = error.strerror
    print(f"{time.time() - begun:.1f} {word}")
    time.sleep(0.2)
"""
_REST = "import sys, time; open(sys.argv[1], 'w'); time.sleep(3600)"


@pytest.fixture
def share(cluster: Cluster) -> Iterator[Share]:
    with shared(cluster) as made:
        yield made


def kill_server() -> None:
    """Kill the NFS server, and return once there is another."""
    before = status().pid(SERVER)
    assert before
    in_node("kill", "-9", str(before))
    until(lambda: status().pid(SERVER) not in (0, before), "the server is back")


def appends(share: Share) -> None:
    """Return once the appending pod has done more than it had."""
    begun = len(share.lines("append"))
    until(lambda: len(share.lines("append")) > begun + 1, "it appends")


def rests(share: Share, pod: str) -> None:
    """Start a pod that has the share and does nothing, and return once it does that."""
    share.start(pod, _REST, f"/data/{pod}")
    until(lambda: share.path(pod).exists(), f"pod {pod} has the share")


def gone(cluster: Cluster, share: Share, pod: str) -> bool:
    """Say whether a pod has ended, and kubelet has taken away what it had."""
    names = {it["metadata"]["name"] for it in cluster.pods(share.name)}
    return pod not in names and share.source not in in_node("cat", "/proc/mounts")


def test_what_was_synced_survives_kills_of_the_server(share: Share) -> None:
    share.start("append", _APPEND)
    for _ in range(3):
        appends(share)
        kill_server()
    share.path("stop").touch()
    count, slowest = share.ended("append")[-1].split()
    assert float(slowest) < 15
    written = share.path("log").read_text().split()
    assert written == [f"{number:08}" for number in range(int(count))]


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param("STOP", id="frozen"),
        pytest.param("none", id="not running", marks=pytest.mark.long),
    ],
)
def test_a_hard_mount_waits_for_its_server(share: Share, signal: str) -> None:
    share.start("append", _APPEND)
    appends(share)
    if signal == "STOP":
        pid = str(status().pid(SERVER))
        in_node("kill", "-STOP", pid)
        time.sleep(5)
        in_node("kill", "-CONT", pid)
    else:
        with stopped_part(SERVER):
            time.sleep(5)
    share.path("stop").touch()
    count, slowest = share.ended("append")[-1].split()
    assert 4 < float(slowest) < 20
    written = share.path("log").read_text().split()
    assert written == [f"{number:08}" for number in range(int(count))]


@pytest.mark.long
def test_a_soft_mount_fails_and_works_again(cluster: Cluster) -> None:
    with shared(cluster, "soft", "timeo=10", "retrans=2") as share:
        share.start("write", _KEEP_WRITING)
        until(lambda: share.last("write").endswith("ok"), "it writes")
        with stopped_part(SERVER):
            until(lambda: share.last("write").endswith("Input/output error"), "it fails", 20)
            seconds, _, _ = share.last("write").partition(" ")
            assert float(seconds) < 10
        until(lambda: share.last("write").endswith("ok"), "it works again", 20)


@pytest.mark.long
def test_a_mount_without_its_server_fails_with_a_cause_and_works_once_it_is_back(
    cluster: Cluster, share: Share
) -> None:
    def cause() -> str:
        events = cluster.core.list_namespaced_event(share.name).items
        said = [it.message for it in events if it.reason == "FailedMount"]
        return said[-1] if said else ""

    with stopped_part(SERVER):
        share.start("late", "open('/data/there', 'w')")
        message = until(cause, "there is an event", 30)
        if mounts.mount_helper() == mounts.FUSE:
            assert f"mounting {share.source}" in message
            assert "did not answer: see that it runs" in message
        assert share.phase("late") == "Pending"
    share.ended("late")
    assert share.path("there").exists()


@pytest.mark.long
def test_a_pod_can_be_deleted_while_the_server_is_away(cluster: Cluster, share: Share) -> None:
    share.start("write", _KEEP_WRITING)
    until(lambda: share.last("write").endswith("ok"), "it writes")
    with stopped_part(SERVER):
        time.sleep(2)
        cluster.core.delete_namespaced_pod("write", share.name)
        until(lambda: gone(cluster, share, "write"), "it is gone", 120)


def test_a_mount_whose_process_was_killed_is_taken_away(cluster: Cluster, share: Share) -> None:
    if mounts.mount_helper() != mounts.FUSE:
        pytest.skip("the kernel mounts NFS here, and is no process")
    rests(share, "one")
    listed = in_node("ps", "-eo", "pid=,args=").splitlines()
    (pid,) = [it.split()[0] for it in listed if "mount.nfs" in it and share.source in it]
    in_node("kill", "-9", pid)
    cluster.core.delete_namespaced_pod("one", share.name)
    until(lambda: gone(cluster, share, "one"), "it is gone", 60)
    rests(share, "two")


@pytest.mark.long
def test_down_and_up_keep_peoples_files(share: Share) -> None:
    share.start("write", "open('/data/kept', 'w').write('kept')")
    share.ended("write")
    deploy("down")
    assert share.path("kept").read_text() == "kept"
    deploy("up")
    share.start("read", "print(open('/data/kept').read())")
    assert share.ended("read") == ["kept"]
