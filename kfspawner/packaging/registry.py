"""One image registry, by its HTTP API: the distribution specification's."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import httpx

from kfspawner.errors import RegistryError
from kfspawner.packaging.conversation import PERSISTENCE, STORING, Ask, Conversation
from kfspawner.packaging.layer import Layer, sha256
from kfspawner.packaging.manifest import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    Manifest,
    choose_platform,
    this_platform,
)
from kfspawner.packaging.signin import Credentials
from kfspawner.packaging.upload import Reading, Upload, check_stored, read_file
from kfspawner.reference import Reference

_DOCUMENT_LIMIT = 4 * 2**20


class Registry:
    """One registry host. Threads may share it; close it, or use it in a ``with``.

    Parameters
    ----------
    host
        Name and, where it is not the usual one, port, as in a reference.
    plain_http
        Whether it speaks HTTP without TLS. On this machine's own addresses
        it always does.
    credentials
        An account there; None to ask as anybody.
    patience
        Seconds to wait for an answer, all attempts together.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool = False,
        credentials: Credentials | None = None,
        patience: float = 9.0,
    ) -> None:
        self.host = host
        self._line = Conversation(
            host, plain_http=plain_http, credentials=credentials, patience=patience
        )

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Let what other threads have under way here fail soon."""
        self._line.stop()

    def close(self) -> None:
        """Close the connections; other threads are to be done by then."""
        self._line.close()

    def resolve(self, reference: Reference) -> Manifest:
        """Return the image that `reference` names, the one for this platform.

        Raises
        ------
        ImageMissing
            If there is no such image, or none for this platform.
        RegistryUnreachable, RegistryDenied, RegistryError
            As every method here: it did not answer, refused, or answered nonsense.
        """
        doing = f"reading the image {reference}"
        content, media_type = self._read_manifest(reference, doing)
        if media_type in INDEXES:
            reference = reference.at(choose_platform(content, this_platform(), doing))
            content, media_type = self._read_manifest(reference, doing)
        if media_type not in MANIFESTS:
            raise RegistryError(
                doing,
                f"its manifest is of a kind that runs cannot stand on ({media_type[:80]})",
                "push the image again with a current tool",
            )
        return Manifest.parse(content, media_type, doing)

    def read_blob(self, repository: str, blob: Descriptor) -> bytes:
        """Return a small blob, such as an image's config, checked against its digest."""
        doing = f"reading {self.host}/{repository}@{blob.digest}"
        if blob.size > _DOCUMENT_LIMIT:
            raise RegistryError(doing, f"it is {blob.size} bytes", "choose another image")
        url = f"/v2/{repository}/blobs/{blob.digest}"
        content = self._line.expect(Ask(doing, "GET", url, repository), 200).content
        _check_digest(doing, content, blob.digest)
        return content

    @contextlib.contextmanager
    def open_blob(
        self, repository: str, blob: Descriptor, start: int = 0
    ) -> Iterator[Iterator[bytes]]:
        """Yield a blob in pieces, from the byte `start` on.

        The last piece of a whole one comes only if it is what its digest says.
        """
        doing = f"reading {self.host}/{repository}@{blob.digest}"
        ask = Ask(doing, "GET", f"/v2/{repository}/blobs/{blob.digest}", repository)
        with self._line.stream(ask, start) as pieces:
            yield pieces if start else _checked(doing, pieces, blob)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether `repository` holds the blob."""
        return self._holds(repository, digest, PERSISTENCE)

    def mount_blob(self, repository: str, digest: str, origin: str) -> bool:
        """Let `repository` have a blob of the repository `origin`; say whether it worked.

        A registry may decline without a reason: then the blob is to be copied.
        """
        ask = Ask(
            f"pushing to {self.host}/{repository}",
            "POST",
            f"/v2/{repository}/blobs/uploads/?mount={digest}&from={origin}",
            repository,
            attempts=PERSISTENCE,
            patience=STORING,
        )
        response = self._line.expect(ask, 201, 202, 404, 405)
        if response.status_code == 202:
            self._drop_upload(ask, response)
        return response.status_code == 201

    def copy_blob(self, repository: str, blob: Descriptor, source: Registry, origin: str) -> None:
        """Send `repository` a blob of the repository `origin` of the registry `source`.

        It passes through this process a mebibyte at a time.
        """
        self.upload_blob(repository, blob, partial(source.open_blob, origin, blob))

    def push_blob(self, repository: str, content: bytes) -> None:
        """Send `repository` a blob, if it does not have it."""
        blob = Descriptor.of("application/octet-stream", content)
        if not self.has_blob(repository, blob.digest):
            self.upload_blob(repository, blob, read_file(io.BytesIO(content)))

    def upload_blob(self, repository: str, blob: Descriptor, read: Reading) -> None:
        """Send `repository` a blob that need not be in memory.

        `read` opens it, once or, where the way there breaks, more often. The
        registry stores it only if it is what its digest says.
        """
        doing = f"pushing to {self.host}/{repository}"
        start = Ask(doing, "POST", f"/v2/{repository}/blobs/uploads/", repository)
        is_there = partial(self._holds, repository, blob.digest, attempts=1)
        Upload(self._line, start, blob, read, is_there).send()

    def push_layer(self, repository: str, layer: Layer) -> None:
        """Send `repository` a layer, a mebibyte at a time, if it does not have it."""
        fields = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
        if not self.has_blob(repository, layer.digest):
            self.upload_blob(repository, Descriptor.parse(fields), read_file(layer.kept))

    def push_manifest(self, repository: str, manifest: Manifest, tag: str | None = None) -> None:
        """Make an image visible in `repository`, under its digest and under `tag`."""
        version = tag or manifest.digest
        ask = Ask(
            f"pushing {Reference(self.host, repository, tag)}",
            "PUT",
            f"/v2/{repository}/manifests/{version}",
            repository,
            {"Content-Type": manifest.media_type},
            manifest.content,
            attempts=PERSISTENCE,
            patience=STORING,
        )
        response = self._line.expect(ask, 200, 201)
        check_stored(ask, response, manifest.digest)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove an image from `repository`, with all its tags."""
        doing = f"deleting {self.host}/{repository}@{digest}"
        ask = Ask(doing, "DELETE", f"/v2/{repository}/manifests/{digest}", repository)
        if self._line.expect(ask, 200, 202, 405).status_code == 405:
            raise RegistryError(
                doing,
                "this registry does not delete",
                "ask who runs it to allow deletion, or leave the image to its clean-up",
            )

    def _read_manifest(self, reference: Reference, doing: str) -> tuple[bytes, str]:
        repository = reference.repository
        url = f"/v2/{repository}/manifests/{reference.version}"
        accept = {"Accept": ", ".join(sorted(MANIFESTS | INDEXES))}
        response = self._line.expect(Ask(doing, "GET", url, repository, accept), 200)
        if len(response.content) > _DOCUMENT_LIMIT:
            raise RegistryError(doing, "its manifest is over 4 MiB", "choose another image")
        if reference.digest:
            _check_digest(doing, response.content, reference.digest)
        return response.content, response.headers.get("Content-Type", "").partition(";")[0]

    def _holds(self, repository: str, digest: str, attempts: int) -> bool:
        ask = Ask(
            f"looking for {digest} in {self.host}/{repository}",
            "HEAD",
            f"/v2/{repository}/blobs/{digest}",
            repository,
            attempts=attempts,
            patience=STORING,
        )
        # Where blobs live elsewhere, a redirect is a yes.
        return self._line.expect(ask, 200, 301, 302, 307, 404).status_code != 404

    def _drop_upload(self, ask: Ask, opened: httpx.Response) -> None:
        """Give back an upload that nothing will be sent to; it is only a courtesy."""
        with contextlib.suppress(RegistryError):
            url = opened.headers.get("Location", "")
            self._line.send(replace(ask, method="DELETE", url=url, attempts=1))


def _checked(doing: str, pieces: Iterator[bytes], blob: Descriptor) -> Iterator[bytes]:
    seen, left = hashlib.sha256(), blob.size
    for piece in pieces:
        seen.update(piece)
        left -= len(piece)
        if left <= 0:
            _refuse_other(doing, f"sha256:{seen.hexdigest()}", blob.digest)
        yield piece
    if left:
        raise RegistryError(
            doing, f"it is not {blob.size} bytes long", "try again, or ask who runs the registry"
        )


def _check_digest(doing: str, content: bytes, digest: str) -> None:
    _refuse_other(doing, sha256(content), digest)


def _refuse_other(doing: str, came: str, digest: str) -> None:
    if came != digest:
        raise RegistryError(
            doing,
            f"what came is not {digest} but {came}",
            "try again, or ask who runs the registry",
        )
