"""Image references: which image, in which repository, of which registry."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kfspawner.errors import OptionRefused

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_HOST})/)?"
    rf"(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_DEFAULT_REGISTRY = "docker.io"


@dataclass(frozen=True)
class Reference:
    """Where an image is: ``registry/repository[:tag][@digest]``.

    Attributes
    ----------
    registry
        Host and, where it is not the usual one, port.
    repository
        The path inside the registry, as its API wants it.
    tag, digest
        Which image of the repository; the digest decides where both are given.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that `text` spells.

        A first part without a dot, a colon or the name ``localhost`` is no
        registry but a repository of Docker Hub, as everywhere.

        Raises
        ------
        OptionRefused
            If `text` is not a reference.
        """
        first, slash, _ = text.partition("/")
        named = bool(slash) and (first == "localhost" or not re.fullmatch(r"[a-z0-9_-]+", first))
        found = _REFERENCE.fullmatch(text if named else f"{_DEFAULT_REGISTRY}/{text}")
        if not found or len(text) > 512:
            raise OptionRefused(
                f"reading the image reference {text[:120]!r}",
                "it is not of the form registry/repository:tag or registry/repository@sha256:…",
                "correct it: repositories are lower-case, digests are 64 hexadecimal characters",
            )
        registry, repository, tag, digest = found.group("registry", "repository", "tag", "digest")
        if registry == _DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, tag, digest)

    def at(self, digest: str) -> Reference:
        """Return the same image by `digest` alone."""
        return replace(self, tag=None, digest=digest)

    @property
    def version(self) -> str:
        """The digest, or else the tag, or else ``latest``: what the registry's API asks for."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"
