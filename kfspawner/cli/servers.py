"""`kfspawner servers`: look at everyone's servers, and stop one."""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import UTC, datetime

import click

from kfspawner.cli.connection import on_cluster
from kfspawner.cli.server_listing import (
    DEFAULT,
    choose,
    describe,
    find_servers,
    make_table,
    read_events,
    to_json,
)
from kfspawner.errors import InputError
from kfspawner.hub.api import TOKEN_VARIABLE, URL_VARIABLE, HubApi
from kfspawner.profiles.api import Api, Object
from kfspawner.servers.orphans import find_orphans
from kfspawner.servers.server import CONTAINER, Server, explain

_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
_person = click.argument("person")
_server = click.argument("server", default="")
_profile = click.option("--profile", default="", help="Look in this profile; without it, in all.")


@click.group()
def servers() -> None:
    """Look at everyone's servers, and stop one.

    With the KUBECONFIG of the cluster's administrator; whoever may read the pods of
    one profile alone gives it. SERVER is the name of a named server, - the
    default one, and may be left out where PERSON has one.
    """


@servers.command("list")
@click.argument("profile", default="")
@_output
def list_(profile: str, output: str) -> None:
    """Show every server, a line each; of one PROFILE, or of all."""
    found = [it for it, _ in on_cluster(lambda api: find_servers(api, profile))]
    if output == "json":
        _print_json([to_json(it) for it in found])
    else:
        click.echo(make_table(found) if found else "There are no servers.")


@servers.command()
@_person
@_server
@_profile
@_output
def show(person: str, server: str, profile: str, output: str) -> None:
    """Show all that there is to say of a server of PERSON."""
    found, pod, events = on_cluster(lambda api: _look(api, person, server, profile))
    if output == "json":
        _print_json({**to_json(found), "why": explain(pod, events, datetime.now(UTC))})
    else:
        click.echo(describe(found, pod, events))


@servers.command()
@_person
@_server
@_profile
def why(person: str, server: str, profile: str) -> None:
    """Say what a server of PERSON waits for, or why it does not run.

    With KFSPAWNER_HUB_URL and KFSPAWNER_ADMIN_TOKEN, also of one that has no pod yet.
    """
    click.echo(on_cluster(lambda api: _why(api, person, server, profile)))


@servers.command()
@_person
@_server
@_profile
@click.option("--tail", default=100, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the server ends, or Ctrl-C.")
def logs(person: str, server: str, profile: str, tail: int, *, follow: bool) -> None:
    """Show the log of a server of PERSON."""

    async def work(api: Api) -> None:
        found, _ = await _find(api, person, server, profile)
        lines = api.log(found.pod, found.profile, CONTAINER, tail=tail, follow=follow)
        async with aclosing(lines):
            async for line in lines:
                click.echo(line)

    on_cluster(work)


@servers.command()
@_person
@_server
@_profile
@click.option("--pod", "by_pod", is_flag=True, help="Delete its pod, and do not ask the hub.")
def stop(person: str, server: str, profile: str, *, by_pod: bool) -> None:
    """Stop a server of PERSON; its files stay.

    The hub does it where KFSPAWNER_HUB_URL and KFSPAWNER_ADMIN_TOKEN are set. Else
    its pod is deleted, and the hub takes note of that at its next look.
    """
    click.echo(on_cluster(lambda api: _stop(api, person, server, profile, by_pod=by_pod)))


@servers.command()
@click.option(
    "--hub",
    "namespace",
    default="kfspawner",
    show_default=True,
    help="The namespace of the hub whose servers are meant.",
)
@_output
def orphans(namespace: str, output: str) -> None:
    """Show servers on the cluster that the hub does not have, a line each.

    With KFSPAWNER_HUB_URL and KFSPAWNER_ADMIN_TOKEN. Each can be stopped with `stop
    --pod`; with c.KfSpawner.orphans = "stop", the hub does that after a while.
    """
    found = on_cluster(lambda api: _find_orphans(api, namespace))
    if output == "json":
        _print_json([to_json(it) for it in found])
    else:
        click.echo(make_table(found) if found else "There are no orphans.")


async def _find_orphans(api: Api, namespace: str) -> list[Server]:
    hub = HubApi.from_env()
    if hub is None:
        raise InputError(
            "looking for orphans",
            "only the hub knows which servers it has",
            f"set {URL_VARIABLE} and {TOKEN_VARIABLE}",
        )
    async with hub:
        # What ends while the pods are listed is in the first answer, what begins in the last.
        owned = {key async for key in hub.pods()}
        found = await find_servers(api)
        owned |= {key async for key in hub.pods()}
    pods = {f"{it.profile}/{it.pod}": pod for it, pod in found}
    missing = {key for key, _ in find_orphans(pods, owned, namespace)}
    return [it for it, _ in found if f"{it.profile}/{it.pod}" in missing]


async def _why(api: Api, person: str, name: str, profile: str) -> str:
    try:
        server, pod, events = await _look(api, person, name, profile)
    except InputError:
        begun = await _begun(person, name)
        if not begun:
            raise
        return begun
    return f"{server}: {explain(pod, events, datetime.now(UTC))}"


async def _begun(person: str, name: str) -> str:
    """Return what a server without a pod waits for; nothing if the hub starts none, or is unknown.

    Before its pod, a start makes sure of its profile and of its files.
    """
    hub = HubApi.from_env()
    if hub is None:
        return ""
    async with hub:
        model = await hub.server(person, "" if name == DEFAULT else name)
    if model is None or model.get("pending") != "spawn":
        return ""
    profile = (model.get("state") or {}).get("namespace") or "unknown"
    return (
        f"{person}'s server in profile {profile}: the hub is starting it, and has made no pod yet. "
        f"It waits for the profile or for the files: see `kfspawner profiles show {profile}` and "
        f"`kfspawner homes show {profile} {person}`"
    )


async def _stop(api: Api, person: str, name: str, profile: str, *, by_pod: bool) -> str:
    server, _ = await _find(api, person, name, profile)
    hub = None if by_pod else HubApi.from_env()
    if hub is None:
        await api.delete("Pod", server.pod, server.profile, uid=server.uid)
        why_not = "" if by_pod else f" ({URL_VARIABLE} and {TOKEN_VARIABLE} are not both set)"
        return (
            f"Deleted the pod of {server}{why_not}. The hub takes note at its next look, within "
            f"c.KfSpawner.poll_interval seconds."
        )
    async with hub:
        if not await hub.has(server.person, server.name):
            raise InputError(
                f"stopping {server}",
                "the hub knows of no such server",
                "its pod is an orphan, see `kfspawner servers orphans`; with --pod it is deleted",
            )
        gone = await hub.stop(server.person, server.name)
    return f"The hub {'stopped' if gone else 'is stopping'} {server}."


async def _find(api: Api, person: str, name: str, profile: str) -> tuple[Server, Object]:
    return choose(await find_servers(api, profile), person, name)


async def _look(
    api: Api, person: str, name: str, profile: str
) -> tuple[Server, Object, list[Object]]:
    server, pod = await _find(api, person, name, profile)
    return server, pod, await read_events(api, server)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
