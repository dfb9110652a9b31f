"""Debian with Python, made from its packages: the base where no public registry is in reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.images.lend import apt_options, debian_mirrors
from deploy.images.plan import CONTEXT

SUITE = "bookworm"
# Manuals and translations are for a machine that people sit at.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_KEPT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
# What mmdebstrap writes down of the machine that it runs on.
_TRACES = (
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "/etc/hostname",
    "/etc/resolv.conf",
)


def can_make_rootfs() -> bool:
    """Say whether this machine and user can run what `make_command` returns."""
    return os.geteuid() == 0 and shutil.which("mmdebstrap") is not None


def make_command(target: Path, context: Path = CONTEXT) -> list[str]:
    """Return the mmdebstrap command that writes the root file system to `target`, a tar file."""
    sources = context / "debian" / "sources.list"
    packages = [
        line
        for line in (context / "debian" / "packages.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    # It lives in memory until it is whole: nothing there to write through to a disk.
    options = ["--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in _KEPT]
    options += [f'--aptopt={name} "{value}"' for name, value in apt_options()]
    traces = " ".join(f'"$1"{path}' for path in _TRACES)
    return [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *options,
        f'--customize-hook=copy-in "{sources}" /etc/apt',
        f"--customize-hook=rm -f {traces}",
        SUITE,
        str(target),
        *debian_mirrors(),
    ]
