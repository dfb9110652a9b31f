"""What the config declares, part by part, and what is wrong with it before a cluster is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from traitlets.config import Config

from kfspawner.cli.config import read_setting
from kfspawner.errors import Error
from kfspawner.names import PERSONAL_PREFIX
from kfspawner.profiles.profile import Profile, make_personal, read_declared
from kfspawner.servers.images import ImageProfile, read_image_profiles

T = TypeVar("T")

# What a ResourceQuota counts. Of anything else the API server refuses it, or never counts it.
_QUOTA_KEY = re.compile(
    r"pods|replicationcontrollers|resourcequotas|secrets|configmaps|persistentvolumeclaims"
    r"|services(\.(nodeports|loadbalancers))?|cpu|memory|ephemeral-storage|requests\.storage"
    r"|(requests|limits)\.(cpu|memory|ephemeral-storage)|(requests\.)?hugepages-\w+"
    r"|count/.+|requests\.[^/]+/.+|.+\.storageclass\.storage\.k8s\.io/.+"
)
# Stands for everybody where a person is needed.
SOMEBODY = "kfspawner-check"
PERSONAL = "everyone's own profile"


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at.

    Attributes
    ----------
    subject
        What it is, in a few words.
    text
        What there is to say of it; empty for nothing.
    wrong
        Whether somebody has to mend something.
    """

    subject: str
    text: str = ""
    wrong: bool = False

    def __str__(self) -> str:
        said = f"{self.subject}: {self.text}" if self.text else self.subject
        return f"{'wrong' if self.wrong else 'ok':5}  {said}"


@dataclass(frozen=True)
class Declared:
    """What the config declares and can be had.

    Attributes
    ----------
    image_profiles
        By their keys.
    profiles
        Those of ``c.KfSpawner.profiles``.
    personal
        The one of `SOMEBODY`; None if its template cannot be used.
    wrong
        What cannot be had.
    """

    image_profiles: Mapping[str, ImageProfile]
    profiles: tuple[Profile, ...]
    personal: Profile | None
    wrong: tuple[Verdict, ...]

    @property
    def all(self) -> tuple[Profile, ...]:
        """Every profile, the personal one last."""
        return (*self.profiles, *((self.personal,) if self.personal else ()))

    def called(self, profile: Profile) -> str:
        """Return what a profile is to whoever wrote the config."""
        return PERSONAL if profile is self.personal else f"profile {profile.name}"

    def setting(self, profile: Profile) -> str:
        """Return where in the config a profile is declared."""
        if profile is self.personal:
            return "c.KfSpawner.personal_profile"
        return f"c.KfSpawner.profiles[{profile.name!r}]"


class _Reader:
    """Reads one part after the other, and keeps what cannot be had."""

    def __init__(self) -> None:
        self.wrong: list[Verdict] = []

    def read(self, subject: str, make: Callable[..., T], *args: Any) -> T | None:
        """Return what `make` makes of `args`, or None where it refuses."""
        try:
            return make(*args)
        except Error as error:
            self.wrong.append(Verdict(subject, str(error), wrong=True))
            return None


def read_declarations(config: Config) -> Declared:
    """Return what `config` declares, each part on its own, so that all mistakes are found."""
    reader = _Reader()

    def setting(name: str) -> dict[str, Any]:
        return reader.read(f"c.KfSpawner.{name}", read_setting, config, name) or {}

    image_profiles: dict[str, ImageProfile] = {}
    for key, value in setting("image_profiles").items():
        read = reader.read(_image_profile(key), read_image_profiles, {key: value})
        image_profiles |= read or {}
    profiles = [
        reader.read(f"profile {name}", read_declared, name, value)
        for name, value in setting("profiles").items()
    ]
    personal = reader.read(PERSONAL, make_personal, SOMEBODY, setting("personal_profile"))
    return Declared(
        image_profiles, tuple(it for it in profiles if it), personal, tuple(reader.wrong)
    )


def find_contradictions(config: Config, declared: Declared, hub_namespace: str) -> list[Verdict]:
    """Return what is missing in a config, and what is wrong with its parts beside one another."""
    found = []
    if not config["KfSpawner"].get("registry_prefix"):
        text = "it is missing: nothing says where the images of runs go, and no server is started"
        found.append(Verdict("c.KfSpawner.registry_prefix", text, wrong=True))
    found += [*_reserved(declared.profiles, hub_namespace), *_offers(declared)]
    found += [
        it for profile in declared.all for it in _quota_keys(profile, declared.called(profile))
    ]
    titles = [(it.title, f"profile {it.name}") for it in declared.profiles]
    names = [(it.display_name, _image_profile(it.key)) for it in declared.image_profiles.values()]
    for same in (*_same(titles), *_same(names)):
        found.append(Verdict(same[1], f"it is called {same[0]!r}, as {same[2]} is", wrong=True))
    return found


def _image_profile(key: str) -> str:
    return f"image profile {key}"


def _reserved(profiles: Iterable[Profile], hub_namespace: str) -> Iterator[Verdict]:
    for profile in profiles:
        if profile.name == hub_namespace:
            yield _misnamed(profile, "the hub itself is in the namespace of that name")
        if profile.name.startswith(PERSONAL_PREFIX):
            yield _misnamed(
                profile, f"names with {PERSONAL_PREFIX} are those of people's own profiles"
            )


def _misnamed(profile: Profile, why: str) -> Verdict:
    text = f"{why}; give c.KfSpawner.profiles[{profile.name!r}] another name"
    return Verdict(f"profile {profile.name}", text, wrong=True)


def _same(called: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield what is called as something before it is: the name, it, and that."""
    known: dict[str, str] = {}
    for name, subject in called:
        if name in known:
            yield name, subject, known[name]
        known.setdefault(name, subject)


def _quota_keys(profile: Profile, called: str) -> Iterator[Verdict]:
    for key in profile.quota.get("hard", {}):
        if not _QUOTA_KEY.fullmatch(key):
            meant = f"; write requests.{key}" if "/" in key else ""
            yield Verdict(
                called, f"its quota has {key!r}, which no quota counts{meant}", wrong=True
            )


def _offers(declared: Declared) -> Iterator[Verdict]:
    keys = list(declared.image_profiles)
    broken = {verdict.subject for verdict in declared.wrong}
    if not keys and not broken:
        text = "none is declared, and then no server can be started"
        yield Verdict("c.KfSpawner.image_profiles", text, wrong=True)
    for profile in declared.all:
        for key in profile.image_profiles:
            if key not in keys and _image_profile(key) not in broken:
                text = f"it offers image profile {key!r}, and the config declares {', '.join(keys)}"
                yield Verdict(declared.called(profile), text, wrong=True)
    if broken:
        # Who knows what those offer.
        return
    for key in keys:
        if not any(profile.offers(key) for profile in declared.all):
            yield Verdict(_image_profile(key), "no profile offers it", wrong=True)
