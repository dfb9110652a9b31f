"""Builds images, each after its base, and two at a time where they allow it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import as_completed
from pathlib import Path

from deploy.errors import DeployError
from deploy.images.engine import Engine, Lent
from deploy.images.lend import lend
from deploy.images.plan import CHECKOUT, CONTEXT, PUSHED, Image
from deploy.images.rootfs import make_command
from deploy.images.work import Report, in_parallel, read_images, run


def build_images(
    engine: Engine, plan: Mapping[str, Image], names: Iterable[str], report: Report
) -> None:
    """Build those of the images `names` that the storage lacks, and their bases.

    Raises
    ------
    DeployError
        If one cannot be built; those before it stay.
    """
    there = read_images(engine)
    todo = choose(plan, names, there)
    if not todo:
        return
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lent-", dir=engine.storage) as directory:
        lent = Lent(Path(directory, "host"), Path(directory, "project"))
        lent.host.mkdir()
        lent.project.mkdir()
        lend(lent.host)

        def chain(*wanted: str) -> None:
            for image in todo:
                if image.name in wanted:
                    _build(engine, plan, image, lent, report)

        with in_parallel(2) as pool:
            wheel = pool.submit(build_wheel, lent.project)
            chain("debian", "base")
            wheel.result()
            # The hub waits mostly for its downloads, the servers' image for the disk.
            branches = [pool.submit(chain, "cpu", "gpu"), pool.submit(chain, "hub")]
            for branch in as_completed(branches):
                branch.result()
    report(f"images: built {', '.join(i.name for i in todo)} in {time.monotonic() - begun:.1f} s")


def choose(plan: Mapping[str, Image], names: Iterable[str], there: set[str]) -> list[Image]:
    """Return what is to be built for `names` where the storage has `there`, bases first."""
    wanted: set[str] = set()
    for name in names:
        image = plan.get(name)
        while image and image.local not in there:
            wanted.add(image.name)
            image = plan.get(image.base)
    return [image for image in plan.values() if image.name in wanted]


def build_wheel(directory: Path, checkout: Path = CHECKOUT) -> None:
    """Build the project's own wheel into `directory`.

    Raises
    ------
    DeployError
        If pip does not build it.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    done = subprocess.run(
        [*command, str(directory), str(checkout)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeployError(
            f"building the wheel of {checkout}",
            (done.stderr or done.stdout).strip()[-800:].replace("\n", " | "),
            "see that this Python has pip, and that pip reaches its package index",
        )


def _build(
    engine: Engine, plan: Mapping[str, Image], image: Image, lent: Lent, report: Report
) -> None:
    begun = time.monotonic()
    base = plan[image.base].local if image.base in plan else image.base
    doing = f"building image {image.name}"
    if image.name in PUSHED:
        run(engine, engine.build(image, base, lent, CONTEXT), doing, report)
    else:
        _build_debian(engine, image, lent, doing, report)
    report(f"{image.name}: built in {time.monotonic() - begun:.1f} s")


def _build_debian(engine: Engine, image: Image, lent: Lent, doing: str, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=engine.storage) as directory:
        target = Path(directory, "rootfs.tar")
        report(f"{image.name}: making a root file system from Debian's packages")
        run(engine, engine.private(*make_command(target)), doing, report)
        shutil.copy(CONTEXT / image.name / "Containerfile", directory)
        run(engine, engine.build(image, "", lent, Path(directory)), doing, report)
