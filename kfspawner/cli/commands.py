"""`kfspawner`: which commands there are, and how one fails."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from kfspawner import __version__
from kfspawner.errors import Error

# Each is imported when it is asked for: the controller has no need of JupyterHub.
_COMMANDS = {
    "check": "kfspawner.cli.check:check",
    "controller": "kfspawner.cli.controller:controller",
    "homes": "kfspawner.cli.homes:homes",
    "idle": "kfspawner.cli.idle:idle",
    "profiles": "kfspawner.cli.profiles:profiles",
    "provisioner": "kfspawner.cli.provisioner:provisioner",
    "servers": "kfspawner.cli.servers:servers",
}


class Commands(click.Group):
    """The commands of `kfspawner`. What they refuse is one paragraph, and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, or None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run what was asked for."""
        try:
            return super().invoke(ctx)
        except Error as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kfspawner")
def main() -> None:
    """JupyterHub for teams that share a Kubernetes cluster."""
