"""The code of a run comes back from its image alone, and nothing else does."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ImageMissing, OptionRefused, RegistryError
from kfspawner.packaging import restore as restoring
from kfspawner.packaging.image import LAYER_ANNOTATION, package
from kfspawner.packaging.manifest import OCI_MANIFEST
from kfspawner.packaging.provenance import Provenance
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.restore import restore
from kfspawner.packaging.source import RUN_DIR, Source
from kfspawner.reference import Reference
from tests.fakes.images import add_image, make_config
from tests.fakes.registry import FakeRegistry, Fault, digest_of

FILES = {"train.py": b"print(1)\n", "työ/a b.py": b"", "työ/data.bin": bytes(range(256)) * 9999}
COMMAND = ("python", "-u", f"{RUN_DIR}/train.py", "--lr", "0.1")
TOLD = Provenance("folder", "~/työ", "a" * 40, dirty=True, person="alice", profile="vision")
TOP = RUN_DIR.strip("/")


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_what_was_packaged_comes_back(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, *, docker: bool, exists: bool
) -> None:
    base = add_image(fake, "cpu", "1", docker=docker)
    source = Source("train", FILES, COMMAND)
    image = package(source, f"{fake.host}/cpu:1", f"{fake.host}/vision/runs", provenance=TOLD)
    folder = tmp_path / "new" / "back"
    if exists:
        folder.mkdir(parents=True)
    restored = restore(registry, image, folder)
    assert files_below(folder) == FILES
    assert restored.folder == folder
    assert restored.image == image
    assert restored.base == f"{fake.host}/cpu@{base}"
    assert restored.command == COMMAND
    assert restored.provenance == TOLD
    assert list(folder.parent.iterdir()) == [folder], "nothing is left beside it"


def test_a_run_on_the_image_of_a_run(
    fake: FakeRegistry, registry: Registry, tmp_path: Path
) -> None:
    add_image(fake, "cpu", "1")
    first = package(
        Source("a", {"a.py": b"1"}, COMMAND),
        f"{fake.host}/cpu:1",
        f"{fake.host}/r",
        provenance=TOLD,
    )
    second = package(Source("b", {"b.py": b"2"}, COMMAND), str(first), f"{fake.host}/r")
    restored = restore(registry, second, tmp_path / "b")
    assert files_below(tmp_path / "b") == {"b.py": b"2"}
    assert restored.base == str(first)
    assert restored.provenance == Provenance()


def test_an_image_that_is_none_of_a_run(
    fake: FakeRegistry, registry: Registry, tmp_path: Path
) -> None:
    add_image(fake, "cpu", "1")
    with pytest.raises(OptionRefused, match="not the image of a run"):
        restore(registry, Reference(fake.host, "cpu", "1"), tmp_path / "a")
    with pytest.raises(ImageMissing):
        restore(registry, Reference(fake.host, "cpu", "2"), tmp_path / "a")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("taken", ["file", "full", "under a file"])
def test_nothing_is_written_over(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, taken: str
) -> None:
    image = put(fake, [entry("a.py", b"1")])
    folder = tmp_path / "a"
    if taken == "full":
        folder.mkdir()
        (folder / "mine").write_text("mine")
    else:
        folder.write_text("mine")
    if taken == "under a file":
        folder /= "b"
    with pytest.raises(OptionRefused, match="give a folder that is new or empty"):
        restore(registry, image, folder)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def entry(path: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a run's layer; a path with a leading slash is one of the whole layer."""
    info = tarfile.TarInfo(path.removeprefix("//") if path[:2] == "//" else f"{TOP}/{path}")
    info.size = len(content)
    for name, value in fields.items():
        setattr(info, name, value)
    return info, content


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(path, type=kind, linkname=target)


def put(fake: FakeRegistry, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Reference:
    """Put an image into the registry whose code is that archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return put_layer(fake, gzip.compress(archive.getvalue()))


def put_layer(fake: FakeRegistry, layer: bytes) -> Reference:
    digest = add_image(fake, "runs", "1", [layer], config=make_config(1, Cmd=["python"]))
    document = fake.document("runs", digest)
    document["layers"][0]["annotations"] = {LAYER_ANNOTATION: "source"}
    made = fake.add_manifest("runs", document, OCI_MANIFEST)
    return Reference(fake.host, "runs", digest=made)


def test_modes_and_links(fake: FakeRegistry, registry: Registry, tmp_path: Path) -> None:
    image = put(
        fake,
        [
            entry("", type=tarfile.DIRTYPE, mode=0o755),
            entry("bin/run", b"#!/bin/sh\n", mode=0o6755),
            entry("bin/data", b"1", mode=0o666, uid=0, gid=0),
            entry("empty", type=tarfile.DIRTYPE, mode=0o1777),
            link("bin/other", "../bin/run"),
            link("again", "bin/other"),
            link("nowhere", "missing"),
        ],
    )
    restore(registry, image, tmp_path / "a")
    folder = tmp_path / "a"
    assert (folder / "bin" / "run").stat().st_mode & 0o7100 == 0o100
    assert (folder / "bin" / "data").stat().st_mode & 0o7111 == 0
    assert (folder / "empty").stat().st_mode & 0o7000 == 0
    assert (folder / "again").resolve() == (folder / "bin" / "run").resolve()
    assert (folder / "nowhere").is_symlink()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../../../tmp/x")],
        [entry("a/../../x")],
        [entry("./x")],
        [entry("a//x")],
        [entry("///etc/x")],
        [entry("//etc/passwd")],
        [entry(f"//{TOP}")],
        [entry(f"//{TOP}x/a")],
        [entry(".wh.main.py")],
        [entry("a/.wh..wh..opq")],
        [entry("pipe", type=tarfile.FIFOTYPE)],
        [entry("disk", type=tarfile.BLKTYPE)],
        [entry("tty", type=tarfile.CHRTYPE)],
        [link("a", "/etc/passwd", tarfile.LNKTYPE)],
        [link("a", "/etc/passwd")],
        [link("a", "..")],
        [link("a", "b/../../c")],
        [link("a", f"../{'x/../' * 9}etc")],
        [link("d/a", "../../etc")],
        # By one link after the other.
        [link("d/up", ".."), link("d/up/out", "../../etc")],
        [link("d/up", ".."), link("out", "d/up/../etc")],
        [link("up", "d"), entry("up/x", b"1")],
        [entry("up/x", b"1"), link("up", "d")],
        [link("up", "d"), link("up", "e"), entry("up/x", b"1")],
        # The same thing twice.
        [entry("a", b"1"), entry("a", b"2")],
        [entry("a", b"1"), entry("a/b", b"2")],
        [entry("a/b", b"1"), entry("a", b"2")],
        [link("a", "b"), entry("a", b"2")],
    ],
    ids=lambda entries: " ".join(info.name for info, _ in entries)[:50],
)
def test_what_is_meant_to_do_harm_does_none(
    fake: FakeRegistry,
    registry: Registry,
    tmp_path: Path,
    entries: list[tuple[tarfile.TarInfo, bytes]],
) -> None:
    image = put(fake, [entry("good.py", b"1"), *entries])
    folder = tmp_path / "deep" / "folder"
    with pytest.raises(RegistryError, match="restoring"):
        restore(registry, image, folder)
    assert [path for path in tmp_path.rglob("*") if path.name != "deep"] == []


@pytest.mark.parametrize("layer", [b"", b"no archive", gzip.compress(b"no archive" * 99)])
def test_a_broken_layer(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, layer: bytes
) -> None:
    with pytest.raises(RegistryError, match="its layer is broken"):
        restore(registry, put_layer(fake, layer), tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_a_layer_that_is_cut_short(fake: FakeRegistry, registry: Registry, tmp_path: Path) -> None:
    image = put(fake, [entry("a.py", bytes(range(256)) * 99)])
    cut = {"Content-Length": "9999999"}
    (digest,) = (layer["digest"] for layer in fake.document("runs", image.version)["layers"])
    body = fake.blobs["runs", digest][:100]
    fake.faults.append(Fault("GET", digest, status=200, headers=cut, body=body, times=9))
    with pytest.raises(RegistryError):
        restore(registry, image, tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_files_of_other_bytes_are_not_kept(
    fake: FakeRegistry, registry: Registry, tmp_path: Path
) -> None:
    image = put(fake, [entry("a.py", b"print(1)")])
    other = put(fake, [entry("a.py", b"print(2)")])
    blobs = [fake.document("runs", each.version)["layers"][0] for each in (image, other)]
    fake.blobs["runs", blobs[0]["digest"]] = fake.blobs["runs", blobs[1]["digest"]]
    with pytest.raises(RegistryError, match=r"what came is not|not \d+ bytes long"):
        restore(registry, image, tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_what_comes_after_the_archive_counts(
    fake: FakeRegistry, registry: Registry, tmp_path: Path
) -> None:
    first = put(fake, [entry("a.py", b"print(1)")])
    layer = fake.blobs["runs", fake.document("runs", first.version)["layers"][0]["digest"]]
    whole = layer + bytes(4 * 2**20)
    image = put_layer(fake, whole)
    fake.blobs["runs", digest_of(whole)] = whole[:-1] + b"x"
    with pytest.raises(RegistryError, match="what came is not"):
        restore(registry, image, tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_a_layer_that_swells(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_SIZE_LIMIT", 10**6)
    image = put(fake, [entry(f"{n}", bytes(300_000)) for n in range(4)])
    with pytest.raises(RegistryError, match="more in it than a run takes"):
        restore(registry, image, tmp_path / "a")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "config", [{"config": ["x"]}, {"config": {"Labels": "x"}}, {"config": {"Cmd": 5}}]
)
def test_a_config_that_is_none(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, config: dict[str, Any]
) -> None:
    add_image(fake, "runs", "1", config=config)
    with pytest.raises(RegistryError, match="its config is broken"):
        restore(registry, Reference(fake.host, "runs", "1"), tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_annotations_of_another_kind(
    fake: FakeRegistry, registry: Registry, tmp_path: Path
) -> None:
    document = fake.document("runs", put(fake, [entry("a.py", b"1")]).version)
    for layer in document["layers"]:
        layer["annotations"] = ["x"]
    digest = fake.add_manifest("runs", document, OCI_MANIFEST)
    with pytest.raises(OptionRefused, match="not the image of a run"):
        restore(registry, Reference(fake.host, "runs", digest=digest), tmp_path / "a")
