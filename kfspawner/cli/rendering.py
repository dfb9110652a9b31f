"""The pods and claims that a config makes, rendered by the spawner itself, without a hub."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import kubespawner.spawner
from jupyterhub.spawner import Spawner
from jupyterhub.traitlets import EntryPointType
from jupyterhub.utils import maybe_future
from traitlets import HasTraits, TraitError
from traitlets.config import Config

from kfspawner.cli.config import read_setting
from kfspawner.cli.declared import SOMEBODY, Declared
from kfspawner.errors import Error, InputError
from kfspawner.profiles.directory import Choice, Directory
from kfspawner.profiles.profile import Manifest, Profile, Role, make_personal
from kfspawner.profiles.standing import Standing
from kfspawner.profiles.uids import UidRange
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.spawner import KfSpawner

_DOING = "reading the config"
# Where the config gives none, which is told elsewhere, the rest is rendered all the same.
_NO_REGISTRY = "registry.invalid"


@dataclass(frozen=True)
class Rendered:
    """What a start would send to the cluster."""

    pod: Manifest
    claim: Manifest


class Renderer:
    """Makes spawners as the hub does, for somebody, in one profile at a time.

    Parameters
    ----------
    config
        The administrator's.
    declared
        What of it can be had: the rest is left out.
    offline
        Whether to do without the address of a cluster.

    Raises
    ------
    InputError
        If the config has no spawner of ours, or a setting that the spawner refuses.
    """

    def __init__(self, config: Config, declared: Declared, *, offline: bool) -> None:
        self._offline = offline
        self._config = _without_mistakes(config, declared)
        self._directory = _OneChoice()
        self._class = _on(find_spawner_class(config), self._directory)
        # Whatever the spawner refuses of its settings, it refuses once and not in each profile.
        own = make_personal(SOMEBODY, {})
        self._make(Choice(own, Role.ADMIN, Standing(own, ready=True)))

    async def render(
        self, profile: Profile, image_profile: str, role: Role, size: Mapping[str, object]
    ) -> Rendered:
        """Return what somebody with a role in a profile would start.

        Parameters
        ----------
        profile, image_profile, role
            Where, what, and as what.
        size
            ``cpu``, ``memory`` and ``gpu``; what it leaves out is what the form proposes.

        Raises
        ------
        Error
            If it would be refused, or if the config cannot be rendered.
        """
        spawner = self._make(Choice(profile, role, Standing(profile, ready=True)))
        spawner.user_options = {"profile": profile.name, "image_profile": image_profile, **size}
        try:
            await spawner.load_user_options()
            pod = await spawner.get_pod_manifest()
            if spawner.modify_pod_hook:
                pod = await maybe_future(spawner.modify_pod_hook(spawner, pod))
        except Error:
            raise
        except Exception as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError("rendering the pod", cause, "correct c.KfSpawner") from error
        sent: Manifest = spawner.api.api_client.sanitize_for_serialization(pod)
        sent["metadata"]["namespace"] = spawner.namespace
        return Rendered(sent, spawner.get_pvc_manifest())

    def _make(self, choice: Choice) -> KfSpawner:
        user = SimpleNamespace(
            name=SOMEBODY, id=0, url=f"/user/{SOMEBODY}/", escaped_name=SOMEBODY, groups=[]
        )
        hub = SimpleNamespace(public_host="", base_url="/hub/", api_url="http://hub/hub/api")
        self._directory.choice = choice
        with _no_address() if self._offline else nullcontext():
            try:
                spawner = self._class(
                    user=user,
                    hub=hub,
                    orm_spawner=SimpleNamespace(name="", server=None, user_options=None),
                    config=self._config,
                )
            except TraitError as error:
                cause = " ".join(str(error).split())
                raise InputError(_DOING, cause, "correct it") from error
        return spawner


def find_spawner_class(config: Config) -> type[KfSpawner]:
    """Return the spawner class that the config names.

    Raises
    ------
    InputError
        If it is not ours, nor made of it.
    """
    named = config["JupyterHub"].get("spawner_class", "")
    way_out = 'set c.JupyterHub.spawner_class = "kfspawner"'
    try:
        found: type = _Hub(spawner_class=named).spawner_class
    except (TraitError, ImportError) as error:
        cause = " ".join(str(error).split())
        raise InputError("looking for the spawner", cause, way_out) from error
    if not issubclass(found, KfSpawner):
        raise InputError("looking for the spawner", f"{named!r} is not KfSpawner", way_out)
    return found


def smallest(image_profile: ImageProfile) -> dict[str, object]:
    """Return the least that can be chosen of an image profile."""
    return {name: _whole(it.minimum) for name, it in _ranges(image_profile)}


def largest(image_profile: ImageProfile) -> dict[str, object]:
    """Return the most that can be chosen of an image profile."""
    return {name: _whole(it.maximum) for name, it in _ranges(image_profile)}


def _ranges(image_profile: ImageProfile) -> Iterator[tuple[str, Range]]:
    yield "cpu", image_profile.cpu
    yield "memory", image_profile.memory
    if image_profile.gpu:
        yield "gpu", image_profile.gpu


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


class _Hub(HasTraits):
    """What JupyterHub makes of a spawner's name."""

    spawner_class = EntryPointType(klass=Spawner, entry_point_group="jupyterhub.spawners")


class _OneChoice(Directory):
    """A hub's view of a cluster with one profile, which stands, for one person."""

    choice: Choice

    def __init__(self) -> None:
        """Nobody has a profile yet."""

    async def ready(self, seconds: float = 0.0) -> None:
        """Everything is known."""

    async def ensure_personal(self, user: str, template: Mapping[str, Any]) -> str:
        """Return the name that a person's own profile has."""
        return make_personal(user, template).name

    async def ensure_uid(self, user: str, uids: UidRange) -> int:  # noqa: ARG002
        """Return a uid that they might have."""
        return uids.first

    def is_alone(self, name: str, user: str) -> bool:  # noqa: ARG002
        """Nobody else is there."""
        return True

    def choices(self, user: str, groups: Collection[str]) -> list[Choice]:  # noqa: ARG002
        """Return the one."""
        return [self.choice]


def _on(base: type[KfSpawner], directory: Directory) -> type[KfSpawner]:
    """Return `base`, and called so in messages, as it is where `directory` is all there is."""
    seen = {"_directory": property(lambda _: directory), "_follow_removals": lambda _: None}
    found: type[KfSpawner] = type(base.__name__, (base,), seen)
    return found


@contextmanager
def _no_address() -> Iterator[None]:
    """Let KubeSpawner do without a kubeconfig: it asks for one before it is asked for anything."""
    kept = kubespawner.spawner.load_config
    kubespawner.spawner.load_config = lambda **_: None
    try:
        yield
    finally:
        kubespawner.spawner.load_config = kept


def _without_mistakes(config: Config, declared: Declared) -> Config:
    """Return the config with what can be had of it, so that one mistake hides no other."""
    left = copy.deepcopy(config)
    left.KfSpawner.image_profiles = {
        key: value
        for key, value in read_setting(config, "image_profiles").items()
        if key in declared.image_profiles
    }
    left.KfSpawner.profiles = {}
    if declared.personal is None:
        left.KfSpawner.personal_profile = {}
    if not config["KfSpawner"].get("registry_prefix"):
        left.KfSpawner.registry_prefix = _NO_REGISTRY
    return left
