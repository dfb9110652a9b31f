"""What was installed since the image was built, as layers."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfspawner.errors import SourceRefused
from kfspawner.packaging.base import list_packages
from kfspawner.packaging.dependencies import (
    USER_BASE,
    Environment,
    Layers,
    find_dependencies,
)
from kfspawner.packaging.layer import Deletion
from tests.fakes.packages import apply, install, shared_object, uninstall

NAMES = st.sampled_from(["a", "b", "c"])
FILES = st.dictionaries(
    st.sampled_from(["ns/x.py", "ns/y.py", "ns/deep/z.py", "one.py", "data/d.txt"]),
    st.sampled_from([b"", b"1", b"22"]),
)
# A distribution's files are its own: its name is in their paths.
SETS = st.dictionaries(NAMES, st.tuples(FILES, st.sampled_from(["1", "2"])))


def site_of(prefix: Path) -> Path:
    return prefix / "lib/python3/site-packages"


def make_environment(top: Path) -> Environment:
    """Return an environment with nothing in it, and an image that says so."""
    environment = Environment(
        top / "venv",
        top / "venv",
        site_of(top / "venv"),
        site_of(top / "home/.local"),
        top / "home/.local",
        top / "listed",
    )
    environment.site.mkdir(parents=True)
    list_packages(environment.site, environment.listed)
    return environment


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return make_environment(tmp_path)


@pytest.fixture
def layers() -> Iterator[Layers]:
    layers = Layers()
    yield layers
    layers.close()


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@settings(deadline=None)
@given(SETS, SETS)
def test_layer_makes_of_the_base_what_the_person_has(
    before: dict[str, tuple[dict[str, bytes], str]], after: dict[str, tuple[dict[str, bytes], str]]
) -> None:
    """Installed, upgraded, downgraded, removed: the run has the same files as the server."""
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        environment = make_environment(top)

        def put(name: str, files: dict[str, bytes], version: str) -> Path:
            own = {path.replace(".", f"_{name}."): content for path, content in files.items()}
            return install(environment.site, name, own, version)

        placed = [put(name, *what) for name, what in before.items()]
        list_packages(environment.site, environment.listed)
        shutil.copytree(environment.prefix, top / f"run{environment.prefix}")
        for metadata in placed:
            uninstall(metadata)
        for name, what in after.items():
            put(name, *what)
        layers = Layers()
        for layer in layers.make(find_dependencies(environment), environment.prefix):
            apply(layer, top / "run")
        layers.close()
        assert tree(top / f"run{environment.prefix}") == tree(environment.prefix)


def test_nothing_installed_is_no_layer(environment: Environment, layers: Layers) -> None:
    install(environment.site, "numpy", {"numpy/__init__.py": b""})
    list_packages(environment.site, environment.listed)
    found = find_dependencies(environment)
    assert (found.installed, found.sources, found.env, found.notes) == ({}, {}, {}, ())
    assert layers.make(found, environment.prefix) == []


def test_bytecode_and_addresses_stay(environment: Environment) -> None:
    files = {"x/a.py": b"", "x/__pycache__/a.pyc": b"", "../../../bin/x": b"#!"}
    about = {"url": "https://name:word@files.example/x.whl"}
    install(environment.site, "x", files, about=about)
    site = environment.site.as_posix()
    assert set(find_dependencies(environment).installed) == {
        f"{site}/x/a.py",
        f"{environment.prefix.as_posix()}/bin/x",
        *(f"{site}/x-1.dist-info/{name}" for name in ("INSTALLER", "METADATA", "RECORD")),
    }


def test_user_site_goes_where_no_home_is_mounted(environment: Environment) -> None:
    assert environment.user_site
    install(environment.user_site, "x", {"x.py": b"", "../../../bin/x": b"", "/etc/x": b""})
    found = find_dependencies(environment)
    assert {f"{USER_BASE}/lib/python3/site-packages/x.py", f"{USER_BASE}/bin/x"} < set(
        found.installed
    )
    assert all(path.startswith(USER_BASE) for path in found.installed)
    assert found.env == {"PYTHONUSERBASE": USER_BASE}
    assert "outside of" in " ".join(found.notes)


def test_image_that_says_nothing_came_with_all_outside_the_home(
    environment: Environment, tmp_path: Path
) -> None:
    install(environment.site, "x", {"x.py": b""})
    assert find_dependencies(replace(environment, listed=tmp_path / "none")).installed == {}


def test_image_that_says_nothing_has_what_is_newer_than_its_container_named(
    environment: Environment, tmp_path: Path
) -> None:
    for name in ("old", "v", "w", "x", "y"):
        install(environment.site, name, {f"{name}.py": b""})
    began = (environment.site / "old-1.dist-info").stat().st_ctime
    for name in ("v", "w", "x", "y"):
        while (place := environment.site / f"{name}-1.dist-info").stat().st_ctime <= began:
            place.chmod(0o755)
    found = find_dependencies(replace(environment, listed=tmp_path / "none", began=began))
    assert found.installed == {}
    (note,) = found.notes
    assert note.startswith("v-1, w-1, x-1 and 1 more in ")
    assert "old-1" not in note


def test_environment_of_this_process_is_where_it_runs() -> None:
    found = Environment.of_this_process()
    assert str(found.prefix) == sys.prefix
    assert (found.site / "hypothesis").is_dir()
    assert 0 < found.began <= time.time()


def test_removed_directories_are_removed_whole(environment: Environment) -> None:
    metadata = install(environment.site, "x", {"x/a.py": b"", "x/deep/b.py": b""})
    list_packages(environment.site, environment.listed)
    shutil.rmtree(metadata)
    shutil.rmtree(environment.site / "x")
    assert find_dependencies(environment).installed == {
        f"{environment.site.as_posix()}/{name}": Deletion() for name in ("x", "x-1.dist-info")
    }


def test_what_names_no_files_is_told(environment: Environment) -> None:
    (environment.site / "old-1.egg-info").write_text("Name: old")
    found = find_dependencies(environment)
    assert found.installed == {}
    assert "old-1.egg-info stays here" in found.notes[0]


def test_conda_environment_is_refused_with_advice(environment: Environment, tmp_path: Path) -> None:
    own = replace(environment, prefix=tmp_path / "envs/x")
    (own.prefix / "conda-meta").mkdir(parents=True)
    with pytest.raises(SourceRefused, match=r"envs/x is a conda environment .*install with pip"):
        find_dependencies(own)


def test_own_virtual_environment_is_told(environment: Environment, tmp_path: Path) -> None:
    found = find_dependencies(replace(environment, prefix=tmp_path / "other"))
    assert found.installed == {}
    assert "a run uses the image's own Python" in found.notes[0]


def test_unreadable_metadata_is_refused(environment: Environment) -> None:
    metadata = install(environment.site, "x", {})
    (metadata / "RECORD").unlink()
    (metadata / "RECORD").mkdir()
    with pytest.raises(SourceRefused, match="RECORD"):
        find_dependencies(environment)


def test_layer_is_kept_until_something_changes(environment: Environment, layers: Layers) -> None:
    install(environment.site, "x", {"x.py": b"1"})
    (first,) = layers.make(find_dependencies(environment), environment.prefix)
    (second,) = layers.make(find_dependencies(environment), environment.prefix)
    assert first is second
    (environment.site / "x.py").write_bytes(b"2 by hand")
    (third,) = layers.make(find_dependencies(environment), environment.prefix)
    assert third.diff_id != first.diff_id
    uninstall(environment.site / "x-1.dist-info")
    assert layers.make(find_dependencies(environment), environment.prefix) == []


def test_missing_libraries_are_named(environment: Environment, layers: Layers) -> None:
    module = shared_object("libc.so.6", "libown.so", "libthere.so.1", "libnowhere.so.1")
    install(environment.site, "x", {"x/_a.so": module, "x.libs/libown.so": shared_object()})
    (environment.prefix / "libthere.so.1").write_bytes(b"")
    layers.make(find_dependencies(environment), environment.prefix)
    (warning,) = layers.warnings
    assert warning == (f"{environment.site}/x/_a.so needs libnowhere.so.1, which the image lacks")
    uninstall(environment.site / "x-1.dist-info")
    layers.make(find_dependencies(environment), environment.prefix)
    assert layers.warnings == ()


EDITABLE = {"url": "file:///home/x", "dir_info": {"editable": True}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a package in it, and what must not go along."""
    project = tmp_path / "home/project"
    for name in (
        "mine/__init__.py",
        "mine/data/a.csv",
        "mine/.env",
        "mine/.git/config",
        "tests/t.py",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "mine/__pycache__").mkdir()
    (project / "mine/__pycache__/x.pyc").write_bytes(b"")
    (project / "mine/away").symlink_to("/etc/passwd")
    return project


@pytest.mark.parametrize("tool", ["pth", "finder"])
def test_editable_installs_go_as_source(
    environment: Environment, layers: Layers, project: Path, tool: str
) -> None:
    files = {
        "pth": {"_mine.pth": f"{project}\n".encode()},
        "finder": {
            "__editable__.mine-1.pth": b"import __editable___mine_1_finder",
            "__editable___mine_1_finder.py": (
                f"MAPPING: dict[str, str] = {{'mine': '{project / 'mine'}'}}".encode()
            ),
        },
    }[tool]
    install(environment.site, "mine", files, about=EDITABLE)
    found = find_dependencies(environment)
    site = environment.site.as_posix()
    assert set(found.sources) == {f"{site}/mine/__init__.py", f"{site}/mine/data/a.csv"}
    assert {Path(path).parent.name for path in found.installed} == {"mine-1.dist-info"}
    assert [note.split(": ")[0].rpartition("/")[2] for note in found.notes] == [
        ".env",
        ".git",
        "away",
    ]
    first = layers.make(found, environment.prefix)
    (project / "mine/data/a.csv").write_text("changed")
    second = layers.make(found, environment.prefix)
    assert first[0] is second[0]
    assert first[1].digest != second[1].digest


def test_editable_module_of_one_file(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "single.py").write_text("x = 1")
    finder = f"MAPPING = {{'single': '{tmp_path / 'single'}'}}".encode()
    install(environment.site, "single", {"__editable___s_finder.py": finder}, about=EDITABLE)
    found = find_dependencies(environment)
    assert found.sources == {f"{environment.site.as_posix()}/single.py": tmp_path / "single.py"}


def test_editable_install_without_a_trace_is_told(environment: Environment) -> None:
    install(environment.site, "lost", {"_lost.pth": b"import lost_hooks"}, about=EDITABLE)
    (note,) = find_dependencies(environment).notes
    assert "the source of lost-1.dist-info stays here" in note
