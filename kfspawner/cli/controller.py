"""`kfspawner controller`: what the controller's Deployment runs."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import click

from kfspawner.errors import InputError
from kfspawner.profiles.controller import Settings, run_controller
from kfspawner.profiles.surroundings import Opening, read_opening

# What each request and each event would say.
_TALKATIVE = ("kopf", "aiohttp.access")


class _OpeningType(click.ParamType):  # type: ignore[type-arg]
    """``CIDR:PORT``; in an environment variable several, with spaces or commas between."""

    name = "CIDR:PORT"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the openings in the variable's value."""
        return [text for text in re.split(r"[\s,]+", rv) if text]

    def convert(self, value: Any, param: Any, ctx: Any) -> Opening:
        """Return the opening that `value` writes."""
        if isinstance(value, Opening):
            return value
        try:
            return read_opening(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


@click.command(context_settings={"show_default": True})
@click.option(
    "--hub-namespace",
    default="kfspawner",
    envvar="POD_NAMESPACE",
    show_envvar=True,
    help="The namespace of the hub and its proxy.",
)
@click.option(
    "--hub-account",
    default="hub",
    help="The service account that the hub runs as: a name in --hub-namespace, or NAMESPACE/NAME.",
)
@click.option(
    "--open",
    "openings",
    type=_OpeningType(),
    multiple=True,
    envvar="KFSPAWNER_OPENINGS",
    show_envvar=True,
    help="Let the pods of all profiles reach this in private networks: the registry, for one. "
    "May be given again.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    envvar="KFSPAWNER_CA_FILE",
    show_envvar=True,
    help="Give servers the certificate authorities in this PEM file. It is read again when it "
    "changes.",
)
@click.option(
    "--walls-only",
    is_flag=True,
    envvar="KFSPAWNER_WALLS_ONLY",
    show_envvar=True,
    help="Beside Kubeflow's own controller: add the walls, and leave the rest to that one.",
)
@click.option(
    "--liveness-port",
    type=click.IntRange(1, 65535),
    default=8080,
    help="Answer here, on /healthz, as long as it lives.",
)
def controller(
    hub_namespace: str,
    hub_account: str,
    openings: tuple[Opening, ...],
    ca_file: Path | None,
    *,
    walls_only: bool,
    liveness_port: int,
) -> None:
    """Keep the cluster like its Profiles say, for ever.

    Runs in a pod of its own, with an account of its own.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    account = hub_account if "/" in hub_account else f"{hub_namespace}/{hub_account}"
    run_controller(
        Settings(
            hub_namespace=hub_namespace,
            hub_account=account,
            openings=openings,
            ca_file=ca_file,
            walls_only=walls_only,
            liveness_port=liveness_port,
        )
    )
