"""The registry's API: what is asked, what is tried again, and what errors become."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from kfspawner.errors import (
    ImageMissing,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
)
from kfspawner.packaging.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    this_platform,
)
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.signin import Credentials, SignIn
from kfspawner.reference import Reference
from tests.fakes.images import add_image
from tests.fakes.registry import FakeRegistry, Fault, digest_of

ALICE = Credentials("alice", "s3cret-password")
HEX = "a" * 64


def reference(fake: FakeRegistry, version: str = "1") -> Reference:
    mark = "@" if version.startswith("sha256:") else ":"
    return Reference.parse(f"{fake.host}/base{mark}{version}")


@pytest.mark.parametrize("docker", [False, True])
def test_resolve_by_tag_and_by_digest(
    fake: FakeRegistry, registry: Registry, *, docker: bool
) -> None:
    digest = add_image(fake, "base", "1", [b"one", b"two"], docker=docker)
    found = registry.resolve(reference(fake))
    assert found.digest == digest
    assert [layer.digest for layer in found.layers] == [digest_of(b"one"), digest_of(b"two")]
    assert found.is_docker == docker
    assert registry.resolve(reference(fake, digest)) == found


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_resolve_takes_this_platform_from_an_index(
    fake: FakeRegistry, registry: Registry, kind: str
) -> None:
    digest = add_image(fake, "base", "this")
    system, machine = this_platform()
    index = {
        "schemaVersion": 2,
        "manifests": [
            {"digest": f"sha256:{HEX}", "platform": {"os": system, "architecture": "s390x"}},
            {"digest": digest, "platform": {"os": system, "architecture": machine}},
            {"digest": f"sha256:{HEX}"},
        ],
    }
    fake.add_manifest("base", index, kind, "1")
    assert registry.resolve(reference(fake)).digest == digest


def test_resolve_says_which_platforms_there_are(fake: FakeRegistry, registry: Registry) -> None:
    platforms = [{"os": "linux", "architecture": name} for name in ("s390x", "riscv64")]
    index = {"manifests": [{"digest": f"sha256:{HEX}", "platform": each} for each in platforms]}
    fake.add_manifest("base", index, OCI_INDEX, "1")
    with pytest.raises(ImageMissing, match="only for linux/riscv64, linux/s390x"):
        registry.resolve(reference(fake))


@pytest.mark.parametrize(
    ("media_type", "document", "said"),
    [
        ("application/vnd.docker.distribution.manifest.v1+json", {}, "of a kind"),
        (OCI_MANIFEST, {}, "manifest is broken"),
        (OCI_MANIFEST, {"config": {}, "layers": []}, "manifest is broken"),
        (OCI_MANIFEST, {"config": [], "layers": []}, "manifest is broken"),
        (OCI_INDEX, {"manifests": [{"platform": {}}]}, "index is broken"),
        (
            DOCKER_MANIFEST,
            {"config": {"mediaType": "a/helm", "digest": "sha256:1", "size": 1}, "layers": []},
            "no container image but a/helm",
        ),
    ],
)
def test_resolve_refuses_what_is_no_image(
    fake: FakeRegistry, registry: Registry, media_type: str, document: dict[str, object], said: str
) -> None:
    fake.add_manifest("base", document, media_type, "1")
    with pytest.raises(RegistryError, match=said):
        registry.resolve(reference(fake))


def test_resolve_checks_the_digest(fake: FakeRegistry, registry: Registry) -> None:
    digest = add_image(fake, "base", "1")
    fake.manifests["base", digest] = (OCI_MANIFEST, b"{}")
    with pytest.raises(RegistryError, match=f"what came is not {digest}"):
        registry.resolve(reference(fake, digest))


@pytest.mark.parametrize(
    ("status", "error", "attempts"),
    [
        (401, RegistryDenied, 1),
        (403, RegistryDenied, 1),
        (404, ImageMissing, 1),
        (418, RegistryError, 1),
        (429, RegistryBusy, 3),
        (500, RegistryBusy, 3),
        (503, RegistryBusy, 3),
    ],
)
def test_status_becomes_an_error(
    fake: FakeRegistry, registry: Registry, status: int, error: type[RegistryError], attempts: int
) -> None:
    body = b'{"errors": [{"code": "C", "message": "out of\\nluck"}]}'
    fake.faults.append(Fault("GET", "manifests", times=9, status=status, body=body))
    with pytest.raises(error) as caught:
        registry.resolve(reference(fake))
    assert type(caught.value) is error
    assert str(caught.value).startswith(
        f"reading the image {fake.host}/base:1: {status} from the registry (out of luck); "
    )
    assert len(fake.calls("GET")) == attempts


@pytest.mark.parametrize("status", [503, 429, None])
def test_tried_again_until_it_works(
    fake: FakeRegistry, registry: Registry, status: int | None
) -> None:
    digest = add_image(fake, "base", "1")
    fake.faults.append(Fault("GET", "manifests", times=2, status=status))
    assert registry.resolve(reference(fake)).digest == digest


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    with Registry(host) as registry, pytest.raises(RegistryUnreachable, match=host) as caught:
        registry.resolve(Reference(host, "base"))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_no_answer_is_not_waited_for_longer_than_patience(fake: FakeRegistry) -> None:
    fake.faults.append(Fault("GET", "manifests", times=9, seconds=5.0))
    started = time.monotonic()
    with (
        Registry(fake.host, patience=0.4) as registry,
        pytest.raises(RegistryUnreachable, match="no answer in time"),
    ):
        registry.resolve(reference(fake))
    assert time.monotonic() - started < 1.5


def test_tls_is_spoken_unless_told_otherwise() -> None:
    assert Registry("registry.example")._line._client.base_url == "https://registry.example"
    assert Registry("docker.io")._line._client.base_url == "https://registry-1.docker.io"
    plain = Registry("registry.example:5000", plain_http=True)
    assert plain._line._client.base_url == "http://registry.example:5000"
    for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000"):
        assert Registry(host)._line._client.base_url.scheme == "http"


@pytest.mark.parametrize(
    ("account", "credentials"), [(None, None), (("alice", "s3cret-password"), ALICE)]
)
def test_token(
    fake: FakeRegistry, account: tuple[str, str] | None, credentials: Credentials | None
) -> None:
    digest = add_image(fake, "base", "1")
    fake.tokens, fake.account = True, account
    with Registry(fake.host, credentials=credentials) as registry:
        manifest = registry.resolve(reference(fake))
        assert manifest.digest == digest
        registry.resolve(reference(fake))
        assert len(fake.issued) == 1, "one token serves for both"
        assert registry.mount_blob("runs", digest_of(b"top"), "base")
        registry.push_blob("runs", b"own")
        fake.issued.clear()
        registry.push_blob("runs", b"after the token expired")
    assert {("runs", digest_of(b"own")), ("runs", digest_of(b"top"))} <= fake.blobs.keys()


def test_basic_account(fake: FakeRegistry) -> None:
    digest = add_image(fake, "base", "1")
    fake.account = ("alice", "s3cret-password")
    with Registry(fake.host, credentials=ALICE) as registry:
        assert registry.resolve(reference(fake)).digest == digest


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("credentials", [None, Credentials("alice", "wr0ng-password")])
def test_denied_without_telling_secrets(
    fake: FakeRegistry, *, tokens: bool, credentials: Credentials | None
) -> None:
    add_image(fake, "base", "1")
    fake.tokens, fake.account = tokens, ("alice", "s3cret-password")
    with (
        Registry(fake.host, credentials=credentials) as registry,
        pytest.raises(RegistryDenied, match="401") as caught,
    ):
        registry.resolve(reference(fake))
    assert "wr0ng-password" not in str(caught.value) + repr(credentials)
    assert "sign in" in caught.value.way_out


def test_what_a_registry_repeats_is_hidden(fake: FakeRegistry) -> None:
    fake.account = ("alice", "s3cret-password")
    body = b'{"errors": [{"code": "X", "message": "no s3cret-password here"}]}'
    fake.faults.append(Fault("GET", "manifests", status=400, body=body))
    with (
        Registry(fake.host, credentials=ALICE) as registry,
        pytest.raises(RegistryError, match="no … here"),
    ):
        registry.resolve(reference(fake))


def test_secrets_stay_with_their_registry() -> None:
    sign_in = SignIn(httpx.URL("https://registry.example"), ALICE)
    asked = httpx.Request("GET", "https://registry.example/v2/a/manifests/1")
    challenge = {"WWW-Authenticate": 'Bearer realm="http://registry.example/token"'}
    response = httpx.Response(401, headers=challenge, request=asked)
    with httpx.Client() as client, pytest.raises(RegistryDenied, match="not safe"):
        sign_in.answer(response, "a", client, "reading a")
    basic = httpx.Response(401, headers={"WWW-Authenticate": "Basic"}, request=asked)
    with httpx.Client() as client:
        assert sign_in.answer(basic, "a", client, "reading a")
    for url, signed in [
        ("https://registry.example/v2/a", True),
        ("http://registry.example/v2/a", False),
        ("https://registry.example:444/v2/a", False),
        ("https://blobs.example/a", False),
    ]:
        request = httpx.Request("PUT", url)
        sign_in.sign(request, "a")
        assert ("Authorization" in request.headers) == signed


def test_mount(fake: FakeRegistry, registry: Registry) -> None:
    add_image(fake, "base", "1")
    assert registry.mount_blob("runs", digest_of(b"top"), "base")
    assert registry.has_blob("runs", digest_of(b"top"))
    fake.mounts = False
    assert not registry.mount_blob("runs", digest_of(b"bottom"), "base")
    assert not registry.has_blob("runs", digest_of(b"bottom"))
    assert not fake.uploads, "an upload that is not wanted is given back"


def test_push_blob_once(fake: FakeRegistry, registry: Registry) -> None:
    registry.push_blob("runs", b"content")
    registry.push_blob("runs", b"content")
    assert fake.blobs["runs", digest_of(b"content")] == b"content"
    assert len(fake.calls("PUT")) == 1


CUT = {"Content-Length": "9999999"}


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault("GET", "blobs"),
        Fault("GET", "blobs", status=200, body=b"half", headers=CUT),
        Fault("PUT", "uploads"),
        Fault("PUT", "uploads", status=503),
    ],
)
def test_copy_from_another_registry(
    fake: FakeRegistry, registry: Registry, fault: Fault | None
) -> None:
    content = b"large" * 2**20
    blob = Descriptor.of("any", content)
    with FakeRegistry().running() as other, Registry(other.host) as source:
        other.add_blob("base", content)
        for each in (fake, other):
            each.faults += [fault] if fault else []
        registry.copy_blob("runs", blob, source, "base")
    assert fake.blobs["runs", blob.digest] == content


def test_copy_of_a_broken_blob_is_refused(fake: FakeRegistry, registry: Registry) -> None:
    blob = Descriptor.of("any", b"content")
    with FakeRegistry().running() as other, Registry(other.host) as source:
        other.blobs["base", blob.digest] = b"c0ntent"
        with pytest.raises(RegistryError, match="what came is not"):
            registry.copy_blob("runs", blob, source, "base")
    assert ("runs", blob.digest) not in fake.blobs
    assert not fake.uploads
    assert not fake.calls("PUT"), "nothing is finished that is not whole"


def test_read_blob(fake: FakeRegistry, registry: Registry) -> None:
    blob = Descriptor.of("any", b"config")
    fake.add_blob("base", b"config")
    assert registry.read_blob("base", blob) == b"config"
    fake.blobs["base", blob.digest] = b"c0nfig"
    with pytest.raises(RegistryError, match="what came is not"):
        registry.read_blob("base", blob)


def test_delete(fake: FakeRegistry, registry: Registry) -> None:
    digest = add_image(fake, "base", "1")
    fake.deletes = False
    with pytest.raises(RegistryError, match="this registry does not delete"):
        registry.delete_manifest("base", digest)
    fake.deletes = True
    registry.delete_manifest("base", digest)
    with pytest.raises(ImageMissing, match=f"deleting {fake.host}/base@{digest}: 404"):
        registry.delete_manifest("base", digest)
