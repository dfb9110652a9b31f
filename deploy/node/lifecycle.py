"""Start, stop, look at and remove the node."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.commands import call
from deploy.errors import DeployError
from deploy.node import credentials, mounts, network, objects, programs
from deploy.node import layout as at
from deploy.node import parts as node_parts
from deploy.node.configs import make_configs
from deploy.node.layout import Layout
from deploy.node.supervisor import Supervisor

_HERE = Path(__file__).parent
_SUPERVISOR = "supervisor==4.3.0"


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the node against every other command that would change it."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another command is at work on this node; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def enter(layout: Layout) -> list[str]:
    """Return the command prefix that runs a command inside the running node."""
    pid = init_pid(layout)
    if pid is None:
        raise DeployError("entering the node", "it is not running", "start it with `make up`")
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--"]


def init_pid(layout: Layout) -> int | None:
    """Return the process id of the node's first process, if that process lives."""
    try:
        pid, started = layout.init_pid.read_text().split()
        return int(pid) if _start_time(int(pid)) == started else None
    except (OSError, ValueError):
        return None


def _start_time(pid: int) -> str:
    # proc(5): field 22 of stat, counted after the command's closing parenthesis.
    # It tells a process from a later one of the same id.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def start(layout: Layout) -> None:
    """Start the node's processes and make it a cluster; a running node is left alone."""
    files = _make_files(layout)
    keys = [(program.name, program.key()) for program in programs.PROGRAMS]
    version = repr(sorted([*keys, ("mount-nfs", mounts.key())]))
    digest = hashlib.sha256((repr(files) + version).encode()).hexdigest()
    if not _healthy(layout):
        stop(layout)
        _install(layout, files)
        network.attach(layout)
        _make_cgroups()
        _launch(layout)
        (layout.run / "configuration").write_text(digest)
    elif (layout.run / "configuration").read_text() != digest:
        print("the node runs as another checkout made it; `make down up` makes it this one's")
    objects.wait_for_api(layout)
    Supervisor(layout.supervisor_socket).start_all()
    dns_image = objects.load_images(layout, enter(layout))
    objects.apply(layout, dns_image)
    objects.set_up_node(layout)
    objects.wait_for_dns(layout)


def stop(layout: Layout) -> None:
    """End every process of the node, and what they leave on the machine; data stays."""
    supervisor = Supervisor(layout.supervisor_socket)
    pid = init_pid(layout)
    if pid is not None:
        supervisor.shut_down()
        # The kernel ends whatever is left in the process namespace with its first.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while init_pid(layout) is not None:
            time.sleep(0.05)
    network.detach(layout)
    shutil.rmtree(layout.run, ignore_errors=True)
    # The place of a mount of the node's; somebody else's files in it keep it.
    with contextlib.suppress(OSError):
        Path("/var/lib/cni").rmdir()
    _remove_cgroups()


def status(layout: Layout) -> bool:
    """Print how each part does; return whether all run."""
    if init_pid(layout) is None:
        print("the node is not running; `make up` starts it")
        return False
    healthy = True
    for part in Supervisor(layout.supervisor_socket).parts():
        print(f"{part.name:26}{part.state:10}{part.description}")
        healthy &= part.state == "RUNNING"
        crash = layout.logs / f"{part.name}.crash"
        if crash.exists():
            print("".join(f"    {line}\n" for line in crash.read_text().splitlines()), end="")
        elif part.state != "RUNNING":
            log = layout.logs / f"{part.name}.log"
            lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
            print("".join(f"    {line}\n" for line in lines), end="")
    print(f"NFS is mounted by: {mounts.mount_helper()}")
    print(objects.kubectl(layout, "get", "nodes", "-o", "wide"), end="")
    return healthy


def clean(layout: Layout) -> None:
    """Stop, and remove everything that was made on the machine."""
    stop(layout)
    ledger = layout.root / "installed-packages"
    if ledger.exists():
        names = " ".join(sorted(set(ledger.read_text().split())))
        print("Debian's packages stay; to remove those that were installed:")
        print(f"  apt-get purge {names}")
    _remove_network_lock()
    shutil.rmtree(layout.root)


def _remove_network_lock() -> None:
    """Remove the empty lock that buildah leaves where networks are configured, if it is alone."""
    lock = Path("/etc/cni/net.d/cni.lock")
    with contextlib.suppress(OSError):
        if list(lock.parent.iterdir()) == [lock] and not lock.stat().st_size:
            lock.unlink()
            lock.parent.rmdir()
            lock.parent.parent.rmdir()


def _healthy(layout: Layout) -> bool:
    if init_pid(layout) is None:
        return False
    try:
        return bool(Supervisor(layout.supervisor_socket).parts())
    except OSError:
        return False


def _make_files(layout: Layout) -> dict[str, str]:
    """Return what is written below ``<state>/etc``."""
    files = make_configs(layout)
    files["supervisord.conf"] = node_parts.make_supervisor_config(layout)
    files["init.env"] = network.init_assignments(layout)
    files["init.sh"] = (_HERE / "init.sh").read_text()
    files["crashes.py"] = (_HERE / "crashes.py").read_text()
    files["resolv.conf"] = network.resolvers()
    return files


def _install(layout: Layout, files: dict[str, str]) -> None:
    """Lay out programs, certificates and configuration for a node that does not run."""
    programs.link(layout)
    mounts.link(layout, mounts.mount_helper())
    plugins = layout.root / "cni" / "bin"
    for directory in (layout.logs, layout.data / "volumes", layout.exported, plugins):
        directory.mkdir(parents=True, exist_ok=True)
    credentials.make(layout)
    if not (layout.venv / "bin" / "supervisord").exists():
        call([sys.executable, "-m", "venv", layout.venv], "install Debian's python3-venv")
        call(
            [layout.venv / "bin" / "pip", "install", "--quiet", _SUPERVISOR],
            "see that this machine reaches PyPI",
        )
    for name, text in files.items():
        path = layout.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for plugin in (layout.debian / "usr" / "lib" / "cni").glob("*"):
        _link(plugins / plugin.name, plugin)
    _link(plugins / "calico", layout.bin / "calico")


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _launch(layout: Layout) -> None:
    layout.run.mkdir(mode=0o700)
    for crash in layout.logs.glob("*.crash"):
        crash.unlink()
    with (layout.logs / "init.log").open("w") as log:
        command = ["unshare", "--mount", "--propagation=private", "--pid", "--fork"]
        command += ["--mount-proc", "sh", f"{layout.etc}/init.sh", f"{layout.etc}/init.env"]
        launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 20
    while not layout.supervisor_socket.exists():
        if launcher.poll() is not None or time.monotonic() > deadline:
            said = (layout.logs / "init.log").read_text().strip().replace("\n", " | ")
            raise DeployError(
                "starting the node's first process",
                said or "it said nothing",
                f"read {layout.logs}/supervisord.log",
            )
        time.sleep(0.05)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    layout.init_pid.write_text(f"{children[0]} {_start_time(int(children[0]))}\n")


def _cgroup_directories() -> list[Path]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(where, at.CGROUP) for _, where, kind, *_ in mounts if kind.startswith("cgroup")]


def _make_cgroups() -> None:
    for directory in _cgroup_directories():
        with contextlib.suppress(FileNotFoundError):
            directory.mkdir(exist_ok=True)
        # A cpuset takes no process before it has processors and memory of its own.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (directory / name).exists() and (directory.parent / name).exists():
                (directory / name).write_text((directory.parent / name).read_text())


def _remove_cgroups() -> None:
    for directory in _cgroup_directories():
        if directory.exists():
            inner = sorted(directory.rglob("*/"), key=lambda path: -len(path.parts))
            for group in (*inner, directory):
                _remove_group(group)


def _remove_group(group: Path) -> None:
    # A dying process holds its group a moment longer.
    for _ in range(100):
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    raise DeployError(
        f"removing the control group {group}",
        "a process of it does not end",
        "end the processes that its cgroup.procs lists, and run it again",
    )
