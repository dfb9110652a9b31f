"""What a file system owes a person's programs. Run as a program, in a directory of its own.

It stands alone, so that a pod can run it: ``python3 posix.py DIRECTORY`` prints
``ok NAME`` for each check that holds and a line ``FAILED NAME: why`` for others.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Of renameat2(2).
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


def refusal(action: Callable[[], object]) -> int:
    """Return the number of the error that `action` ends with, 0 if it succeeds."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def check_write_and_read() -> None:
    """What is written is read, and whole."""
    data = bytes(range(256)) * 5000
    Path("written").write_bytes(data)
    assert Path("written").read_bytes() == data
    assert Path("written").stat().st_size == len(data)


def check_owner_and_mode() -> None:
    """A new file belongs to who made it, with the mode that was asked for."""
    os.umask(0o022)
    os.close(os.open("mine", os.O_CREAT | os.O_WRONLY, 0o640))
    found = Path("mine").stat()
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid()), found
    assert stat.S_IMODE(found.st_mode) == 0o640
    for mode in (0o600, 0o444, 0o755, 0o4711):
        Path("mine").chmod(mode)
        assert stat.S_IMODE(Path("mine").stat().st_mode) == mode


def check_read_only_file_of_ones_own() -> None:
    """A file that is made read-only can be written by who has just made it: git does that."""
    fd = os.open("object", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
    os.write(fd, b"x")
    os.fsync(fd)
    os.close(fd)
    assert Path("object").read_bytes() == b"x"
    assert stat.S_IMODE(Path("object").stat().st_mode) == 0o444
    if os.getuid():
        assert refusal(lambda: Path("object").write_bytes(b"y")) == errno.EACCES


def check_append() -> None:
    """Each append lands at the end, also behind what another descriptor wrote."""
    with Path("log").open("ab", buffering=0) as one, Path("log").open("ab", buffering=0) as two:
        for turn in range(20):
            one.write(b"one %d\n" % turn)
            two.write(b"two %d\n" % turn)
            if turn % 5 == 0:
                with Path("log").open("r+b", buffering=0) as other:
                    other.seek(0, os.SEEK_END)
                    other.write(b"other\n")
    lines = Path("log").read_text().splitlines()
    assert len(lines) == 44, lines
    assert [line for line in lines if line.startswith("two")] == [f"two {n}" for n in range(20)]


def check_rename() -> None:
    """A rename replaces what is there, in one step, and leaves readers what they read."""
    Path("old").write_text("old")
    Path("new").write_text("new")
    with Path("old").open() as reading:
        Path("new").rename("old")
        assert Path("old").read_text() == "new"
        assert not Path("new").exists()
        assert reading.read() == "old"
    Path("a/b").mkdir(parents=True)
    Path("a/b/file").write_text("x")
    Path("a").rename("c")
    assert Path("c/b/file").read_text() == "x"
    Path("empty").mkdir()
    assert refusal(lambda: Path("empty").rename("c")) == errno.ENOTEMPTY


def check_rename_with_flags() -> None:
    """What the file system cannot do is refused, and then nothing happens."""
    Path("one").write_text("1")
    Path("two").write_text("2")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(_AT_FDCWD, b"one", _AT_FDCWD, b"two", _RENAME_NOREPLACE) == -1
    assert ctypes.get_errno() in (errno.EINVAL, errno.EEXIST)
    exchanged = libc.renameat2(_AT_FDCWD, b"one", _AT_FDCWD, b"two", _RENAME_EXCHANGE) == 0
    assert exchanged or ctypes.get_errno() == errno.EINVAL
    expected = ("2", "1") if exchanged else ("1", "2")
    assert (Path("one").read_text(), Path("two").read_text()) == expected


def check_links() -> None:
    """Hard links share the file, symbolic ones name it."""
    Path("target").write_text("x")
    os.link("target", "hard")
    assert Path("hard").stat().st_nlink == 2
    assert Path("hard").samefile("target")
    Path("hard").write_text("changed")
    assert Path("target").read_text() == "changed"
    Path("soft").symlink_to("target")
    assert Path("soft").readlink() == Path("target")
    assert Path("soft").read_text() == "changed"
    Path("dangling").symlink_to("nowhere")
    assert Path("dangling").is_symlink()
    assert not Path("dangling").exists()


def check_truncate() -> None:
    """A file is cut, and grown with zeros."""
    Path("cut").write_bytes(b"x" * 10_000)
    os.truncate("cut", 3)
    assert Path("cut").read_bytes() == b"xxx"
    with Path("cut").open("r+b") as file:
        file.truncate(5)
        assert os.fstat(file.fileno()).st_size == 5
    assert Path("cut").read_bytes() == b"xxx\0\0"
    with Path("cut").open("wb"):
        pass
    assert Path("cut").stat().st_size == 0


def check_times() -> None:
    """Times are set, to the nanosecond, and move when a file is written."""
    Path("times").write_text("x")
    os.utime("times", ns=(1_000_000_001, 2_000_000_002))
    found = Path("times").stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    Path("times").write_text("y")
    assert Path("times").stat().st_mtime_ns > 2_000_000_002
    before = Path("times").stat().st_mtime_ns
    os.utime("times")
    assert Path("times").stat().st_mtime_ns >= before


def check_exclusive_creation() -> None:
    """Of two who make the same file, one does."""
    os.close(os.open("lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    assert stat.S_IMODE(Path("lock").stat().st_mode) == 0o600
    again = refusal(lambda: os.open("lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    assert again == errno.EEXIST


def check_unlink_while_open() -> None:
    """A file lives as long as somebody has it open, and leaves nothing."""
    Path("gone").mkdir()
    with Path("gone/file").open("w+") as file:
        file.write("still there")
        file.flush()
        Path("gone/file").unlink()
        assert not Path("gone/file").exists()
        file.seek(0)
        assert file.read() == "still there"
        file.write(", and grows")
    # Its last close is told to the file system, not waited for.
    for _ in range(100):
        if not os.listdir("gone"):  # noqa: PTH208  names, and nothing else
            break
        time.sleep(0.05)
    Path("gone").rmdir()


def check_locks() -> None:
    """Both kinds of locks keep others out."""
    with Path("locked").open("w") as one, Path("locked").open("w") as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert refusal(lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)) == errno.EAGAIN
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = os.fork()
        if not child:
            refused = refusal(lambda: fcntl.lockf(two, fcntl.LOCK_EX | fcntl.LOCK_NB))
            os._exit(7 if refused in (errno.EAGAIN, errno.EACCES) else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def check_mapped_memory() -> None:
    """What is written through a mapping is in the file."""
    Path("mapped").write_bytes(b"\0" * 10_000)
    with Path("mapped").open("r+b") as file, mmap.mmap(file.fileno(), 10_000) as memory:
        memory[5000:5003] = b"abc"
        memory.flush()
    assert Path("mapped").read_bytes()[4999:5004] == b"\0abc\0"


def check_allocation() -> None:
    """Room is made for a file that will be that large."""
    with Path("allocated").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 100_000)
    assert Path("allocated").stat().st_size == 100_000


def check_database() -> None:
    """SQLite with its default journal keeps what was committed."""
    connection = sqlite3.connect("data.db")
    connection.execute("create table t (x)")
    for value in range(20):
        with connection:
            connection.execute("insert into t values (?)", (value,))
    connection.close()
    connection = sqlite3.connect("data.db")
    (count,) = connection.execute("select count(*) from t").fetchone()
    connection.close()
    assert count == 20
    assert not Path("data.db-journal").exists()


def check_shared_directory() -> None:
    """A directory that hands its group down does so."""
    Path("team").mkdir()
    Path("team").chmod(0o2770)
    assert stat.S_IMODE(Path("team").stat().st_mode) == 0o2770
    Path("team/inner").mkdir(0o770)
    assert Path("team/inner").stat().st_mode & stat.S_ISGID
    assert Path("team/inner").stat().st_gid == Path("team").stat().st_gid


def check_sync_of_directories() -> None:
    """A directory can be synced, as databases do."""
    Path("synced").write_text("x")
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def check_space() -> None:
    """It is known how full it is."""
    found = os.statvfs(".")
    assert found.f_blocks > found.f_bfree > 0
    assert found.f_namemax == 255


def check_long_names() -> None:
    """A name has up to 255 bytes, and those that programs use."""
    for name in ("x" * 255, "with space", "ümlaut-名前", "-dash", "new\nline", "a,b;c'd\"e"):
        Path(name).write_text(name)
        assert Path(name).read_text() == name
        assert name in os.listdir(".")  # noqa: PTH208
    assert refusal(lambda: Path("x" * 256).write_text("")) == errno.ENAMETOOLONG


def check_special_files() -> None:
    """A named pipe connects two processes."""
    os.mkfifo("pipe", 0o600)
    child = os.fork()
    if not child:
        Path("pipe").write_text("through")
        os._exit(0)
    assert Path("pipe").read_text() == "through"
    os.waitpid(child, 0)


def check_many_files() -> None:
    """A directory of many files is listed whole, and removed."""
    Path("many").mkdir()
    names = {f"{number:05}" for number in range(2000)}
    for name in names:
        Path("many", name).touch()
    with os.scandir("many") as entries:
        assert {entry.name for entry in entries if entry.is_file()} == names
    shutil.rmtree("many")
    assert not Path("many").exists()


def check_large_file() -> None:
    """A large file comes back as it was."""
    block = os.urandom(1 << 20)
    written, read = hashlib.sha256(), hashlib.sha256()
    with Path("large").open("wb") as file:
        for number in range(64):
            piece = number.to_bytes(8, "big") + block
            written.update(piece)
            file.write(piece)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Path("large").open("rb") as file:
        while piece := file.read(1 << 20):
            read.update(piece)
    assert read.digest() == written.digest()


CHECKS: dict[str, Callable[[], None]] = {
    name.removeprefix("check_"): check
    for name, check in globals().copy().items()
    if name.startswith("check_")
}


def main(directory: str) -> int:
    """Run every check in a directory of its own below `directory`."""
    failed = 0
    for name, check in CHECKS.items():
        place = Path(directory, name)
        place.mkdir()
        os.chdir(place)
        try:
            check()
        except (OSError, AssertionError, sqlite3.Error) as error:
            failed += 1
            print(f"FAILED {name}: {error!r}", flush=True)
        else:
            print(f"ok {name}", flush=True)
        os.chdir("/")
        shutil.rmtree(place)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
