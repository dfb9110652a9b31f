"""Runs the container tool, tells of its steps, and keeps what it says in a log."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.errors import DeployError
from deploy.images.engine import Engine

Report = Callable[[str], None]

# What is to be ended where another part fails.
_running: set[subprocess.Popen[str]] = set()

# Where container tools of root remember which registry has which blob.
_BLOB_CACHE = Path("/var/lib/containers/cache")
_STEP = re.compile(r"^(?:\[\d/\d\] )?STEP (\d+/\d+): (RUN|COPY|ADD) (.*)")
_MOUNT = re.compile(r"--mount=\S+\s+")
# What buildah says of any failure, after what failed has spoken.
_NOISE = ("STEP ", "-->", "Error: building at STEP", "subprocess exited")
_TAIL_LINES = 6
_STEP_WIDTH = 60


def run(engine: Engine, command: list[str], doing: str, report: Report) -> str:
    """Run `command` to its end; return what it printed.

    Raises
    ------
    DeployError
        If it fails: with its last lines and the place of its log.
    """
    title = doing.rsplit(maxsplit=1)[-1]
    log = engine.state / "logs" / f"images-{title.replace('/', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    lines: list[str] = []
    with (
        log.open("a", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=engine.environment(),
        ) as running,
    ):
        assert running.stdout is not None  # noqa: S101  PIPE was asked for
        _running.add(running)
        for line in running.stdout:
            kept.write(line)
            lines.append(line.rstrip())
            step = _STEP.match(line)
            if step:
                what = f"{step[2]} {_MOUNT.sub('', step[3])}"[:_STEP_WIDTH].strip()
                report(f"{title}: {time.monotonic() - begun:5.1f} s  {step[1]} {what}")
    _running.discard(running)
    if running.returncode:
        said = [line for line in lines if line and not line.startswith(_NOISE)][-_TAIL_LINES:]
        last = " | ".join(said)[-800:] or f"status {running.returncode}"
        raise DeployError(doing, last, f"the whole of it is in {log}")
    return "\n".join(lines)


@contextmanager
def in_parallel(width: int) -> Iterator[ThreadPoolExecutor]:
    """Have a pool for calls of `run` that ends all of them if one fails, or at Ctrl-C."""
    with ThreadPoolExecutor(width) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for running in list(_running):
                running.kill()
            raise


def succeeds(engine: Engine, command: list[str]) -> bool:
    """Say whether `command` ends with status 0."""
    done = subprocess.run(command, capture_output=True, env=engine.environment(), check=False)
    return done.returncode == 0


def read_images(engine: Engine) -> set[str]:
    """Return the references in the storage."""
    done = subprocess.run(
        engine.references(), capture_output=True, text=True, env=engine.environment(), check=False
    )
    if done.returncode:
        raise DeployError(
            f"listing the images of {engine.tool}",
            done.stderr.strip()[-400:].replace("\n", " | "),
            f"see that {engine.tool} works for this user",
        )
    return set(done.stdout.split())


@contextmanager
def workshop(engine: Engine, report: Report) -> Iterator[Engine]:
    """Have the storage alone, free of what a build left that was killed."""
    engine.storage.mkdir(parents=True, exist_ok=True)
    with (engine.storage / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("images: waiting for another build of this machine to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # In `run` are counts of mounts; all of those went with their namespaces.
        for pattern in ("lent-*", "rootfs-*", "run"):
            for left in engine.storage.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)
        if engine.tool == "buildah":
            succeeds(engine, engine.command("rm", "--all"))
        try:
            yield engine
        finally:
            # Only a place to bind our own on; another's has something in it.
            for place in (_BLOB_CACHE, _BLOB_CACHE.parent):
                with suppress(OSError):
                    place.rmdir()
