"""Directories of the node's NFS server in pods, mounted by kubelet itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import posix
from tests.cluster.cluster import Cluster
from tests.cluster.shares import GID, UID, Share, shared

# Takes turns with its other: makes a file, and says after how long it saw the other's.
_TAKE_TURNS = """
import pathlib, sys, time

mine, other, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
for turn in range(turns):
    theirs = pathlib.Path("/data", f"{other}-{turn}")
    if mine == "first":
        pathlib.Path("/data", f"{mine}-{turn}").write_text(str(time.time()))
    while not (theirs.exists() and theirs.read_text()):
        time.sleep(0.01)
    print(time.time() - float(theirs.read_text()))
    if mine != "first":
        pathlib.Path("/data", f"{mine}-{turn}").write_text(str(time.time()))
"""
# Follows a file by name, as it grows and is replaced.
_FOLLOW = """
import pathlib, time

log = pathlib.Path("/data/log")
for expected in ("one", "one two", "three"):
    while not log.exists() or log.read_text() != expected:
        time.sleep(0.02)
    print(time.time() - float(pathlib.Path("/data/written").read_text()))
    pathlib.Path("/data/seen").write_text(expected)
"""
_WRITE = """
import os, pathlib, time

def say(what):
    pathlib.Path("/data/written.new").write_text(str(time.time()))
    os.rename("/data/written.new", "/data/written")
    while not (seen.exists() and seen.read_text() == what):
        time.sleep(0.02)

log, seen = pathlib.Path("/data/log"), pathlib.Path("/data/seen")
with open("/data/log", "a") as file:
    print("one", end="", file=file, flush=True)
    say("one")
    print(" two", end="", file=file, flush=True)
    say("one two")
pathlib.Path("/data/log.new").write_text("three")
os.rename("/data/log.new", "/data/log")
say("three")
"""
_TRY = """
import pathlib

pathlib.Path("/data/mine").write_text("x")
for action in (
    lambda: pathlib.Path("/data/roots/file").read_text(),
    lambda: list(pathlib.Path("/data/roots").iterdir()),
    lambda: pathlib.Path("/data/readable").write_text("y"),
    lambda: pathlib.Path("/data/readable").chmod(0o777),
    lambda: print(pathlib.Path("/data/readable").read_text()),
):
    try:
        action()
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def share(cluster: Cluster) -> Iterator[Share]:
    """A directory that belongs to who pods are."""
    with shared(cluster) as made:
        yield made


def test_it_behaves_as_programs_expect_of_a_disk(share: Share) -> None:
    share.start("posix", Path(posix.__file__).read_text(), "/data")
    assert share.ended("posix", 240) == [f"ok {name}" for name in posix.CHECKS]
    assert not list(share.directory.iterdir())


def test_a_file_is_seen_by_another_pod_at_once_both_ways(share: Share) -> None:
    turns = 10
    share.start("first", _TAKE_TURNS, "first", "second", str(turns))
    share.start("second", _TAKE_TURNS, "second", "first", str(turns))
    for pod in ("first", "second"):
        delays = [float(line) for line in share.ended(pod)]
        assert len(delays) == turns
        # The first may have been waited for by a pod that was not there yet.
        assert max(delays[1:]) < 1, delays


def test_what_another_pod_writes_and_replaces_is_seen_within_two_seconds(share: Share) -> None:
    share.start("follow", _FOLLOW)
    share.start("write", _WRITE)
    share.ended("write")
    delays = [float(line) for line in share.ended("follow")]
    assert max(delays[1:]) < 2, delays


def test_the_server_decides_by_who_asks(share: Share) -> None:
    roots = share.path("roots")
    roots.mkdir(mode=0o700)
    (roots / "file").write_text("secret")
    share.path("readable").write_text("for all to read")
    share.path("readable").chmod(0o644)
    share.start("try", _TRY)
    denied = ["PermissionError"] * 4
    assert share.ended("try") == [*denied, "for all to read"]
    mine = share.path("mine").stat()
    assert (mine.st_uid, mine.st_gid) == (UID, GID)


def test_mount_options_hold(cluster: Cluster) -> None:
    with shared(cluster, "ro", "noexec", "nosuid", "nodev", "noatime") as share:
        share.path("there").write_text("read me")
        share.start(
            "look",
            "print(open('/data/there').read())\n"
            "print(next(line for line in open('/proc/mounts') if ' /data ' in line))\n"
            "open('/data/new', 'w')\n",
        )
        with pytest.raises(AssertionError) as caught:
            share.ended("look")
        assert share.source in share.lines("look")[1]
        options = set(share.lines("look")[1].split()[3].split(","))
        assert {"ro", "noexec", "nosuid", "nodev", "noatime"} <= options
        assert "Read-only file system" in str(caught.value)
