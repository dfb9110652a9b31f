"""Trees of directories: walked, given away, deleted, without following a symlink anywhere."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Levels of directories that are looked at below one.
_DEPTH = 100
# A uid and a gid.
Owner = tuple[int, int]


def open_directory(parent: int, name: str) -> int:
    """Return a descriptor of a directory in `parent`, and not of where a symlink leads."""
    return os.open(name, DIRECTORY, dir_fd=parent)


def give_tree(top: int, before: Owner, after: Owner) -> None:
    """Change the owner of all below a directory.

    Each directory is opened from the top: a tree may be deeper than a process can
    have directories open.
    """
    pending: list[tuple[str, ...]] = [()]
    while pending:
        path = pending.pop()
        with suppress(FileNotFoundError):
            here = _open_below(top, path)
            try:
                for name in names_in(here):
                    found = os.stat(name, dir_fd=here, follow_symlinks=False)
                    given = given_to(found, before, after)
                    if given != (found.st_uid, found.st_gid):
                        os.chown(name, *given, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        pending.append((*path, name))
            finally:
                os.close(here)


def given_to(found: os.stat_result, before: Owner, after: Owner) -> Owner:
    """Return whose a file is when all that is `before`'s is `after`'s."""
    uid = after[0] if found.st_uid == before[0] else found.st_uid
    gid = after[1] if found.st_gid == before[1] else found.st_gid
    return uid, gid


def _open_below(top: int, path: tuple[str, ...]) -> int:
    here = os.dup(top)
    for name in path:
        try:
            there = open_directory(here, name)
        finally:
            os.close(here)
        here = there
    return here


def walk(top: int) -> Iterator[os.stat_result]:
    """Yield what is known of a directory and of all that is in it; close it.

    Somebody may change it meanwhile: what is gone is left out.
    """
    levels: list[tuple[int, list[str]]] = []

    def enter(opened: int) -> os.stat_result:
        names: list[str] = []
        # It is closed in the end, whatever it says now.
        levels.append((opened, names))
        names += names_in(opened)
        return os.fstat(opened)

    try:
        yield enter(top)
        while levels:
            here, names = levels[-1]
            if not names:
                os.close(levels.pop()[0])
                continue
            name = names.pop()
            with suppress(FileNotFoundError, NotADirectoryError):
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and len(levels) < _DEPTH:
                    found = enter(open_directory(here, name))
                yield found
    finally:
        for opened, _ in levels:
            os.close(opened)


def remove_tree(parent: int, name: str) -> None:
    """Delete a directory with all that is in it; who else does that may be quicker.

    What is deeper than a few levels is first moved up to the top: a tree may be
    deeper than a process can have directories open.
    """
    with suppress(FileNotFoundError):
        while True:
            top = open_directory(parent, name)
            try:
                while inside := names_in(top):
                    for inner in inside:
                        _remove_inside(top, top, inner, 1)
            finally:
                os.close(top)
            try:
                return os.rmdir(name, dir_fd=parent)
            except OSError as error:
                # Another has moved something up just now.
                if error.errno != errno.ENOTEMPTY:
                    raise


def _remove_inside(top: int, here: int, name: str, depth: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=here)
            return
        if depth >= _DEPTH:
            os.rename(name, f".{secrets.token_hex(8)}", src_dir_fd=here, dst_dir_fd=top)
            return
        opened = open_directory(here, name)
        try:
            for inner in names_in(opened):
                _remove_inside(top, opened, inner, depth + 1)
        finally:
            os.close(opened)
        os.rmdir(name, dir_fd=here)


def names_in(opened: int) -> list[str]:
    with os.scandir(opened) as inside:
        return [it.name for it in inside]


def is_empty(opened: int) -> bool:
    with os.scandir(opened) as inside:
        return next(inside, None) is None
