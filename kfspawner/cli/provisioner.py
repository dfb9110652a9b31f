"""`kfspawner provisioner`: what the provisioner's Deployment runs."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click

from kfspawner.cli.age import AgeType
from kfspawner.homes.export import Export
from kfspawner.homes.mounter import Mounter
from kfspawner.homes.provisioner import Provisioner
from kfspawner.homes.service import Service
from kfspawner.homes.steps import Settings
from kfspawner.homes.volume import Server
from kfspawner.profiles.api import Api


@click.command(context_settings={"show_default": True})
@click.option(
    "--server",
    required=True,
    envvar="KFSPAWNER_NFS_SERVER",
    show_envvar=True,
    help="The NFS server that holds the homes, by the name or address that nodes reach it under.",
)
@click.option(
    "--path",
    required=True,
    envvar="KFSPAWNER_NFS_PATH",
    show_envvar=True,
    help="What it exports to them.",
)
@click.option(
    "--mount-options",
    default="hard",
    envvar="KFSPAWNER_NFS_MOUNT_OPTIONS",
    show_envvar=True,
    help="How nodes mount homes, with commas between, as in nfs(5).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/export"),
    help="Where this process has the export mounted.",
)
@click.option(
    "--retention",
    type=AgeType(),
    envvar="KFSPAWNER_RETENTION",
    show_envvar=True,
    help="How old an archive must be before `kfspawner homes purge` may delete it. Without it, "
    "nothing is ever deleted.",
)
@click.option(
    "--liveness-port",
    type=click.IntRange(1, 65535),
    default=8080,
    help="Answer here, on /healthz, as long as it lives.",
)
def provisioner(
    *,
    server: str,
    path: str,
    mount_options: str,
    root: Path,
    retention: timedelta | None,
    liveness_port: int,
) -> None:
    """Make people's homes on an NFS export, and put away those of who is gone.

    Runs in a pod of its own, which has the export mounted. Two at once do no
    harm.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = tuple(it.strip() for it in mount_options.split(",") if it.strip())
    settings = Settings(Server(server, path, options), retention)

    asyncio.run(_run(settings, root, liveness_port))


async def _run(settings: Settings, root: Path, liveness_port: int) -> None:
    async with await Api.connect() as api:
        export = Export(root, str(settings.server))
        provisioner = Provisioner(api, export, settings)
        mounter = Mounter(api, settings.server)
        service = Service(api, provisioner, mounter, settings.server)
        running = asyncio.ensure_future(service.run(liveness_port))
        # As a container's first process it would not end by itself.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        with suppress(asyncio.CancelledError):
            await running
