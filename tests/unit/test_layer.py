import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
import unicodedata
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kfspawner.errors import SourceRefused
from kfspawner.packaging import archive
from kfspawner.packaging.layer import Content, Deletion, Layer, Link, make_layer

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


def test_root_of_everything_has_no_directories_and_may_delete() -> None:
    members = unpack(make_layer({"a/b.py": b"1", "a/c": Deletion(), "d": Deletion()}, "/"))
    assert list(members) == ["a/b.py", "a/.wh.c", ".wh.d"]
    assert {member.size for member in members.values()} == {0, 1}


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


@st.composite
def disks(draw: st.DrawFn) -> dict[str, tuple[bytes, int]]:
    files = draw(trees())
    return {path: (content, draw(st.integers(0o400, 0o7777))) for path, content in files.items()}


@settings(deadline=None)
@given(disks())
def test_files_on_disk_are_what_they_hold(files: dict[str, tuple[bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as made:
        found: dict[str, Content] = {}
        for number, (path, (content, mode)) in enumerate(files.items()):
            found[path] = file = Path(made, str(number))
            file.write_bytes(content)
            file.chmod(mode | 0o400)
        layer = make_layer(found)
        members = unpack(layer)
        for path, (_, mode) in files.items():
            assert members[f"opt/kfspawner/run/{path}"].mode == (0o755 if mode & 0o100 else 0o644)
        plain = {path: content for path, (content, mode) in files.items() if not mode & 0o100}
        if len(plain) == len(files):
            assert layer == make_layer(plain)


@settings(deadline=None)
@given(trees(), st.integers(1, 3000))
def test_pieces_do_not_show(files: dict[str, bytes], piece: int) -> None:
    """A file's bytes are the same whether they are packed at once or one piece after another."""
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "CHUNK", piece)
        patch.setattr(archive, "_IN_MEMORY", 100)
        found: dict[str, Content] = {}
        for number, (path, content) in enumerate(files.items()):
            found[path] = file = Path(made, str(number))
            file.write_bytes(content)
        with make_layer(found) as layer, make_layer(files) as whole:
            assert layer.data == layer.data == whole.data


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    noise = Random(7).randbytes(2**20)
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(48):
            file.write(noise)
    tracemalloc.start()
    try:
        with make_layer({"big": big}) as layer:
            assert sum(map(len, layer.chunks())) == layer.size > 2**25
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20


LINKS = [("l", "main.py"), ("b/l", "../main.py"), ("b/c/l", "../../b/."), ("l", "nowhere")]
ESCAPES = [
    {"l": Link("/etc/passwd")},
    {"l": Link("..")},
    {"b/l": Link("../../x")},
    {"a/b/up": Link("../.."), "m": Link("a/b/up/../x")},
    {"l": Link("m"), "m": Link("l")},
]


@pytest.mark.parametrize(("path", "target"), LINKS)
def test_links_inside_stay_links(path: str, target: str) -> None:
    found = unpack(make_layer({"main.py": b"", path: Link(target)}))[f"opt/kfspawner/run/{path}"]
    assert (found.issym(), found.linkname, found.mtime) == (True, target, 0)


@pytest.mark.parametrize("links", ESCAPES)
def test_links_that_leave_are_refused(links: dict[str, Link]) -> None:
    with pytest.raises(SourceRefused, match="leads out"):
        make_layer({"main.py": b"", **links})


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c/d", "c/e", "f/g/h"]),
        st.lists(st.sampled_from([".", "..", "a", "b", "c", "d", "e", "f", "g", "h"])).map(
            "/".join
        ),
        min_size=1,
    )
)
def test_links_that_are_taken_lead_nowhere_else(targets: dict[str, str]) -> None:
    """What Linux makes of the links is inside of the tree, wherever they lead."""
    targets = {path: target or "." for path, target in targets.items()}
    try:
        make_layer({path: Link(target) for path, target in targets.items()})
    except SourceRefused:
        return
    with tempfile.TemporaryDirectory() as made:
        top = Path(made).resolve() / "top"
        for path, target in targets.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).symlink_to(target)
        for path in targets:
            assert (top / path).resolve().is_relative_to(top)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name, said in (("pipe", "no plain file"), ("link", "symbolic"), ("gone", "No such file")):
        with pytest.raises(SourceRefused, match=said):
            make_layer({"x": tmp_path / name})


def test_a_file_that_shrinks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 100)
    honest = os.fstat

    def larger(descriptor: int) -> os.stat_result:
        found = list(honest(descriptor))
        found[stat.ST_SIZE] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", larger)
    with pytest.raises(SourceRefused, match="became shorter"):
        make_layer({"log": file})
