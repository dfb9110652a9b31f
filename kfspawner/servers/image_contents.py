"""What is in an image, by its registry: labels and size, without holding a page up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from kfspawner.errors import Error, RegistryError
from kfspawner.reference import Reference

# Which frameworks are in an image, as ``tensorflow=2.21.0 torch=2.15.0``.
FRAMEWORKS = "io.kfspawner.frameworks"
_CALLED = {"scikit-learn": "scikit-learn", "tensorflow": "TensorFlow", "torch": "PyTorch"}
_FRAMEWORK = re.compile(r"([\w.+-]{1,40})=([\w.+-]{1,40})")

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_LIMIT = 4 * 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=10)
# How long what a tag stands for is believed, and that an image cannot be read, in seconds.
_TAG_SECONDS = 600.0
_FAILED_SECONDS = 60.0
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')

# What may come of asking: no answer, a refusal, and documents that are no image's.
_UNREADABLE = (
    Error,
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Contents:
    """What is in an image.

    Attributes
    ----------
    labels
        What it says of itself.
    size
        Bytes of its layers, as they are fetched; 0 if that is not known.
    layers
        How many these are.
    """

    labels: Labels = field(default_factory=dict)
    size: int = 0
    layers: int = 0

    def describe_size(self) -> str:
        """Return its size in words: ``1.2 GiB in 9 layers``; empty if that is not known."""
        if not self.size:
            return ""
        amount = f"{self.size / 2**30:.1f} GiB"
        if self.size < 2**30:
            amount = f"{max(1, self.size // 2**20)} MiB"
        return f"{amount} in {self.layers} {'layer' if self.layers == 1 else 'layers'}"


NOTHING = Contents()


@dataclass
class _Known:
    contents: Contents
    until: float


@dataclass
class KnownImages:
    """What is in images, by reference: what is known now, while the rest is looked up.

    Of an image that cannot be read nothing is known for a while; why is in the log.
    """

    log: logging.Logger
    _known: dict[str, _Known] = field(default_factory=dict)
    _reading: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def of(self, image: str, *, plain_http: bool = False) -> Contents:
        """Return what is known of `image`; what is not known comes later."""
        known = self._known.get(image)
        if (known is None or known.until < time.monotonic()) and image not in self._reading:
            task = asyncio.create_task(self._read(image, plain_http=plain_http))
            self._reading[image] = task
            task.add_done_callback(lambda _: self._reading.pop(image, None))
        return known.contents if known else NOTHING

    async def settle(self) -> None:
        """Return once nothing is being looked up."""
        while self._reading:
            await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, image: str, *, plain_http: bool) -> None:
        before = self._known.get(image)
        try:
            reference = Reference.parse(image)
            contents = await read_contents(reference, plain_http=plain_http)
            # What a digest stands for never changes.
            until = float("inf") if reference.digest else time.monotonic() + _TAG_SECONDS
        except _UNREADABLE as error:
            self.log.info("Reading what is in %s failed: %s", image, error or repr(error))
            contents = before.contents if before else NOTHING
            until = time.monotonic() + _FAILED_SECONDS
        self._known[image] = _Known(contents, until)


async def read_contents(reference: Reference, *, plain_http: bool = False) -> Contents:
    """Return what is in an image, asked of its registry as anybody.

    Raises
    ------
    RegistryError
        If the registry refuses, or answers with something else.
    aiohttp.ClientError, TimeoutError
        If it does not answer.
    """
    host = "registry-1.docker.io" if reference.registry == "docker.io" else reference.registry
    base = f"{'http' if plain_http else 'https'}://{host}/v2/{reference.repository}"
    async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session:
        line = _Line(session, f"reading what is in {reference}")
        manifest = await line.read_json(f"{base}/manifests/{reference.version}", reference.digest)
        if "manifests" in manifest:
            digest = _choose(manifest["manifests"])
            manifest = await line.read_json(f"{base}/manifests/{digest}", digest)
        digest = str(manifest["config"]["digest"])
        config = await line.read_json(f"{base}/blobs/{digest}", digest)
    labels = (config.get("config") or {}).get("Labels") or {}
    layers = manifest.get("layers") or ()
    return Contents(
        {str(name): str(value) for name, value in labels.items()},
        sum(int(layer["size"]) for layer in layers),
        len(layers),
    )


def show_frameworks(labels: Labels) -> list[str]:
    """Return the frameworks that labels tell of: ``TensorFlow 2.21.0``."""
    found = _FRAMEWORK.findall(labels.get(FRAMEWORKS, "")[:1000])
    return [f"{_CALLED.get(name, name)} {version}" for name, version in found]


class _Line:
    """A conversation with one registry, which may ask for a token first."""

    def __init__(self, session: aiohttp.ClientSession, doing: str) -> None:
        self._session = session
        self._doing = doing
        self._headers = {"Accept": ", ".join(_MANIFESTS)}

    async def read_json(self, url: str, digest: str | None) -> dict[str, Any]:
        """Return a document, checked against its digest."""
        status, challenge, content = await self._get(url)
        if status == 401 and challenge.startswith("Bearer "):
            await self._sign_in(challenge)
            status, _, content = await self._get(url)
        if status != 200:
            raise RegistryError(self._doing, f"it answers {status}", "look at the image's name")
        if digest and f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise RegistryError(self._doing, f"what came is not {digest}", "push it again")
        document = json.loads(content)
        if not isinstance(document, dict):
            raise RegistryError(self._doing, "it is no document of an image", "push it again")
        return document

    async def _sign_in(self, challenge: str) -> None:
        asked = dict(_CHALLENGE.findall(challenge))
        query = {name: asked[name] for name in ("service", "scope") if name in asked}
        async with self._session.get(asked["realm"], params=query) as answer:
            given = json.loads(await _read(answer)) if answer.status == 200 else {}
        token = given.get("token") or given.get("access_token")
        if not token:
            raise RegistryError(self._doing, "it wants a sign-in", "let anybody pull it")
        self._headers["Authorization"] = f"Bearer {token}"

    async def _get(self, url: str) -> tuple[int, str, bytes]:
        # A blob may lie elsewhere, where the token is of no use; aiohttp leaves it out there.
        async with self._session.get(url, headers=self._headers) as answer:
            return answer.status, answer.headers.get("WWW-Authenticate", ""), await _read(answer)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = await answer.content.read(_LIMIT)
    while not answer.content.at_eof():
        more = await answer.content.read(_LIMIT)
        content += more
        if len(content) > _LIMIT:
            raise RegistryError("reading a document", "it is over 4 MiB", "choose another image")
    return content


def _choose(manifests: list[Mapping[str, Any]]) -> str:
    """Return the digest of the image that most clusters run."""

    def rank(it: Mapping[str, Any]) -> bool:
        platform = it.get("platform") or {}
        return (platform.get("os"), platform.get("architecture")) != ("linux", "amd64")

    return str(min(manifests, key=rank)["digest"])


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, KnownImages] = WeakKeyDictionary()


def shared_images(log: logging.Logger) -> KnownImages:
    """Return those that are known in this process."""
    loop = asyncio.get_running_loop()
    if loop not in _shared:
        _shared[loop] = KnownImages(log)
    return _shared[loop]
