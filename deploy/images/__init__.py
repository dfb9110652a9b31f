"""Builds the images and brings them to a registry.

`build` needs no registry and may run before there is one; `push` sends what
was built; `build_all` does of both only what the registry still lacks. All
three may be called again at any time, and do nothing twice.
"""

from __future__ import annotations

from dataclasses import replace

from deploy.images.building import build_images
from deploy.images.engine import find_engine
from deploy.images.plan import PUBLIC_BASE, PUSHED, Choices, Image, make_plan
from deploy.images.pushing import find_digests, push_images, tidy
from deploy.images.rootfs import can_make_rootfs
from deploy.images.work import Report, workshop
from deploy.node.layout import Layout

__all__ = ["build", "build_all", "push"]


def build(*, report: Report = print) -> None:
    """Build the images that this machine's storage lacks.

    Raises
    ------
    DeployError
        If one cannot be built; those before it stay.
    """
    with workshop(find_engine(Layout.from_env().root), report) as engine:
        build_images(engine, _plan(), PUSHED, report)


def push(registry_prefix: str, *, plain_http: bool, report: Report = print) -> dict[str, str]:
    """Send the images that the registry lacks; return the reference by digest of each.

    Parameters
    ----------
    registry_prefix
        ``host[:port]/path``; an image goes to ``<prefix>/<name>:<hash>``.
    plain_http
        Whether the registry speaks HTTP without TLS.
    report
        Told of each step in a line.

    Raises
    ------
    DeployError
        If an image was not built, or the registry does not take it.
    """
    return _bring(registry_prefix, plain_http=plain_http, report=report, may_build=False)


def build_all(registry_prefix: str, *, plain_http: bool, report: Report = print) -> dict[str, str]:
    """Build and send what the registry lacks; else as `push`."""
    return _bring(registry_prefix, plain_http=plain_http, report=report, may_build=True)


def _plan() -> dict[str, Image]:
    choices = Choices.from_env()
    if not choices.base and not can_make_rootfs():
        choices = replace(choices, base=PUBLIC_BASE)
    return make_plan(choices)


def _bring(prefix: str, *, plain_http: bool, report: Report, may_build: bool) -> dict[str, str]:
    plan = _plan()
    digests = find_digests(plan, prefix, plain_http=plain_http)
    missing = [name for name in PUSHED if name not in digests]
    if missing:
        with workshop(find_engine(Layout.from_env().root), report) as engine:
            if may_build:
                build_images(engine, plan, missing, report)
            to = {name: plan[name].reference(prefix) for name in missing}
            digests |= push_images(engine, plan, to, report, plain_http=plain_http)
            tidy(engine, plan)
    return {name: f"{prefix.rstrip('/')}/{name}@{digests[name]}" for name in PUSHED}
