"""An NFS export as a tree of people's directories: made, owned, moved, measured, removed.

Nothing here knows Kubernetes. No name is ever followed through a symlink:
each directory is opened from the one above it. Every method may be called
again after it was cut off anywhere, and by two processes at once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kfspawner.errors import ExportUnreachable, HomeError
from kfspawner.homes.tree import (
    DIRECTORY,
    Owner,
    give_tree,
    given_to,
    is_empty,
    open_directory,
    remove_tree,
    walk,
)

# Whoever passes through sees no names: they are other people's.
_PASSAGE = 0o711
# What a client says of a server that does not answer.
_NO_ANSWER = frozenset(
    {
        errno.EIO,
        errno.ETIMEDOUT,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Ownership:
    """Whom a directory belongs to, and what its mode is when it is made."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class Usage:
    """What is in a directory: how many bytes on the disk, and when a file last changed."""

    used: int
    changed: datetime


class Export:
    """The export that is mounted at `root`.

    Every method raises an ExportUnreachable if the server does not answer, and
    a HomeError if it refuses.

    Parameters
    ----------
    root
        Where this process has it.
    name
        What messages call it: ``server:/path``.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name

    def make(self, directory: str, ownership: Ownership) -> None:
        """Make a directory with an owner; one that is theirs already stays as it is.

        One without an owner and without a file in it was begun before, and is finished.

        Raises
        ------
        HomeError
            If what is there is somebody else's, or no directory.
        """
        doing = f"making {directory}"
        with self._mapped(doing):
            parent = self._open_parent(directory, create=True)
            try:
                name = directory.rpartition("/")[2]
                # Nobody but us gets in before it has its owner.
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=parent)
                self._own(doing, parent, name, ownership)
            finally:
                os.close(parent)

    def _own(self, doing: str, parent: int, name: str, ownership: Ownership) -> None:
        made = open_directory(parent, name)
        try:
            found = os.fstat(made)
            wanted = (ownership.uid, ownership.gid)
            own = wanted == (os.geteuid(), os.getegid())
            if (found.st_uid, found.st_gid) == wanted and not (own and is_empty(made)):
                return
            if found.st_uid != os.geteuid() or not is_empty(made):
                raise HomeError(
                    doing,
                    f"{self._name} has a directory of that name that belongs to "
                    f"{found.st_uid}:{found.st_gid}, and not to {wanted[0]}:{wanted[1]}",
                    "nothing in it was touched; give it to its person with chown, or move it away",
                )
            # The owner last: it says that all is done.
            os.fchmod(made, ownership.mode)
            os.fchown(made, *wanted)
        finally:
            os.close(made)

    def give(self, directory: str, before: Owner, after: Owner) -> None:
        """Give a directory and all in it that is `before`'s to `after`; what others have stays.

        Nobody is to work in it meanwhile: what they made last would stay theirs.
        """
        with self._mapped(f"giving {directory} to {after[0]}:{after[1]}"):
            top = self._open_directory(directory)
            try:
                give_tree(top, before, after)
                found = os.fstat(top)
                os.fchown(top, *given_to(found, before, after))
            finally:
                os.close(top)

    def has(self, directory: str) -> bool:
        """Say whether there is such a directory."""
        with self._mapped(f"looking for {directory}"):
            try:
                os.close(self._open_directory(directory))
            except FileNotFoundError:
                return False
            return True

    def move(self, directory: str, target: str) -> None:
        """Give a directory another name on the export; one that has it already stays.

        Raises
        ------
        HomeError
            If both are there, or neither.
        """
        doing = f"moving {directory} to {target}"
        with self._mapped(doing):
            here, there = self.has(directory), self.has(target)
            # Whoever does the same may have been quicker between the two looks.
            if here and there and self.has(directory):
                raise HomeError(
                    doing,
                    f"{self._name} has both",
                    "neither was touched; look at them, and move one away",
                )
            if there:
                return
            if not here:
                raise HomeError(
                    doing,
                    f"{self._name} has neither",
                    "see whether it is the right export, and what its administrator did there",
                )
            source = self._open_parent(directory)
            try:
                parent = self._open_parent(target, create=True)
                try:
                    # Whoever else does the same at the same time may have been quicker.
                    with suppress(FileNotFoundError):
                        os.rename(
                            directory.rpartition("/")[2],
                            target.rpartition("/")[2],
                            src_dir_fd=source,
                            dst_dir_fd=parent,
                        )
                finally:
                    os.close(parent)
            finally:
                os.close(source)

    def remove(self, directory: str) -> None:
        """Delete a directory with all files in it; none is fine. They do not come back."""
        with self._mapped(f"deleting {directory}"):
            try:
                parent = self._open_parent(directory)
            except FileNotFoundError:
                return
            try:
                remove_tree(parent, directory.rpartition("/")[2])
            finally:
                os.close(parent)

    def measure(self, directory: str) -> Usage:
        """Return what is in a directory. It looks at every file: that takes its time.

        Files below a hundred levels of directories are not counted.
        """
        used, changed = 0, 0.0
        with self._mapped(f"measuring {directory}"):
            for found in walk(self._open_directory(directory)):
                used += 0 if stat.S_ISDIR(found.st_mode) else found.st_blocks * 512
                changed = max(changed, found.st_mtime)
        return Usage(used, datetime.fromtimestamp(int(changed), UTC))

    def _open_parent(self, directory: str, *, create: bool = False) -> int:
        return self._open_directory(directory.rpartition("/")[0], create=create)

    def _open_directory(self, directory: str, *, create: bool = False) -> int:
        """Return a descriptor of a directory below the root, made by us where `create` says so."""
        here = os.open(self._root, DIRECTORY)
        for name in filter(None, directory.split("/")):
            try:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, _PASSAGE, dir_fd=here)
                there = open_directory(here, name)
            finally:
                os.close(here)
            here = there
        return here

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        """Raise what the system raises inside as a `HomeError` of `doing`."""
        try:
            yield
        except OSError as error:
            raise self._map(doing, error) from error

    def _map(self, doing: str, error: OSError) -> HomeError:
        said = error.strerror or str(error)
        if error.errno in _NO_ANSWER:
            return ExportUnreachable(
                doing,
                f"the NFS server of {self._name} does not answer ({said})",
                "see whether it runs and can be reached from the cluster's nodes; it is tried "
                "again until it does",
            )
        if error.errno in _DENIED:
            return HomeError(
                doing,
                f"{self._name} does not allow it ({said})",
                "export it writable and without root squash to the cluster's nodes, or let the "
                "provisioner run as the uid that owns it",
            )
        if error.errno in _FULL:
            return HomeError(
                doing,
                f"there is no room left on {self._name} ({said})",
                "make room on it; it is tried again",
            )
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return HomeError(
                doing,
                f"{self._name} has something else than a directory in its place ({said})",
                "nothing was touched; move it away",
            )
        return HomeError(doing, f"{self._name}: {said}", "show this to the administrator")
