import gzip
import hashlib
import io
import tarfile
import unicodedata
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kfspawner.errors import SourceRefused
from kfspawner.packaging.layer import Layer, make_layer

NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=120
).filter(lambda name: name not in {".", ".."} and not name.startswith(".wh."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    files: dict[str, bytes] = draw(st.dictionaries(PATHS, st.binary(max_size=600), min_size=1))
    normal = [unicodedata.normalize("NFC", path) for path in files]
    assume(len(set(normal)) == len(normal))
    assume(not any(one.startswith(f"{other}/") for one in normal for other in normal))
    return files


def unpack(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as tar:
        return {member.name: member for member in tar.getmembers()}


@given(trees(), st.randoms(use_true_random=False))
def test_same_files_are_the_same_bytes(files: dict[str, bytes], random: Random) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)
    assert make_layer(dict(shuffled)) == make_layer(files)


@given(trees(), trees())
def test_different_files_are_different_digests(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (make_layer(one).digest == make_layer(other).digest) == (one == other)


@given(trees())
def test_files_come_back(files: dict[str, bytes]) -> None:
    layer = make_layer(files, "/srv/run")
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as tar:
        found = {
            member.name: content.read()
            for member in tar.getmembers()
            if (content := tar.extractfile(member))
        }
    assert found == {f"srv/run/{path}": content for path, content in files.items()}


@given(trees())
def test_digests_are_of_the_bytes(files: dict[str, bytes]) -> None:
    layer = make_layer(files)
    assert layer.digest == "sha256:" + hashlib.sha256(layer.data).hexdigest()
    plain = gzip.decompress(layer.data)
    assert layer.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert layer.size == len(layer.data)


def test_entries_belong_to_the_person_and_have_no_history() -> None:
    members = unpack(make_layer({"b/c.py": b"1", "a.py": b"2"}))
    assert list(members) == [
        "opt/kfspawner/run",
        "opt/kfspawner/run/b",
        "opt/kfspawner/run/a.py",
        "opt/kfspawner/run/b/c.py",
    ]
    for member in members.values():
        assert (member.uid, member.gid, member.uname, member.gname) == (1000, 100, "", "")
        assert member.mtime == 0
        assert member.mode == (0o755 if member.isdir() else 0o644)


def test_directories_above_the_root_are_left_to_the_base() -> None:
    assert not {"opt", "opt/kfspawner"} & unpack(make_layer({"a": b""})).keys()


def test_bytes_are_these_on_every_machine() -> None:
    assert make_layer({"main.py": b"print(1)\n"}).diff_id == (
        "sha256:7908d8f43f44132123af3548f771c3ff1da27bf01b193e4c21977031920d9892"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no files"),
        ({"/etc/passwd": b""}, "absolute"),
        ({"../x": b""}, "leads out"),
        ({"a/../../x": b""}, "leads out"),
        ({"": b""}, "plain relative"),
        ({"a/": b""}, "plain relative"),
        ({"a//b": b""}, "plain relative"),
        ({"./a": b""}, "plain relative"),
        ({"a\0b": b""}, "plain relative"),
        ({".wh.a": b""}, "deletions"),
        ({"a/.wh..wh..opq": b""}, "deletions"),
        ({".wh.a/b": b""}, "deletions"),
        ({"\udc80": b""}, "not Unicode"),
        ({"caf\u00e9": b"", "cafe\u0301": b""}, "same name"),
        ({"a": b"", "a/b": b""}, "a file and a directory"),
    ],
)
def test_refused(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        make_layer(files)
