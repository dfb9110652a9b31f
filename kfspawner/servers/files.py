"""What of people's files a server mounts, and where: their home, folders, datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kfspawner.homes.datasets import DATASETS, Dataset
from kfspawner.homes.mounts import Mount
from kfspawner.homes.place import FOLDER_CLAIM, FOLDERS, Place
from kfspawner.homes.source import HomeSource
from kfspawner.names import namespace_name
from kfspawner.profiles.directory import Choice
from kfspawner.servers.defaults import HOME


@dataclass(frozen=True)
class Mounted:
    """One claim that a server mounts besides its home.

    Attributes
    ----------
    name, claim, path
        The volume's name in the pod, its claim, and where it is mounted.
    folder_of
        The other profile whose folder it is; empty for everything else.
    read_only
        Whether nobody may write there.
    mount
        What the provisioner makes it of; None for a claim that is there.
    """

    name: str
    claim: str
    path: str
    read_only: bool = False
    mount: Mount | None = None
    folder_of: str = ""

    @property
    def volume(self) -> dict[str, Any]:
        """The volume in a pod."""
        source: dict[str, Any] = {"claimName": self.claim}
        if self.read_only:
            source["readOnly"] = True
        return {"name": self.name, "persistentVolumeClaim": source}

    @property
    def volume_mount(self) -> dict[str, Any]:
        """Where a container has it."""
        mounted: dict[str, Any] = {"name": self.name, "mountPath": self.path}
        if self.read_only:
            mounted["readOnly"] = True
        return mounted


@dataclass(frozen=True)
class Files:
    """Whose server it is, where it is, and what is declared.

    Attributes
    ----------
    person, profile
        Whose server, in which profile.
    source, shared_home, datasets
        The administrator's settings.
    """

    person: str
    profile: str
    source: HomeSource
    shared_home: bool
    datasets: Iterable[Dataset]

    @property
    def is_own(self) -> bool:
        """Whether the profile is the person's own."""
        return self.profile == namespace_name(self.person)

    @property
    def own_home(self) -> Place | None:
        """The home of the person's own profile, if the server has that in another one."""
        if not self.shared_home or self.is_own or not self.source.is_ours:
            return None
        return Place(namespace_name(self.person), self.person)

    def home(self) -> Mount | None:
        """Return what the provisioner makes so that a server has its person's own home."""
        own = self.own_home
        if own is None:
            return None
        return Mount(own.shared_claim, own.directory, read_only=False, person=self.person)

    def has_folder(self) -> bool:
        """Say whether the profile shares a folder: in one's own there is nobody to share with."""
        return bool(self.source.folder_capacity) and not self.is_own

    def mounted(self, choices: Iterable[Choice], *, alone: bool) -> list[Mounted]:
        """Return all that the server mounts besides its home.

        The folders of other profiles only in the person's own, and only while nobody
        else is a member of that: whoever is could read them there.
        """
        found = []
        if self.has_folder():
            found.append(Mounted("folder", FOLDER_CLAIM, f"{HOME}/{FOLDERS}/{self.profile}"))
        elif self.is_own and alone and self.source.folder_capacity:
            found += self._folders(choices)
        found += self._datasets()
        return found

    def _folders(self, choices: Iterable[Choice]) -> Iterator[Mounted]:
        for number, choice in enumerate(choices):
            name, looks = choice.profile.name, not choice.role.may_spawn
            if name != self.profile and choice.standing.ready:
                mount = Mount.of_folder(name, self.person, read_only=looks)
                path = f"{HOME}/{FOLDERS}/{name}"
                yield Mounted(f"folder-{number}", mount.claim, path, looks, mount, folder_of=name)

    def _datasets(self) -> Iterator[Mounted]:
        for number, dataset in enumerate(self.datasets):
            if dataset.is_for(self.profile):
                mount = dataset.to_mount()
                claim = mount.claim if mount else dataset.claim
                path = f"{DATASETS}/{dataset.name}"
                yield Mounted(f"dataset-{number}", claim, path, read_only=True, mount=mount)
