"""The node's programs that are compiled from published Go modules."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.commands import call
from deploy.errors import DeployError
from deploy.node.layout import KUBERNETES_VERSION, Layout
from deploy.steps import Progress

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Program:
    """One Go module that becomes one binary.

    Attributes
    ----------
    name
        The module's directory, and the binary's name.
    links
        The names that the binary is called by.
    flags
        What ``go build`` is given beyond what all are.
    resources
        A module that it is made of, and patterns of files there that it comes with.
    home
        Where the module's directory is.
    """

    name: str
    links: tuple[str, ...]
    flags: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    home: Path = _HERE

    @property
    def source(self) -> Path:
        """The module's directory."""
        return self.home / self.name

    def build_flags(self) -> tuple[str, ...]:
        """Return the flags of ``go build``: they too decide what comes out."""
        flags = self.flags or ("-ldflags=-s -w",)
        return ("-trimpath", "-mod=readonly", *flags)

    def key(self) -> str:
        """Return a hash of everything that the binary is made from."""
        digest = hashlib.sha256()
        for path in sorted(self.source.iterdir()):
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
        digest.update("\0".join(self.build_flags()).encode())
        return digest.hexdigest()[:16]


KUBERNETES = Program(
    "kubernetes",
    links=(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubectl",
        "kubelet",
        "local-volumes",
    ),
    flags=(
        "-tags=providerless",
        f"-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    ),
)
CALICO = Program(
    "calico",
    links=("calico", "calico-felix"),
    resources=("github.com/projectcalico/calico", "libcalico-go/config/crd/*.yaml"),
)
COREDNS = Program("coredns", links=("coredns",))
PROGRAMS = (KUBERNETES, CALICO, COREDNS)


def built(layout: Layout, program: Program) -> Path:
    """Return the directory that holds `program` once it is built."""
    return layout.builds / f"{program.name}-{program.key()}"


def environment(layout: Layout) -> dict[str, str]:
    """Return the environment that Go runs in: its caches are the node's own."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(layout.cache / "go-build"),
        "GOMODCACHE": str(layout.cache / "go-mod"),
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "auto",
    }


def build(layout: Layout, program: Program, progress: Progress) -> None:
    """Compile `program`, unless just that was compiled before.

    Raises
    ------
    DeployError
        If Go does not compile it; what was there before stays.
    """
    target = built(layout, program)
    if target.exists():
        return
    fresh = layout.builds / f".{program.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    total = len(_go(layout, program, "list", "-deps", "."))
    command = ["go", "build", "-v", *program.build_flags(), "-o", str(fresh / program.name), "."]
    tail: list[str] = []
    with subprocess.Popen(
        command,
        cwd=program.source,
        env=environment(layout),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None  # noqa: S101  PIPE was asked for
        for count, line in enumerate(running.stderr, start=1):
            progress.advance(count, total, line.strip()[-48:])
            tail = [*tail[-9:], line.strip()]
    if running.returncode:
        raise DeployError(
            f"compiling {program.name}",
            " | ".join(tail),
            "see that this machine reaches the Go module proxy, and run it again: it goes on "
            "where it stopped",
        )
    for resource in _resources(layout, program):
        shutil.copy(resource, fresh)
    fresh.rename(target)


def _go(layout: Layout, program: Program, *words: str) -> list[str]:
    way_out = "see that this machine reaches the Go module proxy"
    printed = call(["go", *words], way_out, cwd=program.source, env=environment(layout))
    return printed.splitlines()


def _resources(layout: Layout, program: Program) -> Iterator[Path]:
    """Yield the files that belong to a program and come with its module."""
    if program.resources:
        module, *patterns = program.resources
        (where,) = _go(layout, program, "list", "-m", "-f", "{{.Dir}}", module)
        for pattern in patterns:
            yield from Path(where).glob(pattern)


def link(layout: Layout) -> None:
    """Put every program of the node on its PATH, ``<state>/bin``."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    targets = {
        name: built(layout, program) / program.name
        for program in PROGRAMS
        for name in program.links
    }
    for place in ("usr/bin", "usr/sbin", "sbin"):
        targets |= {path.name: path for path in (layout.debian / place).glob("*")}
    for name, target in targets.items():
        fresh = layout.bin / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(layout.bin / name)
