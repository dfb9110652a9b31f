"""What the node needs of the machine, checked before anything is changed."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.errors import DeployError
from deploy.node.layout import HUB_PORT, Layout
from deploy.node.lifecycle import init_pid
from deploy.node.mounts import FUSE, mount_helper, offers

_FREE_DISK_GIB = 20
_FUSE_DEVICE = Path("/dev/fuse")
# The oldest that can fetch, as a module, whichever toolchain a go.mod asks for.
_GO_MINIMUM = (1, 21)


def _root() -> str | None:
    if os.geteuid() == 0:
        return None
    return "not root: run it with sudo, or in a virtual machine of your own"


def _architecture() -> str | None:
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64"):
        return None
    return f"{platform.system()} on {platform.machine()}: it takes Linux on x86_64 or aarch64"


def _namespaces() -> str | None:
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (
        f"no namespaces of its own ({done.stderr.strip()}): give this machine CAP_SYS_ADMIN, "
        "in a container --privileged"
    )


def _cgroups() -> str | None:
    mounts = Path("/proc/mounts").read_text()
    if " cgroup2 " in mounts or " cgroup " in mounts:
        return None
    return "no cgroups: mount them on /sys/fs/cgroup"


def _overlayfs() -> str | None:
    if offers("overlay"):
        return None
    return "no overlayfs: use a kernel that has it, or load its module `overlay`"


def _nfs() -> str | None:
    if mount_helper() != FUSE or (offers("fuse") and _FUSE_DEVICE.exists()):
        return None
    return (
        f"neither an NFS client in this kernel nor {_FUSE_DEVICE}: load the module `nfs` or "
        "`fuse`, in a container give it the device"
    )


def _go() -> str | None:
    go = shutil.which("go")
    if not go:
        return "no Go: install it, and see that `go` is on the PATH"
    found = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True)
    version = found.stdout.strip().removeprefix("go")
    if tuple(int(part) for part in version.split(".")[:2]) >= _GO_MINIMUM:
        return None
    return f"Go {version}: install {'.'.join(map(str, _GO_MINIMUM))} or later"


def _packages() -> str | None:
    if shutil.which("apt-get") and shutil.which("dpkg"):
        return None
    return "no apt-get: the node is put together from Debian's packages; use Debian or Ubuntu"


def _disk(layout: Layout) -> str | None:
    place = layout.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    if free >= _FREE_DISK_GIB or layout.data.exists():
        return None
    return (
        f"{free:.0f} GiB free on {place}, it takes {_FREE_DISK_GIB}: make room, or put "
        "KFSPAWNER_STATE on a larger disk"
    )


def _port(layout: Layout) -> str | None:
    if init_pid(layout) is not None:
        return None
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", HUB_PORT)):
            return None
    return (
        f"something listens on 127.0.0.1:{HUB_PORT} already: end it, or choose another port with "
        "KFSPAWNER_PORT"
    )


def check(layout: Layout) -> None:
    """Refuse, in one message, whatever the machine lacks.

    Raises
    ------
    DeployError
        Naming each lack and its remedy. Nothing was changed.
    """
    lacks: list[Callable[[], str | None]] = [
        _root,
        _architecture,
        _namespaces,
        _cgroups,
        _overlayfs,
        _nfs,
        _go,
        _packages,
        lambda: _disk(layout),
        lambda: _port(layout),
    ]
    found = []
    for lack in lacks:
        said = lack()
        if said:
            found.append(said)
            if lack is _root:
                break
    if found:
        raise DeployError(
            "checking this machine for a Kubernetes node",
            " | ".join(found),
            "nothing was changed; or point CONTEXT at a cluster that you have",
        )
