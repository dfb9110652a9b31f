"""An image registry in this process, on loopback, as the distribution specification has it.

It refuses what a real one refuses: content that is not its digest, manifests
whose blobs are not in the repository, requests without the token they need.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Fault:
    """What to do instead of answering, for the next `times` requests that match."""

    method: str
    path: str
    times: int = 1
    status: int | None = None  # None: close the connection
    seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    # How many bytes of an upload's request the registry keeps before that.
    after: int | None = None


@dataclass
class FakeRegistry:
    """The state of the registry, and switches for what registries differ in."""

    mounts: bool = True
    account: tuple[str, str] | None = None
    tokens: bool = False
    deletes: bool = True
    # Whether an upload that broke in the middle of a request can go on, and
    # whether one by several requests is known at all.
    resumes: bool = True
    chunks: bool = True
    least_chunk: int = 0
    # What it says that it stored, if that is not the truth.
    claims: str | None = None
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    issued: dict[str, set[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    host: str = ""

    def add_blob(self, repository: str, content: bytes) -> str:
        self.blobs[repository, digest_of(content)] = content
        return digest_of(content)

    def add_manifest(
        self, repository: str, document: Mapping[str, Any], media_type: str, tag: str | None = None
    ) -> str:
        content = json.dumps(document).encode()
        digest = digest_of(content)
        self.manifests[repository, digest] = (media_type, content)
        if tag:
            self.tags[repository, tag] = digest
        return digest

    def document(self, repository: str, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manifests[repository, digest][1])
        return found

    def calls(self, method: str) -> list[str]:
        return [line for line in self.log if line.startswith(f"{method} ")]

    @contextmanager
    def running(self) -> Iterator[FakeRegistry]:
        state = self

        class Served(_Conversation):
            registry = state

        server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.host = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Conversation(BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- inherited
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_PATCH = do_POST = do_DELETE = do_GET  # noqa: N815 -- inherited

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.registry.log.append(f"{self.command} {self.path}")
        if self._faulty(parts.path):
            return
        self.body = self._read_body()
        if len(self.body) < int(self.headers.get("Content-Length", 0)):
            self.close_connection = True
            self._keep_part(parts.path, self.body)
            return
        if parts.path == "/token":
            self._give_token(parse_qs(parts.query))
            return
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.*)", parts.path)
        if not found:
            self._answer(200 if parts.path == "/v2/" else 404)
            return
        repository, kind, rest = found.groups()
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if not self._allowed(repository, query):
            return
        if kind == "manifests":
            self._manifest(repository, rest)
        elif rest.startswith("uploads/"):
            self._upload(repository, rest.removeprefix("uploads/"), query)
        else:
            self._blob(repository, rest)

    def _faulty(self, path: str) -> bool:
        for fault in self.registry.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                time.sleep(fault.seconds)
                self.close_connection = True
                size = int(self.headers.get("Content-Length", 0))
                taken = self.rfile.read(size if fault.after is None else min(size, fault.after))
                if fault.after is not None:
                    self._keep_part(path, taken)
                if fault.status:
                    self._answer(fault.status, fault.body, dict(fault.headers))
                return True
        return False

    def _keep_part(self, path: str, content: bytes) -> None:
        held = self.registry.uploads.get(path.rpartition("/")[2])
        if held is not None:
            held += content

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("registries want a Content-Length")
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _allowed(self, repository: str, query: Mapping[str, str]) -> bool:
        registry = self.registry
        given = self.headers.get("Authorization", "")
        if registry.tokens:
            actions = "pull" if self.command in {"GET", "HEAD"} else "pull,push"
            needed = {f"repository:{repository}:{actions}"}
            if query.get("from"):
                needed.add(f"repository:{query['from']}:pull")
            if needed <= registry.issued.get(given.removeprefix("Bearer "), set()):
                return True
            realm = f'realm="http://{registry.host}/token",service="fake"'
            challenge = f'Bearer {realm},scope="{" ".join(sorted(needed))}"'
        elif registry.account:
            if given == _basic(registry.account):
                return True
            challenge = 'Basic realm="fake"'
        else:
            return True
        said = b'{"errors": [{"code": "UNAUTHORIZED", "message": "sign in first"}]}'
        self._answer(401, said, {"WWW-Authenticate": challenge})
        return False

    def _give_token(self, query: Mapping[str, list[str]]) -> None:
        account = self.registry.account
        if account and self.headers.get("Authorization") != _basic(account):
            self._answer(401)
            return
        token = uuid.uuid4().hex
        self.registry.issued[token] = set(query.get("scope", []))
        self._answer(200, json.dumps({"token": token}).encode())

    def _manifest(self, repository: str, version: str) -> None:
        registry = self.registry
        digest = registry.tags.get((repository, version), version)
        if self.command == "PUT":
            self._put_manifest(repository, version)
        elif (repository, digest) not in registry.manifests:
            self._refuse(404, "MANIFEST_UNKNOWN")
        elif self.command == "DELETE":
            if not registry.deletes:
                self._refuse(405, "UNSUPPORTED")
                return
            del registry.manifests[repository, digest]
            self._answer(202)
        else:
            media_type, content = registry.manifests[repository, digest]
            self._answer(200, content, {"Content-Type": media_type})

    def _put_manifest(self, repository: str, version: str) -> None:
        registry = self.registry
        document = json.loads(self.body)
        for blob in [document["config"], *document["layers"]]:
            held = registry.blobs.get((repository, blob["digest"]))
            if held is None or len(held) != blob["size"]:
                self._refuse(400, "MANIFEST_BLOB_UNKNOWN")
                return
        digest = digest_of(self.body)
        if version.startswith("sha256:") and version != digest:
            self._refuse(400, "DIGEST_INVALID")
            return
        registry.manifests[repository, digest] = (self.headers["Content-Type"], self.body)
        if version != digest:
            registry.tags[repository, version] = digest
        self._answer(201, headers={"Docker-Content-Digest": registry.claims or digest})

    def _blob(self, repository: str, digest: str) -> None:
        content = self.registry.blobs.get((repository, digest))
        if content is None:
            self._refuse(404, "BLOB_UNKNOWN")
        elif part := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            self._answer(206, content[int(part[1]) :])
        else:
            self._answer(200, content)

    def _upload(self, repository: str, session: str, query: Mapping[str, str]) -> None:
        registry = self.registry
        if self.command == "POST":
            origin = (query.get("from", ""), query.get("mount", ""))
            if registry.mounts and origin in registry.blobs:
                registry.blobs[repository, origin[1]] = registry.blobs[origin]
                self._answer(201)
                return
            session = uuid.uuid4().hex
            registry.uploads[session] = bytearray()
            self._tell_upload(202, repository, session)
            return
        held = registry.uploads.get(session)
        if held is None:
            self._refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif not registry.resumes and query["_state"] != f"at={len(held)}":
            del registry.uploads[session]
            self._refuse(400, "BLOB_UPLOAD_INVALID")
        elif self.command == "GET":
            self._tell_upload(204, repository, session)
        elif self.command == "PATCH":
            self._take_chunk(repository, session, held)
        else:
            del registry.uploads[session]
            self._end_upload(repository, bytes(held) + self.body, query)

    def _take_chunk(self, repository: str, session: str, held: bytearray) -> None:
        first, _, last = self.headers["Content-Range"].partition("-")
        if not self.registry.chunks or len(self.body) < self.registry.least_chunk:
            self._refuse(400, "UNSUPPORTED")
        elif int(first) != len(held) or int(last) != len(held) + len(self.body) - 1:
            self._refuse(416, "BLOB_UPLOAD_INVALID")
        else:
            held += self.body
            self._tell_upload(202, repository, session)

    def _tell_upload(self, status: int, repository: str, session: str) -> None:
        held = len(self.registry.uploads[session])
        headers = {
            "Location": f"/v2/{repository}/blobs/uploads/{session}?_state=at%3D{held}",
            "Range": f"0-{max(0, held - 1)}",
        }
        if status == 202 and self.registry.least_chunk:
            headers["OCI-Chunk-Min-Length"] = str(self.registry.least_chunk)
        self._answer(status, headers=headers)

    def _end_upload(self, repository: str, content: bytes, query: Mapping[str, str]) -> None:
        if self.command == "DELETE":
            self._answer(204)
        elif digest_of(content) != query.get("digest"):
            self._refuse(400, "DIGEST_INVALID")
        else:
            digest = self.registry.add_blob(repository, content)
            stored = self.registry.claims or digest
            self._answer(201, headers={"Docker-Content-Digest": stored})

    def _refuse(self, status: int, code: str) -> None:
        body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
        self._answer(status, json.dumps(body).encode())

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204 and "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _basic(account: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(account).encode()).decode()
