"""Which program mounts NFS inside the node.

Kernels with an NFS client are asked by Debian's own ``mount.nfs``. Others get
the one of ``mount-nfs`` beside this file, which is a client itself.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from deploy.commands import call
from deploy.node.layout import Layout

KERNEL = "kernel"
FUSE = "libnfs over FUSE"

_SOURCE = Path(__file__).parent / "mount-nfs"
_FLAGS = ("-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
_LIBRARIES = ("-I/usr/include/fuse3", "-lfuse3", "-lnfs")
# What mount(8) looks for, for its types nfs and nfs4.
_NAMES = ("mount.nfs", "mount.nfs4")


def offers(filesystem: str) -> bool:
    """Say whether the kernel has a file system, loading its module if there is one."""
    if filesystem in _filesystems():
        return True
    if not shutil.which("modprobe"):
        return False
    subprocess.run(["modprobe", filesystem], capture_output=True, check=False)
    return filesystem in _filesystems()


def _filesystems() -> set[str]:
    # A name is the last word of its line, after `nodev` or nothing.
    lines = Path("/proc/filesystems").read_text().splitlines()
    return {line.split()[-1] for line in lines}


def mount_helper() -> str:
    """Return what mounts NFS here, in a few words."""
    return KERNEL if offers("nfs") else FUSE


def key() -> str:
    """Return a hash of everything that the program is made from."""
    digest = hashlib.sha256()
    for path in sorted(_SOURCE.iterdir()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    digest.update("\0".join((*_FLAGS, *_LIBRARIES)).encode())
    return digest.hexdigest()[:16]


def program(layout: Layout, helper: str) -> Path:
    """Return where the program is, for what `mount_helper` says."""
    if helper == KERNEL:
        return layout.debian / "sbin" / "mount.nfs"
    return layout.builds / f"mount-nfs-{key()}" / "mount.nfs"


def build(layout: Layout) -> None:
    """Compile the program, unless just that was compiled before.

    Raises
    ------
    DeployError
        With the compiler's words; what was there before stays.
    """
    target = program(layout, FUSE).parent
    if target.exists():
        return
    fresh = layout.builds / ".mount-nfs.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    sources = sorted(map(str, _SOURCE.glob("*.c")))
    call(
        ["gcc", *_FLAGS, *sources, *_LIBRARIES, "-o", fresh / "mount.nfs"],
        "see that Debian's gcc, libc6-dev, libfuse3-dev and libnfs-dev are whole",
    )
    fresh.rename(target)


def link(layout: Layout, helper: str) -> None:
    """Put the program where the node lays it over its /sbin: ``<state>/sbin``."""
    shutil.rmtree(layout.sbin, ignore_errors=True)
    layout.sbin.mkdir(parents=True)
    for name in _NAMES:
        (layout.sbin / name).symlink_to(program(layout, helper))
