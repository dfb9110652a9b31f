"""What a registry says an image is made of, parsed and checked."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import ImageMissing, RegistryError
from kfspawner.packaging.layer import sha256

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEXES = {OCI_INDEX, DOCKER_LIST}
MANIFESTS = {OCI_MANIFEST, DOCKER_MANIFEST}

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Descriptor:
    """A blob of an image: what it is, its digest, its size in bytes.

    `fields` is the descriptor as it was found, annotations and all.
    """

    media_type: str
    digest: str
    size: int
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, media_type: str, content: bytes) -> Descriptor:
        """Return the descriptor of `content`."""
        fields = {"mediaType": media_type, "digest": sha256(content), "size": len(content)}
        return cls.parse(fields)

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Descriptor:
        """Return the descriptor that `fields` spell; KeyError or TypeError where they do not."""
        media_type, digest, size = fields["mediaType"], fields["digest"], fields["size"]
        if not isinstance(media_type, str) or not isinstance(digest, str):
            raise TypeError("a descriptor's mediaType and digest are text")
        if not isinstance(size, int) or size < 0:
            raise TypeError("a descriptor's size is a number of bytes")
        return cls(media_type, digest, size, dict(fields))


@dataclass(frozen=True)
class Manifest:
    """One image for one platform.

    Attributes
    ----------
    content
        The document's bytes; their hash is the image's digest.
    media_type
        OCI's or Docker's type for it.
    config, layers
        The blobs that it names, the lowest layer first.
    """

    content: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        """``sha256:…`` of the document."""
        return sha256(self.content)

    @property
    def is_docker(self) -> bool:
        """Whether this is Docker's schema 2 and not OCI's."""
        return self.media_type == DOCKER_MANIFEST

    @classmethod
    def parse(cls, content: bytes, media_type: str, doing: str) -> Manifest:
        """Return the manifest in `content`.

        Raises
        ------
        RegistryError
            If it is not the manifest of a container image.
        """
        try:
            document = json.loads(content)
            config = Descriptor.parse(document["config"])
            layers = tuple(map(Descriptor.parse, document["layers"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _malformed(doing, f"its manifest is broken ({error})") from error
        if config.media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
            raise _malformed(doing, f"it is no container image but {config.media_type}")
        return cls(content, media_type, config, layers)


def this_platform() -> tuple[str, str]:
    """Return the operating system and architecture of this interpreter, as OCI names them."""
    machine = platform.machine()
    return platform.system().lower(), _MACHINES.get(machine, machine)


def choose_platform(content: bytes, wanted: tuple[str, str], doing: str) -> str:
    """Return the digest of the image for the platform `wanted` in an index.

    Raises
    ------
    ImageMissing
        If the index has none for it.
    RegistryError
        If `content` is not an index.
    """
    try:
        found = [
            ((entry["platform"]["os"], entry["platform"]["architecture"]), entry["digest"])
            for entry in json.loads(content)["manifests"]
            if "platform" in entry
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed(doing, f"its index is broken ({error})") from error
    for has, digest in found:
        if has == wanted:
            return str(digest)
    there = ", ".join(sorted({"/".join(has) for has, _ in found})) or "no platform at all"
    raise ImageMissing(
        doing,
        f"it is not made for {'/'.join(wanted)}, only for {there}",
        "choose an image that is",
    )


def _malformed(doing: str, cause: str) -> RegistryError:
    return RegistryError(doing, cause, "choose another image, or push this one again")
