"""What happens to the local node itself: its end, wanted or not, and its coming back."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.node import layout as at
from deploy.node.lifecycle import init_pid
from tests.cluster.cluster import until
from tests.faults.node import LAYOUT, deploy


def hub_version() -> str:
    answer = httpx.get(f"http://127.0.0.1:{at.HUB_PORT}/hub/api/", trust_env=False)
    return str(answer.json()["version"])


def processes(pid: int) -> Iterator[int]:
    """Yield the processes of the node whose first is `pid`, that one last."""
    node = (Path("/proc") / str(pid) / "ns" / "pid").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = (entry / "ns" / "pid").readlink() == node
        except OSError:
            continue
        if inside and int(entry.name) != pid:
            yield int(entry.name)
    yield pid


def left_behind() -> dict[str, str]:
    """Return what of the node is on the machine outside its state directory."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = {
        "link": said("ip", "-brief", "link"),
        "rules": said("nft", "list", "tables"),
        "hosts": Path("/etc/hosts").read_text(),
        "mounts": Path("/proc/mounts").read_text(),
        "processes": said("ps", "-eo", "args="),
    }
    marks = {
        "link": at.HOST_LINK,
        "rules": "kfspawner",
        "hosts": at.REGISTRY_NAME,
        "mounts": str(LAYOUT.root),
        "processes": str(LAYOUT.bin),
    }
    left = {what: text for what, text in found.items() if marks[what] in text}
    left |= {str(group): "left" for group in Path("/sys/fs/cgroup").glob(f"*/{at.CGROUP}")}
    for place in (Path("/run/containerd"), Path("/run/netns"), Path("/var/lib/cni/results")):
        if place.exists():
            left[str(place)] = "left"
    return left


@pytest.fixture(autouse=True)
def up() -> Iterator[None]:
    """Whatever a test does to it, the node is up again after it."""
    yield
    deploy("up")


def test_after_a_kill_of_every_process_it_comes_back_with_its_data() -> None:
    before = deploy("env")
    pid = init_pid(LAYOUT)
    assert pid is not None
    ours = list(processes(pid))
    assert len(ours) > 12
    for process in ours:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended with another
    until(lambda: init_pid(LAYOUT) is None, "the node has ended")
    with pytest.raises(httpx.TransportError):
        hub_version()

    deploy("up")

    assert hub_version()
    # The same secrets: the hub's database and people's sign-ins are the old ones.
    assert deploy("env") == before


def test_down_leaves_nothing_on_the_machine() -> None:
    # The control: while it runs, each of the marks is found.
    running = left_behind()
    assert {"link", "rules", "hosts"} <= set(running)

    deploy("down")

    assert left_behind() == {}
    # Twice is fine.
    deploy("down")
