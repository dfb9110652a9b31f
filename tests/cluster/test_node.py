"""The node of this machine: its parts are watched, and come back."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

from deploy.node.mounts import mount_helper
from tests.cluster.cluster import until

PARTS = {
    "containerd",
    "etcd",
    "felix",
    "hub-port",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "local-volumes",
    "nfs-server",
    "registry",
    "rpcbind",
}
_LINE = re.compile(r"(\S+) +([A-Z]+) +(?:pid (\d+), )?.*")


@dataclass(frozen=True)
class Status:
    """What the status command printed, and its exit status."""

    text: str
    healthy: bool

    def pid(self, part: str) -> int:
        """Return the process id of a part that runs, and 0 otherwise."""
        for match in map(_LINE.fullmatch, self.text.splitlines()):
            if match and match[1] == part and match[2] == "RUNNING":
                return int(match[3])
        return 0


def status() -> Status:
    """Ask the node how it does."""
    done = _node("status")
    return Status(done.stdout, done.returncode == 0)


def _node(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.node", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_all_parts_run() -> None:
    found = status()
    assert found.healthy, found.text
    assert {part for part in PARTS if found.pid(part)} == PARTS


def test_it_is_told_what_mounts_people_s_files() -> None:
    assert f"NFS is mounted by: {mount_helper()}\n" in status().text


def test_a_part_that_is_killed_is_reported_and_comes_back() -> None:
    before = status().pid("kube-scheduler")
    assert before
    killed = _node("exec", "--", "kill", "-9", str(before))
    assert killed.returncode == 0, killed.stderr

    def back() -> Status | None:
        found = status()
        return found if found.pid("kube-scheduler") not in (0, before) else None

    found: Status = until(back, "the scheduler is back", 30)
    lines = found.text.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("kube-scheduler ")]
    report = []
    for line in lines[at + 1 :]:
        if not line.startswith("    "):
            break
        report.append(line.strip())
    assert report, found.text
    assert report[0].startswith("crashed at ")
    assert len(report) > 1, "the last lines of its log"
    until(lambda: status().healthy, "all parts run again", 30)
