"""What the node takes from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from deploy.commands import call
from deploy.node.layout import Layout

# Tools that do nothing until they are called.
INSTALLED = (
    "buildah",
    "ca-certificates",
    "conntrack",
    "ipset",
    "iptables",
    "iproute2",
    "mmdebstrap",
    "mount",
    "nftables",
    "python3-pip",
    "python3-venv",
    "socat",
    "util-linux",
)
# Programs whose installation would start a service of the machine, or push
# another's container engine out: they are unpacked beside it instead.
UNPACKED = (
    "catatonit",
    "containerd",
    "containernetworking-plugins",
    "docker-registry",
    "nfs-common",
    "nfs-ganesha",
    "nfs-ganesha-vfs",
    "rpcbind",
    "runc",
)
# What `mount-nfs` is compiled with, where the kernel cannot mount NFS itself.
COMPILER = ("gcc", "libc6-dev", "libfuse3-dev", "libnfs-dev")
# What the browser tests and the README's pictures need besides.
BROWSER = ("chromium", "fonts-dejavu-core")


def _missing(names: tuple[str, ...]) -> list[str]:
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    there = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in there]


def _apt(*words: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", *words, "-o", "APT::Sandbox::User=root"]
    call(command, "see that this machine reaches its Debian mirror", cwd=cwd, env=environment)


def install(layout: Layout, names: tuple[str, ...] = INSTALLED) -> list[str]:
    """Install what is missing of `names`; return what was.

    What this ever installed is listed in ``<state>/installed-packages``.
    """
    missing = _missing(names)
    if missing:
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *missing)
        layout.root.mkdir(parents=True, exist_ok=True)
        with (layout.root / "installed-packages").open("a") as ledger:
            ledger.writelines(f"{name}\n" for name in missing)
    return missing


def unpack(layout: Layout) -> None:
    """Unpack what is not to be installed below ``<state>/debian``, and install its libraries.

    What is there for another list of packages is replaced.
    """
    if _unpacked(layout) == UNPACKED:
        install(layout, tuple((layout.debian / "libraries").read_text().split()))
        return
    fresh = layout.debian.with_name("debian.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    _apt("update")
    _apt("download", *UNPACKED, cwd=fresh)
    libraries: set[str] = set()
    for package in sorted(fresh.glob("*.deb")):
        call(["dpkg", "--extract", package, fresh], "run it again")
        libraries |= libraries_of(call(["dpkg-deb", "--field", package, "Depends"], "run it again"))
        package.unlink()
    install(layout, tuple(sorted(libraries)))
    (fresh / "libraries").write_text(" ".join(sorted(libraries)))
    (fresh / "packages").write_text(" ".join(UNPACKED))
    old = layout.debian.with_name("debian.old")
    shutil.rmtree(old, ignore_errors=True)
    if layout.debian.exists():
        layout.debian.rename(old)
    fresh.rename(layout.debian)
    shutil.rmtree(old, ignore_errors=True)


def _unpacked(layout: Layout) -> tuple[str, ...]:
    listed = layout.debian / "packages"
    return tuple(listed.read_text().split()) if listed.exists() else ()


def libraries_of(depends: str) -> set[str]:
    """Return the libraries in a package's field ``Depends``: they start nothing."""
    # name [:architecture] [(>= version)] [| another], and so on, with commas between.
    names = {one.split("(")[0].split("|")[0].strip() for one in depends.split(",")}
    return {name.partition(":")[0] for name in names if name.startswith("lib")}
