"""`kfspawner profiles`: look at the Profiles of the cluster, and change them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TextIO

import click

from kfspawner.cli.applying import (
    CONFIG_MANAGER,
    FILE_MANAGER,
    Applied,
    apply_all,
    left_over,
    read_all_declared,
    read_manifests,
)
from kfspawner.cli.config import find_config, load_config, read_setting
from kfspawner.cli.connection import no_such_profile, on_cluster
from kfspawner.cli.listing import Found, describe, make_table, read_found, to_json
from kfspawner.cli.membership import add_member, remove_member
from kfspawner.errors import ClusterDenied, InputError
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.profile import Role, make_profile

_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.group()
def profiles() -> None:
    """Look at Profiles, and change who is in them.

    With KUBECONFIG; in the hub's pod with the hub's account, which changes no
    members. To do that, a Profile's admin needs no more than the rights in its
    namespace.
    """


@profiles.command("list")
@_output
def list_(output: str) -> None:
    """Show every Profile, a line each."""
    found = on_cluster(_find_all)
    if output == "json":
        _print_json([it.to_json() for it in found])
    else:
        click.echo(make_table(found) if found else "There are no profiles.")


@profiles.command()
@click.argument("name")
@_output
def show(name: str, output: str) -> None:
    """Show all that there is to say of the Profile NAME."""
    found, quotas, pods, unread = on_cluster(lambda api: _look(api, name))
    if output == "json":
        _print_json(to_json(found, quotas, pods))
    else:
        click.echo(describe(found, quotas, pods))
    for error in unread:
        click.echo(f"Not shown: {error}", err=True)


@profiles.command("add-member")
@click.argument("name")
@click.argument("user")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.EDIT.value,
    show_default=True,
    help="view may look, edit may start servers and runs, admin may add members.",
)
def add_member_(name: str, user: str, role: str) -> None:
    """Make USER a member of the Profile NAME, or change their role in it."""
    _say(lambda api: add_member(api, name, user, Role(role)))


@profiles.command("remove-member")
@click.argument("name")
@click.argument("user")
def remove_member_(name: str, user: str) -> None:
    """Make USER no longer a member of the Profile NAME."""
    _say(lambda api: remove_member(api, name, user))


@profiles.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Apply what c.KfSpawner.profiles declares in this file; without it, in "
    "jupyterhub_config.py of this directory or of the hub's pod.",
)
@click.option(
    "-f",
    "--filename",
    "file",
    type=click.File(encoding="utf-8"),
    help="Apply the Profiles in this YAML file instead; - is the standard input.",
)
def apply(config: Path | None, file: TextIO | None) -> None:
    """Put Profiles on the cluster: those of the config, or of a file.

    All of them are checked before the first is applied. Nothing is deleted:
    what the config no longer declares is named.
    """
    if config and file:
        raise click.UsageError("give --config or --filename, not both")
    if file:
        manifests = read_manifests(file.name, _read(file))
        _tell(on_cluster(lambda api: apply_all(api, manifests, FILE_MANAGER)))
        return
    declared = read_setting(load_config(config or find_config()), "profiles")
    manifests = [make_profile(it) for it in read_all_declared(declared)]

    async def work(api: Api) -> tuple[list[Applied], list[str]]:
        return await apply_all(api, manifests, CONFIG_MANAGER), await left_over(api, declared)

    applied, left = on_cluster(work)
    _tell(applied)
    for name in left:
        click.echo(
            f"{name}: the config no longer declares it; it stays as it is until somebody deletes "
            f"it with kubectl"
        )
    if not applied and not left:
        click.echo("The config declares no profiles.")


async def _find_all(api: Api) -> list[Found]:
    objects, _ = await api.list("Profile")
    bindings = defaultdict[str, list[Object]](list)
    for binding in (await api.list("RoleBinding"))[0] if objects else ():
        bindings[binding["metadata"]["namespace"]].append(binding)
    found = (read_found(it, bindings[it["metadata"]["name"]]) for it in objects)
    return sorted(found, key=lambda it: it.name)


async def _look(
    api: Api, name: str
) -> tuple[Found, list[Object], list[Object], list[ClusterDenied]]:
    obj = await api.get("Profile", name)
    if obj is None:
        raise no_such_profile(f"showing {name}", name)
    unread: list[ClusterDenied] = []
    found: dict[str, list[Object]] = {}
    for kind in ("RoleBinding", "ResourceQuota", "Pod"):
        try:
            found[kind], _ = await api.list(kind, name)
        except ClusterDenied as error:
            found[kind] = []
            unread.append(error)
    return read_found(obj, found["RoleBinding"]), found["ResourceQuota"], found["Pod"], unread


def _say(work: Callable[[Api], Awaitable[list[str]]]) -> None:
    for sentence in on_cluster(work):
        click.echo(sentence)


def _tell(applied: list[Applied]) -> None:
    for it in applied:
        click.echo(f"{it.name}: {it.outcome}")


def _read(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise InputError(f"reading {file.name}", "it is not UTF-8", "give a YAML file") from error


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
