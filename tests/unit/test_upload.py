"""A blob on its way: in chunks, on from where the registry is, and never for ever."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from kfspawner.errors import (
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
)
from kfspawner.packaging import upload
from kfspawner.packaging.conversation import PERSISTENCE
from kfspawner.packaging.manifest import Descriptor
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.upload import read_file
from tests.fakes.registry import FakeRegistry, Fault, digest_of

# Eight chunks and a bit, no two of them alike.
CHUNK = 1000
CONTENT = b"".join(b"%06d" % n for n in range(1400))
DIGEST = digest_of(CONTENT)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_CHUNK", CHUNK)
    monkeypatch.setattr(upload, "_PIECE", 300)


def is_whole(fake: FakeRegistry) -> bool:
    """Say whether the blob is there, and nothing else is left of its upload."""
    return fake.blobs == {("runs", DIGEST): CONTENT} and not fake.uploads


def sessions(fake: FakeRegistry) -> set[str]:
    found = (re.search(r"uploads/(\w+)", call) for call in fake.calls("PATCH") + fake.calls("PUT"))
    return {match[1] for match in found if match}


def test_a_large_blob_goes_by_chunks(fake: FakeRegistry, registry: Registry) -> None:
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(fake.calls("PATCH")) == 8
    assert len(fake.calls("PUT")) == len(fake.calls("POST")) == 1
    assert not [call for call in fake.calls("GET") if "uploads" in call]


@pytest.mark.parametrize("size", [0, 1, CHUNK])
def test_a_small_blob_goes_in_one_request(
    fake: FakeRegistry, registry: Registry, size: int
) -> None:
    content = CONTENT[:size]
    registry.push_blob("runs", content)
    assert fake.blobs == {("runs", digest_of(content)): content}
    assert not fake.calls("PATCH")


@pytest.mark.parametrize("status", [None, 500, 502, 503, 429])
@pytest.mark.parametrize("after", [0, 1, 617, CHUNK])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_what_broke_goes_on_from_there(
    fake: FakeRegistry, registry: Registry, method: str, after: int, status: int | None
) -> None:
    fake.faults += [
        Fault("PATCH", "uploads", times=0 if method == "PUT" else 1, status=status, after=after),
        Fault("PUT", "uploads", times=0 if method == "PATCH" else 1, status=status, after=after),
    ]
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    # A single byte of an upload cannot be told from none.
    assert len(sessions(fake)) == (2 if (method, after) == ("PATCH", 1) else 1)
    assert len(fake.calls("PATCH")) <= (10 if after == 1 else 9)


@pytest.mark.parametrize("status", [None, 500])
def test_where_the_registry_forgets_it_starts_over(
    fake: FakeRegistry, registry: Registry, status: int | None
) -> None:
    fake.resumes = False
    fake.faults.append(Fault("PATCH", "uploads", times=1, status=status, after=617))
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(sessions(fake)) == 2


def test_a_registry_that_lost_every_upload(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.append(Fault("PATCH", "uploads", status=404))
    fake.faults.append(Fault("GET", "uploads", status=404))
    registry.push_blob("runs", CONTENT)
    assert fake.blobs["runs", DIGEST] == CONTENT
    assert len(sessions(fake)) == 2


def test_a_range_that_does_not_fit_is_asked_for(fake: FakeRegistry, registry: Registry) -> None:
    def read(start: int) -> AbstractContextManager[Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            for at in range(start, len(CONTENT), 100):
                if at == 1500 and not start:
                    (held,) = fake.uploads.values()
                    del held[617:]  # what it had not yet written as it fell
                yield CONTENT[at : at + 100]

        return contextlib.nullcontext(pieces())

    registry.upload_blob("runs", Descriptor.of("any", CONTENT), read)
    assert is_whole(fake)
    assert len(sessions(fake)) == 1
    assert len([call for call in fake.calls("GET") if "uploads" in call]) == 1


def test_a_chunk_that_is_taken_in_part(fake: FakeRegistry, registry: Registry) -> None:
    place = {"Range": "0-99"}
    fake.faults.append(Fault("PATCH", "uploads", status=202, after=100, headers=place))
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(sessions(fake)) == 1


@pytest.mark.parametrize("told", ["0-999999", "1-5", "many", ""])
def test_nonsense_about_the_range_starts_over(
    fake: FakeRegistry, registry: Registry, told: str
) -> None:
    fake.faults.append(Fault("PATCH", "uploads", status=503, after=CHUNK))
    fake.faults.append(Fault("GET", "uploads", status=204, headers={"Range": told}))
    registry.push_blob("runs", CONTENT)
    assert fake.blobs["runs", DIGEST] == CONTENT


def test_chunks_put_together_wrongly_are_sent_once_more(
    fake: FakeRegistry, registry: Registry
) -> None:
    fake.faults.append(Fault("PATCH", "uploads", after=617))
    fake.faults.append(Fault("PUT", "uploads", status=400))
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert fake.calls("PUT")[-1].endswith(DIGEST)
    assert len(fake.calls("PATCH")) == 8, "the second time in one piece"


def test_a_registry_that_takes_no_chunks(fake: FakeRegistry, registry: Registry) -> None:
    fake.chunks = False
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(fake.calls("PATCH")) == 1


def test_a_registry_that_wants_larger_chunks(fake: FakeRegistry, registry: Registry) -> None:
    fake.least_chunk = 3 * CHUNK
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(fake.calls("PATCH")) == 2


def test_an_answer_that_was_lost(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.append(Fault("PUT", "uploads"))

    def read(start: int) -> AbstractContextManager[Iterator[bytes]]:
        fake.add_blob("runs", CONTENT)  # the other end finishes what this one thinks broken
        return read_file(io.BytesIO(CONTENT))(start)

    registry.upload_blob("runs", Descriptor.of("any", CONTENT), read)
    assert len(fake.calls("PUT")) == len(fake.calls("HEAD")) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(None, RegistryUnreachable), (500, RegistryBusy), (429, RegistryBusy)]
)
def test_it_gives_up(
    fake: FakeRegistry, registry: Registry, status: int | None, error: type[RegistryError]
) -> None:
    fake.faults.append(Fault("PUT", "uploads", times=99, status=status))
    with pytest.raises(error, match=f"pushing to {fake.host}/runs"):
        registry.push_blob("runs", CONTENT)
    assert len(fake.calls("PUT")) == PERSISTENCE
    assert not fake.uploads, "it is given back"
    assert not fake.blobs


def test_it_does_not_give_up_while_it_gets_on(fake: FakeRegistry, registry: Registry) -> None:
    times = 4 * PERSISTENCE
    fake.faults.append(Fault("PATCH", "uploads", times=times, after=100))
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert len(fake.calls("PATCH")) > times


@pytest.mark.parametrize("status", [403, 413])
def test_a_refusal_is_not_tried_again(fake: FakeRegistry, registry: Registry, status: int) -> None:
    fake.faults.append(Fault("PATCH", "uploads", times=99, status=status))
    with pytest.raises(RegistryError, match=f"{status} from the registry"):
        registry.push_blob("runs", CONTENT)
    assert len(fake.calls("PATCH")) == 1
    assert not fake.uploads


def test_a_token_that_ends_on_the_way(fake: FakeRegistry, registry: Registry) -> None:
    fake.tokens = True

    def read(start: int) -> AbstractContextManager[Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            for at in range(start, len(CONTENT), 100):
                if at == 4500 and not start:
                    fake.issued.clear()
                yield CONTENT[at : at + 100]

        return contextlib.nullcontext(pieces())

    registry.upload_blob("runs", Descriptor.of("any", CONTENT), read)
    assert is_whole(fake)
    assert len(sessions(fake)) == 1


def test_an_account_that_may_not_is_refused_at_once(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.append(Fault("PATCH", "uploads", times=99, status=401))
    with pytest.raises(RegistryDenied):
        registry.push_blob("runs", CONTENT)
    assert len(fake.calls("PATCH")) == 2


def test_it_is_stored_as_what_it_is_or_refused(fake: FakeRegistry, registry: Registry) -> None:
    fake.claims = "sha256:" + "0" * 64
    with pytest.raises(RegistryError, match=f"stored as {fake.claims} and not as {DIGEST}"):
        registry.push_blob("runs", CONTENT)


@pytest.mark.parametrize("now", [CONTENT[:-1], CONTENT[:-1] + b"x", CONTENT[:500], b""])
def test_what_changed_meanwhile_is_not_stored(
    fake: FakeRegistry, registry: Registry, now: bytes
) -> None:
    with pytest.raises(RegistryError, match=r"less of the blob|digest invalid"):
        registry.upload_blob("runs", Descriptor.of("any", CONTENT), read_file(io.BytesIO(now)))
    assert not fake.blobs
    assert not fake.uploads
    assert len(fake.calls("POST")) == 1


def test_what_grew_meanwhile_is_not_read(fake: FakeRegistry, registry: Registry) -> None:
    blob = Descriptor.of("any", CONTENT)
    registry.upload_blob("runs", blob, read_file(io.BytesIO(CONTENT + b"x")))
    assert is_whole(fake)


def test_a_stopped_push_ends(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.append(Fault("PATCH", "uploads", times=99))
    registry.stop()
    with pytest.raises(RegistryUnreachable):
        registry.push_blob("runs", CONTENT)
    assert len(fake.calls("PATCH")) == 1


def test_a_place_is_needed(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.append(Fault("POST", "uploads", status=202))
    with pytest.raises(RegistryError, match="no place to upload"):
        registry.push_blob("runs", CONTENT)


@pytest.mark.parametrize("start", ["http://{host}/v2/runs/blobs/uploads/", "./", ""])
def test_a_place_is_a_whole_address_or_a_part(
    fake: FakeRegistry, registry: Registry, start: str
) -> None:
    fake.uploads["given"] = bytearray()
    place = f"{start.format(host=fake.host)}given?_state=at%3D0"
    fake.faults.append(Fault("POST", "uploads", status=202, headers={"Location": place}))
    registry.push_blob("runs", CONTENT)
    assert is_whole(fake)
    assert sessions(fake) == {"given"}


@pytest.mark.parametrize("after", [0, 100, 2500])
def test_a_copy_goes_on_in_the_middle(fake: FakeRegistry, registry: Registry, after: int) -> None:
    blob = Descriptor.of("any", CONTENT)
    fake.faults.append(Fault("PATCH", "uploads", after=after))
    with FakeRegistry().running() as other, Registry(other.host) as source:
        other.add_blob("base", CONTENT)
        registry.copy_blob("runs", blob, source, "base")
    assert is_whole(fake)
    assert len(sessions(fake)) == 1
