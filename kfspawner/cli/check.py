"""`kfspawner check`: what is wrong with a config, before a person finds it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import click
from traitlets.config import Config

from kfspawner.cli.config import find_config, load_config
from kfspawner.cli.connection import on_cluster
from kfspawner.cli.declared import Declared, Verdict, find_contradictions, read_declarations
from kfspawner.cli.rendering import Rendered, Renderer, largest, smallest
from kfspawner.cli.trying import Trial
from kfspawner.errors import ClusterUnreachable, Error, InputError, OptionRefused
from kfspawner.profiles.api import Api
from kfspawner.profiles.profile import Profile, Role
from kfspawner.quantity import read_quantity
from kfspawner.quota import PROFILE_QUOTA, QuotaExcess, Shortage, pod_usage
from kfspawner.servers.images import ImageProfile


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Check this file; without it, jupyterhub_config.py of this directory or of the hub's pod.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Ask no cluster: what only the API server knows is not found.",
)
def check(config: Path | None, *, offline: bool) -> None:
    """Find what is wrong with a config before a person does.

    Renders the server of every profile, image profile and role, and asks the
    cluster whether it would take it. Nothing is made or changed. Exits with 1
    if anything is wrong. With the hub's account:

        kubectl -n kfspawner exec deploy/hub -- kfspawner check
    """
    path = config or find_config()
    loaded = load_config(path)

    async def work(api: Api | None) -> list[Verdict]:
        found = []
        async for verdict in judge(loaded, api):
            found.append(verdict)
            click.echo(str(verdict))
        return found

    found = asyncio.run(work(None)) if offline else on_cluster(work)
    wrong = sum(verdict.wrong for verdict in found)
    click.echo(f"{len(found)} looked at in {path}, {wrong or 'nothing'} wrong.")
    if wrong:
        raise SystemExit(1)


async def judge(config: Config, api: Api | None) -> AsyncIterator[Verdict]:
    """Yield what there is to say of `config`, asking the cluster behind `api` if there is one."""
    declared = read_declarations(config)
    for verdict in declared.wrong:
        yield verdict
    namespace = os.environ.get("POD_NAMESPACE", "kfspawner")
    for verdict in find_contradictions(config, declared, namespace):
        yield verdict
    try:
        renderer = Renderer(config, declared, offline=api is None)
    except InputError as error:
        yield Verdict("the spawner", str(error), wrong=True)
        return
    judged = Judge(declared, renderer, await Trial.begin(api) if api else None)
    async for verdict in judged.verdicts():
        yield verdict


class Judge:
    """Looks at each profile with each image profile that it offers, in each role.

    Parameters
    ----------
    declared
        What the config declares.
    renderer
        Renders it.
    trial
        The cluster that is asked; None for none.
    """

    def __init__(self, declared: Declared, renderer: Renderer, trial: Trial | None) -> None:
        self._declared = declared
        self._renderer = renderer
        self._trial = trial

    async def verdicts(self) -> AsyncIterator[Verdict]:
        """Yield one for each profile, and one for each combination."""
        for profile in self._declared.all:
            called = self._declared.called(profile)
            if self._trial:
                yield await _judged(called, self._trial.try_profile(profile))
            for image_profile in self._declared.image_profiles.values():
                if profile.offers(image_profile.key):
                    for role in reversed(Role):
                        subject = f"{called}, image profile {image_profile.key}, role {role}"
                        yield await _judged(subject, self._look(profile, image_profile, role))

    async def _look(self, profile: Profile, image_profile: ImageProfile, role: Role) -> str:
        """Return what there is to say of a server; raise an Error if it would not do."""
        render = partial(self._renderer.render, profile, image_profile.key, role)
        if not role.may_spawn:
            return await _no_server(render({}))
        where = f"{self._declared.setting(profile)}['quota']"
        mend = f"raise {where}, or lower c.KfSpawner.image_profiles[{image_profile.key!r}]"
        kinds: dict[str, Mapping[str, object]] = {
            f"GPU kind {it.key}": {"gpu_kind": it.key} for it in image_profile.kinds.values()
        }
        for size, chosen in (
            ("the smallest size", smallest(image_profile)),
            *kinds.items(),
            ("the size that the form proposes", {}),
        ):
            rendered = await render(chosen)
            excess = find_excess(profile, rendered)
            if excess:
                raise InputError(f"choosing {size}", excess.describe(profile.name), mend)
        told = []
        excess = find_excess(profile, await render(largest(image_profile)))
        if excess:
            told.append(f"its largest size never fits: {excess.describe(profile.name)}")
        if self._trial:
            for manifest in (rendered.claim, rendered.pod):
                told.append(await self._trial.try_in(profile, manifest))
        return "; ".join(dict.fromkeys(filter(None, told)))


def find_excess(profile: Profile, rendered: Rendered) -> QuotaExcess | None:
    """Return what a profile's quota refuses of a server even while nothing else is there.

    Raises
    ------
    InputError
        If an amount of it is none.
    """
    storage = rendered.claim["spec"]["resources"]["requests"]["storage"]
    try:
        usage = pod_usage(rendered.pod["spec"])
        usage["requests.storage"] = read_quantity(storage)
    except ValueError as error:
        raise InputError("adding up the server", str(error), "correct c.KfSpawner") from error
    usage["persistentvolumeclaims"] = Fraction(1)
    hard = profile.quota.get("hard", {})
    limits = {resource: read_quantity(limit) for resource, limit in hard.items()}
    shortages = tuple(
        Shortage(resource, usage[resource], Fraction(0), limit)
        for resource, limit in limits.items()
        if usage.get(resource, 0) > limit
    )
    return QuotaExcess(PROFILE_QUOTA, shortages) if shortages else None


async def _no_server(rendered: Awaitable[Rendered]) -> str:
    try:
        await rendered
    except OptionRefused:
        return "no server is started, as it should be"
    raise InputError("starting a server", "who may only look starts one", "report this defect")


async def _judged(subject: str, work: Awaitable[str]) -> Verdict:
    try:
        return Verdict(subject, await work)
    except ClusterUnreachable:
        raise
    except Error as error:
        return Verdict(subject, str(error), wrong=True)
