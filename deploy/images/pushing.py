"""Sends images to a registry, and keeps the storage free of what they replace."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.errors import DeployError
from deploy.images.engine import Engine
from deploy.images.plan import LOCAL, PUSHED, Image
from deploy.images.registry import find_digest
from deploy.images.work import Report, in_parallel, read_images, run, succeeds

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def find_digests(plan: Mapping[str, Image], prefix: str, *, plain_http: bool) -> dict[str, str]:
    """Return the digests of those images that the registry at `prefix` has."""
    found = {}
    for name in PUSHED:
        digest = find_digest(plan[name].reference(prefix), plain_http=plain_http)
        if digest:
            found[name] = digest
    return found


def push_images(
    engine: Engine,
    plan: Mapping[str, Image],
    to: Mapping[str, str],
    report: Report,
    *,
    plain_http: bool,
) -> dict[str, str]:
    """Send each image that `to` gives a reference, and return their digests.

    Raises
    ------
    DeployError
        If an image was not built, or the registry does not take it.
    """
    there = read_images(engine)
    for name in to:
        if plan[name].local not in there:
            raise DeployError(
                f"pushing image {name}", "it was not built", "run python3 -m deploy.images build"
            )

    def send(name: str) -> str:
        begun = time.monotonic()
        digest = _push(engine, plan[name], to[name], plain_http=plain_http, report=report)
        report(f"{name}: pushed in {time.monotonic() - begun:.1f} s, {digest[:19]}")
        return digest

    digests: dict[str, str] = {}
    # What stands on another goes after it, and sends only its own layers.
    for group in (("base",), ("hub", "cpu"), ("gpu",)):
        names = [name for name in group if name in to]
        with in_parallel(len(group)) as pool:
            digests |= dict(zip(names, pool.map(send, names), strict=True))
    return digests


def tidy(engine: Engine, plan: Mapping[str, Image]) -> None:
    """Remove from our own storage what is in no plan any more, and what nothing stands on."""
    if engine.tool != "buildah":
        return
    kept = {image.local for image in plan.values()}
    ours = f"{LOCAL}/"
    old = [name for name in read_images(engine) if name.startswith(ours) and name not in kept]
    if old:
        succeeds(engine, engine.remove(sorted(old)))
        succeeds(engine, engine.command("rmi", "--prune"))


def _push(engine: Engine, image: Image, reference: str, *, plain_http: bool, report: Report) -> str:
    doing = f"pushing {reference.rpartition(':')[0]}"
    with tempfile.TemporaryDirectory(prefix="kfspawner-push-") as directory:
        digest_file = Path(directory, "digest")
        said = ""
        for command in engine.push(image, reference, digest_file, plain_http=plain_http):
            said = run(engine, command, doing, report)
        if digest_file.exists():
            said = digest_file.read_text()
    found = _DIGEST.findall(said)
    if not found:
        raise DeployError(doing, f"{engine.tool} names no digest", "push it again")
    return str(found[-1])
