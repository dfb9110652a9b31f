"""Where an image's code came from and whose it is: what its labels and annotations tell.

There is no time in it: the same files on the same base are the same image,
with one digest, whenever they are packaged. When a run was is told by the run,
and when its image came by the registry.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

_PREFIX = "io.kfspawner."
_REVISION = "org.opencontainers.image.revision"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What a label holds of a text from outside.
_LIMIT = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Seconds; a larger working tree than that is not worth waiting for.
_PATIENCE = 0.5


@dataclass(frozen=True)
class Provenance:
    """What is known of an image's code; what is not is empty.

    Attributes
    ----------
    kind
        What it was: ``cell``, ``notebook``, ``script``, ``function``, ``folder``.
    path
        The notebook, script or folder, as its person calls it.
    commit
        The commit of the git repository that it is in.
    dirty
        Whether it is not what that commit says.
    person
        Whose it is.
    profile
        In which profile it was made.
    """

    kind: str = ""
    path: str = ""
    commit: str = ""
    dirty: bool = False
    person: str = ""
    profile: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """What the config of an image says of it."""
        told = {
            "kind": self.kind,
            "path": self.path,
            "commit": self.commit,
            "dirty": str(self.dirty).lower() if self.commit else "",
            "person": self.person,
            "profile": self.profile,
        }
        return {f"{_PREFIX}{name}": _plain(value) for name, value in told.items() if value}

    @property
    def annotations(self) -> dict[str, str]:
        """What the manifest of an image says of it: the same, and OCI's own word for a commit."""
        return self.labels | ({_REVISION: self.commit} if self.commit else {})

    @classmethod
    def parse(cls, labels: Mapping[str, str]) -> Provenance:
        """Return what an image's labels, or its annotations, tell."""
        texts = {name: str(labels.get(f"{_PREFIX}{name}", "")) for name in _NAMES}
        return cls(**{**texts, "dirty": texts["dirty"] == "true"})  # type: ignore[arg-type]


_NAMES = [field.name for field in fields(Provenance)]


def without_provenance(labels: Mapping[str, str]) -> dict[str, str]:
    """Return a base's `labels` without what they say of code that it was made from itself."""
    own = {f"{_PREFIX}{name}" for name in _NAMES}
    return {name: value for name, value in labels.items() if name not in own}


def read_commit(folder: Path) -> tuple[str, bool]:
    """Return the commit that `folder` is at, and whether something in it is not in that.

    Both are empty where there is no git, no repository, or one that takes
    more than half a second to look through.
    """
    command = ["git", "-C", str(folder), "status"]
    options = ["--porcelain=v2", "--branch", "--no-renames", "--ignore-submodules", "--", "."]
    try:
        told = subprocess.run(
            [*command, *options],
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
            # It only looks.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return "", False
    lines = told.stdout.decode(errors="replace").splitlines()
    commits = [line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")]
    if not commits or not _COMMIT.fullmatch(commits[0]):
        return "", False
    return commits[0], any(line and not line.startswith("#") for line in lines)


def _plain(text: str) -> str:
    """Return `text` as a label can hold it: one line, not too long, Unicode."""
    return _CONTROL.sub("�", text)[:_LIMIT].encode(errors="replace").decode()
