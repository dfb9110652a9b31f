"""What no layer ever holds: a person's keys, credentials and the history of their code."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from kfspawner.errors import SourceRefused

# Why, and the names: of files and directories alike, then of files alone.
_ALIKE = (
    ("a history holds what was taken out since", (".git",)),
    ("it sets passwords", (".env", ".env.*", ".envrc")),
    ("it holds keys", (".ssh", ".gnupg")),
    ("it holds credentials", (".aws", ".azure", ".docker", ".kube", ".netrc", "_netrc")),
)
_FILES = (
    ("it may be a key", ("id_*", "*.key", "*.p12", "*.pem", "*.pfx", "*.ppk")),
    (
        "it holds credentials",
        (
            ".dockercfg",
            ".dockerconfigjson",
            ".git-credentials",
            ".npmrc",
            ".pgpass",
            ".pypirc",
            "*credentials.db",
            "*credentials.json",
            "credentials",
            "kubeconfig",
        ),
    ),
    (
        "it may be a token",
        ("token", "token.json", "token.txt", "*.token", "*-token", "*_token"),
    ),
)
# A module called id_map is code.
_CODE = {".ipynb", ".py", ".pyi", ".so"}


def why_withheld(name: str, *, directory: bool) -> str | None:
    """Return why no layer holds a file or directory called `name`, or None if one may.

    Upper and lower case are alike.
    """
    name = name.lower()
    code = PurePosixPath(name).suffix in _CODE
    for why, patterns in _ALIKE if directory or code else (*_ALIKE, *_FILES):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return why
    return None


def why_path_withheld(path: str) -> str | None:
    """Return why no layer holds the file at a POSIX path, or None if one may."""
    *directories, name = path.split("/")
    whys = [why_withheld(part, directory=True) for part in directories]
    return next(filter(None, (*whys, why_withheld(name, directory=False))), None)


def check_withheld(paths: Iterable[str]) -> None:
    """Refuse to package POSIX paths of which one is withheld.

    Raises
    ------
    SourceRefused
        If there is such a path.
    """
    for path in sorted(paths):
        why = why_path_withheld(path)
        if why:
            raise SourceRefused(
                f"packaging {path!r}", f"{why}, and an image is read by many", "leave it out"
            )
