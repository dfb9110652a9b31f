"""`kfspawner idle`: the service of the hub that stops what nobody uses."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from kfspawner.cli.age import AgeType
from kfspawner.context import SECRET_VARIABLE
from kfspawner.errors import InputError
from kfspawner.hub.api import URL_VARIABLE, HubApi
from kfspawner.hub.asking import Servers
from kfspawner.hub.idle import Idle, Rules
from kfspawner.hub.limits import read_limits

_AGE = AgeType()


class PairType(click.ParamType):  # type: ignore[type-arg]
    """A name and what stands for it: ``gpu=4h``."""

    def __init__(self, name: str, read: Callable[[str, Any, Any], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        """Return the two."""
        if isinstance(value, tuple):
            return value
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            self.fail(f"{value!r} is not written as {self.name}", param, ctx)
        return name, self._read(rest, param, ctx)


@click.command(context_settings={"show_default": True})
@click.option("--after", type=_AGE, help="After which time any server is stopped; never, if unset.")
@click.option(
    "--image-profile",
    "image_profiles",
    multiple=True,
    type=PairType("KEY=TIME", _AGE.convert),
    help="After which time those of an image profile are; may be given several times.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=PairType("NAME=TIME", _AGE.convert),
    help="The same for a profile, or with NAME/KEY for an image profile there. Of several that "
    "fit a server, the last counts, then the shorter.",
)
@click.option(
    "--warning", type=_AGE, default="10m", help="How long before that JupyterLab shows a warning."
)
@click.option(
    "--demote",
    multiple=True,
    type=PairType("KEY=KEY", lambda value, _param, _ctx: value),
    help="Start those of an image profile anew as another, with the same files; may be given "
    "several times.",
)
@click.option("--every", type=_AGE, default="1m", help="How long between two looks at all.")
def idle(
    after: timedelta | None,
    image_profiles: tuple[tuple[str, timedelta], ...],
    profiles: tuple[tuple[str, timedelta], ...],
    warning: timedelta,
    demote: tuple[tuple[str, str], ...],
    every: timedelta,
) -> None:
    """Stop servers that nobody uses; as a service of the hub, which starts it.

    A server with a kernel or a terminal's job at work is in use, and so is one whose
    person touches it; an open window alone is not use.
    """
    logging.basicConfig(level=logging.INFO, format="[%(levelname).1s %(asctime)s idle] %(message)s")
    rules = Rules(read_limits(after, image_profiles, profiles), warning, dict(demote))
    url = os.environ.get(URL_VARIABLE) or _required("JUPYTERHUB_API_URL")
    token, secret = _required("JUPYTERHUB_API_TOKEN"), _required(SECRET_VARIABLE)

    async def work() -> None:
        hub = HubApi(url.removesuffix("/hub/api"), token)
        async with hub, Servers(secret) as servers:
            await Idle(hub, servers, rules).follow(every.total_seconds())

    asyncio.run(work())


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InputError(
            "starting the service for idle servers",
            f"{name} is not set",
            "have the hub start it, as in jupyterhub_config.py",
        )
    return value
