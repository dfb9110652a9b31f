"""The node's NFS server, allowing less than homes need, or with one more export."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.node import layout as at
from tests.cluster.test_node import status
from tests.faults.node import LAYOUT, in_node

_CONFIG = LAYOUT.etc / "ganesha.conf"


@dataclass(frozen=True)
class Small:
    """An export of a few files and bytes, mounted in the node.

    Attributes
    ----------
    path
        What clients mount.
    """

    path: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{at.NFS_SERVER}:{self.path}"

    @property
    def directory(self) -> str:
        """Where the server has it; only the node sees what is in it."""
        return str(LAYOUT.nfs / self.path.lstrip("/"))

    @property
    def mounted(self) -> str:
        """Where the node has it mounted by NFS."""
        return str(LAYOUT.run / "private" / self.path.lstrip("/"))

    def shell(self, command: str) -> str:
        """Run a shell command where the server has it, and return what it prints."""
        return in_node("sh", "-c", f"cd {self.directory} && {command}").strip()


@contextmanager
def allowing(said: str, instead_of: str) -> Iterator[None]:
    """Have the export of homes say something else in its configuration while this lasts."""
    before = _CONFIG.read_text()
    assert before.count(instead_of) == 1
    _serve(before.replace(instead_of, said))
    try:
        yield
    finally:
        _serve(before)


@contextmanager
def small(path: str, *options: str) -> Iterator[Small]:
    """Export a tmpfs of so many bytes and files, and have it mounted, while this lasts."""
    made = Small(path)
    in_node("mkdir", "-p", made.directory, made.mounted)
    in_node("mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", made.directory)
    before = _CONFIG.read_text()
    try:
        _serve(before + _describe(made))
        in_node("mount", "-t", "nfs", "-o", "soft,timeo=50,retrans=2", made.name, made.mounted)
        try:
            yield made
        finally:
            in_node("umount", made.mounted)
    finally:
        _serve(before)
        in_node("umount", made.directory)
        in_node("rmdir", made.directory, made.mounted)


def _describe(made: Small) -> str:
    said = {
        "Export_Id": "77",
        "Path": made.directory,
        "Pseudo": made.path,
        "Access_Type": "RW",
        "Squash": "No_Root_Squash",
        "SecType": "sys",
        "Protocols": "3, 4",
        "Transports": "TCP",
        "Attr_Expiration_Time": "0",
    }
    lines = [f"  {name} = {value};" for name, value in said.items()]
    return "\n".join(["EXPORT {", *lines, "  FSAL { Name = VFS; }", "}", ""])


def _serve(config: str) -> None:
    """Have the server read another configuration; it does not say when it has."""
    _CONFIG.write_text(config)
    in_node("kill", "-HUP", str(status().pid("nfs-server")))
    time.sleep(2)
