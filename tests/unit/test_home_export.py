"""People's directories on an export: made, moved, removed, measured, and nobody else's touched."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ExportUnreachable, HomeError
from kfspawner.homes.export import Export, Ownership
from tests.fakes.homes import IDS, Killed

OURS = Ownership(*IDS, 0o700)
OTHERS = Ownership(IDS[0] + 1, IDS[1] + 1, 0o700)
HOME = "vision/alice"
ARCHIVED = "_archive/vision/alice.20261124t101500z"
ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a directory to somebody else: run this as root"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    made.mkdir()
    return made


@pytest.fixture
def export(root: Path) -> Export:
    return Export(root, "nfs.test:/homes")


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    return path.stat().st_uid, path.stat().st_gid, mode_of(path)


def listed(root: Path) -> dict[str, tuple[int, int, int, int]]:
    found = {str(path): path.lstat() for path in root.rglob("*")}
    return {name: (it.st_ino, it.st_mode, it.st_uid, it.st_mtime_ns) for name, it in found.items()}


def fill(path: Path, text: str = "mine") -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "notes.txt").write_text(text)


def test_a_home_is_its_persons_and_nobody_looks_around_on_the_way(
    export: Export, root: Path
) -> None:
    export.make(HOME, OURS)

    assert owner_and_mode(root / HOME) == (*IDS, 0o700)
    assert mode_of(root / "vision") == 0o711


@ROOT
@pytest.mark.parametrize("mode", [0o700, 0o2770, 0o750])
def test_somebody_gets_a_directory_of_their_own(export: Export, root: Path, mode: int) -> None:
    export.make(HOME, Ownership(1000, 100, mode))
    assert owner_and_mode(root / HOME) == (1000, 100, mode)
    assert (root / "vision").stat().st_uid == IDS[0]


def test_a_directory_of_ones_own_has_its_mode_too(export: Export, root: Path) -> None:
    export.make(HOME, Ownership(*IDS, 0o2770))

    assert mode_of(root / HOME) == 0o2770


def test_one_that_is_theirs_already_stays_as_it_is(export: Export, root: Path) -> None:
    export.make(HOME, OURS)
    fill(root / HOME)
    (root / HOME).chmod(0o755)
    before = listed(root)

    export.make(HOME, OURS)

    assert listed(root) == before


@ROOT
@pytest.mark.parametrize("call", ["fchmod", "fchown"])
def test_a_half_made_one_is_finished(
    export: Export, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, call, die)
        with pytest.raises(Killed):
            export.make(HOME, Ownership(1000, 100, 0o2770))
    export.make(HOME, Ownership(1000, 100, 0o2770))

    assert owner_and_mode(root / HOME) == (1000, 100, 0o2770)


def test_a_directory_of_somebody_else_is_refused_and_not_touched(
    export: Export, root: Path
) -> None:
    fill(root / HOME, "theirs")
    before = listed(root)

    with pytest.raises(HomeError) as refused:
        export.make(HOME, OTHERS)

    assert str(refused.value) == (
        "making vision/alice: nfs.test:/homes has a directory of that name that belongs to "
        f"{IDS[0]}:{IDS[1]}, and not to {OTHERS.uid}:{OTHERS.gid}; nothing in it was touched; "
        "give it to its person with chown, or move it away"
    )
    assert listed(root) == before


@ROOT
def test_an_empty_directory_of_somebody_else_is_refused_too(export: Export, root: Path) -> None:
    (root / HOME).mkdir(parents=True)
    os.chown(root / HOME, 1001, 100)

    with pytest.raises(HomeError, match="belongs to 1001:100, and not to 1000:100"):
        export.make(HOME, Ownership(1000, 100, 0o700))
    assert (root / HOME).stat().st_uid == 1001


# What every method is to be safe from.

METHODS: dict[str, Callable[[Export], object]] = {
    "make": lambda it: it.make(HOME, OURS),
    "has": lambda it: it.has(HOME),
    "move from": lambda it: it.move(HOME, ARCHIVED),
    "move to": lambda it: it.move("speech/alice", HOME),
    "remove": lambda it: it.remove(HOME),
    "measure": lambda it: it.measure(HOME),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("link", ["vision", "vision/alice"])
def test_no_symlink_is_followed(
    export: Export, root: Path, tmp_path: Path, method: Callable[[Export], object], link: str
) -> None:
    theirs = tmp_path / "theirs"
    fill(theirs / "alice")
    fill(root / "speech/alice")
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(theirs)
    before = listed(theirs), listed(root / "speech/alice")

    with pytest.raises(HomeError) as refused:
        method(export)

    assert re.search("something else than a directory|symbolic link", refused.value.cause)
    assert (listed(theirs), listed(root / "speech/alice")) == before
    assert (root / link).is_symlink()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("file", ["vision", "vision/alice"])
def test_a_file_in_the_place_is_refused_and_not_touched(
    export: Export, root: Path, method: Callable[[Export], object], file: str
) -> None:
    fill(root / "speech/alice")
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("theirs")

    with pytest.raises(HomeError) as refused:
        method(export)

    assert refused.value.cause.startswith("nfs.test:/homes has something else than a directory")
    assert refused.value.way_out == "nothing was touched; move it away"
    assert (root / file).read_text() == "theirs"


def test_what_is_there_is_said(export: Export) -> None:
    export.make(HOME, OURS)
    assert export.has(HOME)
    assert not export.has("vision/bob")


def test_a_directory_moves_with_all_that_is_in_it(export: Export, root: Path) -> None:
    fill(root / HOME)
    moved = (root / HOME).stat().st_ino

    for _ in range(2):
        export.move(HOME, ARCHIVED)

    assert (root / ARCHIVED).stat().st_ino == moved
    assert (root / ARCHIVED / "notes.txt").read_text() == "mine"
    assert not (root / HOME).exists()
    assert mode_of(root / "_archive") == mode_of(root / "_archive/vision") == 0o711


def test_neither_is_touched_where_both_are_there(export: Export, root: Path) -> None:
    fill(root / HOME, "new")
    fill(root / ARCHIVED, "old")

    with pytest.raises(HomeError, match=r"^moving vision/alice to _archive/.*: .* has both; "):
        export.move(HOME, ARCHIVED)

    assert (root / HOME / "notes.txt").read_text() == "new"
    assert (root / ARCHIVED / "notes.txt").read_text() == "old"


def test_what_is_nowhere_does_not_move(export: Export, root: Path) -> None:
    with pytest.raises(HomeError, match="has neither; see whether it is the right export"):
        export.move(HOME, ARCHIVED)
    assert list(root.iterdir()) == []


def test_a_directory_goes_with_all_that_is_in_it_but_not_where_links_lead(
    export: Export, root: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "theirs")
    fill(root / HOME / "inner")
    (root / HOME / "link").symlink_to(tmp_path / "theirs")
    (root / HOME / "inner/file").symlink_to(tmp_path / "theirs/notes.txt")
    fill(root / "vision/bob")

    for _ in range(2):
        export.remove(HOME)
    export.remove("nowhere/at-all")

    assert [it.name for it in (root / "vision").iterdir()] == ["bob"]
    assert (tmp_path / "theirs/notes.txt").read_text() == "mine"


def test_what_is_in_it_is_measured_but_not_where_links_lead(
    export: Export, root: Path, tmp_path: Path
) -> None:
    fill(root / HOME / "inner")
    newest = datetime(2031, 5, 4, 12, tzinfo=UTC)
    for data, size, later in ((root / HOME / "inner/data", 1, 0.75), (tmp_path / "large", 3, 99)):
        data.write_bytes(os.urandom(size << 20))
        os.utime(data, (0, newest.timestamp() + later))
    (root / HOME / "file").symlink_to(tmp_path / "large")
    (root / HOME / "folder").symlink_to(tmp_path)
    with (root / HOME / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)

    usage = export.measure(HOME)

    assert 1 << 20 <= usage.used < 2 << 20
    assert usage.changed == newest


def test_nothing_is_measured_where_nothing_is(export: Export) -> None:
    with pytest.raises(HomeError, match=r"^measuring vision/alice: nfs\.test:/homes: No such file"):
        export.measure(HOME)


@pytest.fixture
def depths(root: Path) -> Iterator[None]:
    """Directories in each other, as anybody can make them in their home."""
    deep = root / HOME / "/".join("d" * 1500)
    subprocess.run(["mkdir", "-p", str(deep)], check=True)
    yield
    # pytest's own way to clean up would not come to its end.
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.mark.usefixtures("depths")
@pytest.mark.parametrize("method", ["measure", "remove"])
def test_no_directory_is_too_deep(export: Export, root: Path, method: str) -> None:
    getattr(export, method)(HOME)

    assert (root / HOME).exists() == (method == "measure")


def test_nothing_stays_open_where_the_server_fails(
    export: Export, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root / HOME)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(ExportUnreachable):
            export.measure(HOME)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# Two at once.


def test_many_may_make_one_directory_at_once(export: Export, root: Path) -> None:
    start = threading.Barrier(4)

    def make(directory: str) -> None:
        start.wait()
        export.make(directory, OURS)

    with ThreadPoolExecutor(4) as pool:
        for number in range(20):
            list(pool.map(make, [f"vision/p{number}"] * 4))
    assert len(list((root / "vision").iterdir())) == 20


@pytest.mark.parametrize("seen", [HOME, ARCHIVED])
def test_somebody_quicker_may_move_it_meanwhile(export: Export, root: Path, seen: str) -> None:
    class Slower(Export):
        def has(self, directory: str) -> bool:
            found = super().has(directory)
            if directory == seen:
                export.move(HOME, ARCHIVED)
            return found

    fill(root / HOME)
    Slower(root, "nfs.test:/homes").move(HOME, ARCHIVED)

    assert (root / ARCHIVED / "notes.txt").read_text() == "mine"
    assert not (root / HOME).exists()


def test_somebody_else_may_remove_it_meanwhile(
    export: Export, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        fill(root / HOME / name)
    unlink, quicker = os.unlink, [1]

    def unlink_late(*args: Any, **options: Any) -> None:
        if quicker:
            quicker.pop()
            unlink(*args, **options)
        unlink(*args, **options)

    monkeypatch.setattr(os, "unlink", unlink_late)
    export.remove(HOME)

    assert not (root / HOME).exists()


# What the server says, and what people read of it.


DOWN = "the NFS server of nfs.test:/homes does not answer"
DENIED = "nfs.test:/homes does not allow it"


@pytest.mark.parametrize(
    ("number", "kind", "cause", "way_out"),
    [
        (errno.EIO, ExportUnreachable, f"{DOWN} (Input/output error)", "see whether it runs"),
        (errno.ETIMEDOUT, ExportUnreachable, f"{DOWN} (Connection timed out)", "tried again"),
        (errno.ESTALE, ExportUnreachable, DOWN, "it is tried again until it does"),
        (errno.EACCES, HomeError, DENIED, "without root squash"),
        (errno.EPERM, HomeError, DENIED, "as the uid that owns it"),
        (errno.EROFS, HomeError, f"{DENIED} (Read-only file system)", "export it writable"),
        (errno.EDQUOT, HomeError, "there is no room left on nfs.test:/homes", "make room on it"),
        (errno.ENAMETOOLONG, HomeError, "nfs.test:/homes: File name too long", "administrator"),
    ],
)
def test_what_the_server_says_is_told(
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[HomeError],
    cause: str,
    way_out: str,
) -> None:
    said = OSError(number, os.strerror(number))

    def refuse(*_: object, **__: object) -> None:
        raise said

    for call, method, doing in (
        ("mkdir", "make", "making vision/alice"),
        ("open", "make", "making vision/alice"),
        ("open", "has", "looking for vision/alice"),
        ("open", "remove", "deleting vision/alice"),
        ("open", "measure", "measuring vision/alice"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, refuse)
            with pytest.raises(HomeError) as told:
                METHODS[method](export)
        assert type(told.value) is kind
        assert told.value.doing == doing
        assert told.value.cause.startswith(cause)
        assert way_out in told.value.way_out
        assert told.value.__cause__ is said
