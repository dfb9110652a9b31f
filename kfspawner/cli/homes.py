"""`kfspawner homes`: look at people's files, put them away, give them back."""

from __future__ import annotations

import json
from datetime import timedelta

import click

from kfspawner.cli.adoption import adopt, carry_on, find_candidates, find_unfinished
from kfspawner.cli.age import AgeType
from kfspawner.cli.connection import on_cluster
from kfspawner.cli.home_listing import Home, describe, find_homes, make_table, show_size
from kfspawner.cli.home_requests import archive, hand_over, older_than, purge, restore
from kfspawner.errors import Error, InputError
from kfspawner.homes.place import Place
from kfspawner.names import namespace_name
from kfspawner.profiles.api import Api

_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
_person = click.argument("person", default="")


@click.group()
def homes() -> None:
    """Look at people's files, put them away, and give them back.

    With the KUBECONFIG of the cluster's administrator. Where a command takes a
    PERSON, leaving it out means the folder that the profile shares.
    """


@homes.command("list")
@click.argument("profile", default="")
@_output
def list_(profile: str, output: str) -> None:
    """Show every home and archive, a line each; of one PROFILE, or of all."""
    found = on_cluster(lambda api: find_homes(api, profile))
    if output == "json":
        _print_json(found)
    else:
        click.echo(make_table(found) if found else "There are no homes.")


@homes.command()
@click.argument("profile")
@_person
@_output
def show(profile: str, person: str, output: str) -> None:
    """Show all that there is to say of PERSON's files in PROFILE, and of their archives."""
    place = Place(profile, person)
    found = [it for it in on_cluster(lambda api: find_homes(api, profile)) if it.place == place]
    if not found:
        raise InputError(
            f"showing {place}", "there are no files there", "see `kfspawner homes list`"
        )
    if output == "json":
        _print_json(found)
    else:
        click.echo(describe(found))


@homes.command("archive")
@click.argument("profile")
@_person
def archive_(profile: str, person: str) -> None:
    """Put PERSON's files in PROFILE away: they get an empty home at their next start.

    Nothing is deleted. `kfspawner homes restore` gives them back.
    """
    place = Place(profile, person)
    stamp = on_cluster(lambda api: archive(api, place))
    click.echo(f"Archived {place} as {stamp}.")


@homes.command("restore")
@click.argument("profile")
@_person
@click.option("--from", "stamp", default="", help="Which archive, where there are several.")
@click.option("--to", "heir", default=None, help="Give them to this person instead.")
def restore_(profile: str, person: str, stamp: str, heir: str | None) -> None:
    """Give archived files back to PERSON in PROFILE, at their next start there.

    With --to, they become the home of somebody else, such as of PERSON under a new
    name: in the same profile, or from PERSON's own to theirs.
    """
    place = Place(profile, person)
    if heir is not None:
        own = profile == namespace_name(person)
        target = Place(namespace_name(heir) if own else profile, heir)
        found = on_cluster(lambda api: hand_over(api, place, stamp, target))
        click.echo(f"Gave {place}, archived as {found}, to {heir!r:.80} in {target.profile}.")
        return
    found = on_cluster(lambda api: restore(api, place, stamp))
    click.echo(f"Gave back {place}, archived as {found}.")


@homes.command("purge")
@click.argument("profile", default="")
@_person
@click.option(
    "--older-than", "age", type=AgeType(), required=True, help="Only what was archived before that."
)
@click.option("--yes", is_flag=True, help="Do not ask whether that is meant.")
def purge_(profile: str, person: str, age: timedelta, *, yes: bool) -> None:
    """Delete archives, for good; of PERSON in PROFILE, of one PROFILE, or of all.

    The provisioner refuses what is younger than its KFSPAWNER_RETENTION.
    """
    found = older_than(on_cluster(lambda api: find_homes(api, profile)), age)
    chosen = [it for it in found if person in ("", it.place.person)]
    if not chosen:
        click.echo("No archive is that old.")
        return
    click.echo(make_table(chosen))
    size = sum(it.volume.used or 0 for it in chosen if it.volume)
    if not yes:
        what = "this archive" if len(chosen) == 1 else f"these {len(chosen)} archives"
        click.confirm(f"Delete {what}, {show_size(size)} of files, for good?", abort=True)
    on_cluster(lambda api: purge(api, chosen))
    click.echo(f"Deleted {len(chosen)}.")


@homes.command("adopt")
@click.option("--from", "namespace", default="", help="Look in this namespace; without it, in all.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def adopt_(namespace: str, *, dry_run: bool) -> None:
    """Make homes of the claims that KubeSpawner made, with their files.

    Each person's volume is bound anew, in their own profile; it is Retain from
    then on. Their servers must be stopped. Exits with 1 if a claim stays as it is.
    """
    stays = on_cluster(lambda api: _adopt(api, namespace, dry_run=dry_run))
    if stays:
        raise SystemExit(1)


async def _adopt(api: Api, namespace: str, *, dry_run: bool) -> int:
    """Adopt what can be; return how many claims stay as they are."""
    stays = 0
    unfinished = await find_unfinished(api)
    for volume in unfinished:
        told = f"volume {volume['metadata']['name']}"
        if dry_run:
            click.echo(f"{told}: was begun with, and would be finished")
            continue
        try:
            click.echo(f"{told}: is now {await carry_on(api, volume)}")
        except Error as error:
            stays += 1
            click.echo(f"{told}: {error}", err=True)
    begun = {it["metadata"]["name"] for it in unfinished}
    found = [it for it in await find_candidates(api, namespace) if it.volume not in begun]
    for it in found:
        if it.why_not:
            stays += 1
            click.echo(f"{it}: stays; {it.why_not}")
        elif dry_run:
            click.echo(f"{it}: would become {it.home}")
        else:
            try:
                await adopt(api, it)
            except Error as error:
                stays += 1
                click.echo(f"{it}: {error}", err=True)
            else:
                click.echo(f"{it}: is now {it.home}")
    if not found and not unfinished:
        click.echo("There are no claims of KubeSpawner's.")
    return stays


def _print_json(found: list[Home]) -> None:
    click.echo(json.dumps([it.to_json() for it in found], indent=2, ensure_ascii=False))
