"""A base and a layer become an image, on registries that differ."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kfspawner.errors import (
    ImageMissing,
    OptionRefused,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    SourceRefused,
)
from kfspawner.packaging.entrypoint import make_entrypoint
from kfspawner.packaging.image import Addition, Ground, append, make_config, make_manifest, package
from kfspawner.packaging.layer import make_layer
from kfspawner.packaging.manifest import DOCKER_LAYER, DOCKER_MANIFEST, OCI_MANIFEST
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.source import RUN_DIR, Source, cell_source
from kfspawner.reference import Reference
from tests.fakes.images import add_image
from tests.fakes.images import make_config as make_base_config
from tests.fakes.registry import FakeRegistry, Fault, digest_of

LAYER = make_layer({"main.py": b"print(1)\n"})
COMMAND = ("python", "-u", f"{RUN_DIR}/main.py")
ADDED = Addition([LAYER], COMMAND)
BASE = Reference("registry.example", "base", digest="sha256:" + "b" * 64)


def append_to(fake: FakeRegistry, base: Reference, tag: str | None = None) -> Reference:
    with Registry(fake.host) as registry:
        return append(registry, base, ADDED, "alice/runs", tag=tag)


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        (["tini", "-g", "--", "/opt/kfspawner/start.sh"], ["tini", "-g", "--"]),
        (["/usr/bin/tini", "--"], ["/usr/bin/tini", "-g", "--"]),
        (["/entry.sh"], make_entrypoint([])),
        ([], make_entrypoint([])),
        (None, make_entrypoint([])),
    ],
)
def test_config_entrypoint(entrypoint: list[str] | None, expected: list[str]) -> None:
    base = make_base_config(1, Entrypoint=entrypoint)
    assert make_config(base, ADDED, BASE)["config"]["Entrypoint"] == expected


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({"Cmd": ["start-notebook"]}, "Cmd", list(COMMAND)),
        ({"User": "root"}, "User", "1000:100"),
        ({"User": "0:100"}, "User", "1000:100"),
        ({"User": ""}, "User", "1000:100"),
        ({}, "User", "1000:100"),
        ({"User": "1001"}, "User", "1001"),
        ({"User": "jovyan:users"}, "User", "jovyan:users"),
        ({"WorkingDir": "/home/jovyan"}, "WorkingDir", RUN_DIR),
        ({"Labels": {"a": "b"}}, "Labels", {"a": "b", "kfspawner.io/base": str(BASE)}),
        ({"Labels": None}, "Labels", {"kfspawner.io/base": str(BASE)}),
        ({"Env": ["A=1"]}, "Env", ["A=1", "PYTHONUNBUFFERED=1"]),
        ({"Env": ["PYTHONUNBUFFERED="]}, "Env", ["PYTHONUNBUFFERED="]),
        ({"Env": None}, "Env", ["PYTHONUNBUFFERED=1"]),
        ({"StopSignal": "SIGINT"}, "StopSignal", "SIGINT"),
    ],
)
def test_config_settings(settings: dict[str, Any], name: str, expected: Any) -> None:
    config = make_config(make_base_config(1, **settings), ADDED, BASE)
    assert config["config"][name] == expected


def test_config_appends_and_leaves_the_base_alone() -> None:
    base = make_base_config(2)
    before = json.dumps(base)
    config = make_config(base, ADDED, BASE)
    assert config["rootfs"]["diff_ids"] == [*base["rootfs"]["diff_ids"], LAYER.diff_id]
    assert config["history"][:-1] == base["history"]
    assert config["history"][-1]["created"] == config["created"] == base["created"]
    assert json.dumps(base) == before


def test_config_of_a_base_that_says_little() -> None:
    config = make_config({"config": None, "rootfs": {"diff_ids": []}}, ADDED, BASE)
    assert config["rootfs"]["diff_ids"] == [LAYER.diff_id]
    assert len(config["history"]) == 1


def test_config_takes_every_layer_and_variable() -> None:
    other = make_layer({"x.py": b""}, "/")
    added = Addition([other, LAYER], COMMAND, {"PYTHONUSERBASE": "/u", "B": "2"})
    config = make_config(make_base_config(1, Env=["A=1", "B=1=1"]), added, BASE)
    assert config["rootfs"]["diff_ids"][1:] == [other.diff_id, LAYER.diff_id]
    assert len(config["history"]) == 3
    assert config["config"]["Env"] == [
        "A=1",
        "B=2",
        "PYTHONUSERBASE=/u",
        "PYTHONUNBUFFERED=1",
    ]


@pytest.mark.parametrize("docker", [False, True])
def test_manifest_is_of_the_base_kind(fake: FakeRegistry, *, docker: bool) -> None:
    add_image(fake, "base", "1", docker=docker)
    with Registry(fake.host) as registry:
        base = registry.resolve(Reference(fake.host, "base", "1"))
    made = make_manifest(base, ADDED, b"{}", BASE)
    document = json.loads(made.content)
    assert document["mediaType"] == (DOCKER_MANIFEST if docker else OCI_MANIFEST)
    assert document["layers"][:-1] == json.loads(base.content)["layers"]
    own = document["layers"][-1]
    assert own["mediaType"] == (DOCKER_LAYER if docker else LAYER.media_type)
    assert (own["digest"], own["size"]) == (LAYER.digest, LAYER.size)
    assert document["config"]["digest"] == digest_of(b"{}")


@pytest.mark.parametrize("mounts", [True, False])
@pytest.mark.parametrize("docker", [True, False])
def test_append_in_one_registry(fake: FakeRegistry, *, mounts: bool, docker: bool) -> None:
    base = add_image(fake, "kfspawner/cpu", "1", docker=docker)
    fake.mounts = mounts
    made = append_to(fake, Reference(fake.host, "kfspawner/cpu", "1"), tag="digits-bcdfg")
    assert str(made).startswith(f"{fake.host}/alice/runs@sha256:")
    assert fake.tags["alice/runs", "digits-bcdfg"] == made.digest
    document = fake.document("alice/runs", made.digest or "")
    config = json.loads(fake.blobs["alice/runs", document["config"]["digest"]])
    assert config["config"]["Cmd"] == list(COMMAND)
    assert config["config"]["Labels"]["kfspawner.io/base"] == f"{fake.host}/kfspawner/cpu@{base}"
    assert [fake.blobs["alice/runs", layer["digest"]] for layer in document["layers"]] == [
        b"bottom",
        b"top",
        LAYER.data,
    ]
    assert not fake.uploads
    if mounts:
        assert not any("/base/blobs/" in call for call in fake.calls("GET"))


def test_append_from_another_registry(fake: FakeRegistry) -> None:
    with FakeRegistry().running() as other:
        add_image(other, "kfspawner/cpu", "1")
        made = append_to(fake, Reference(other.host, "kfspawner/cpu", "1"))
        assert not other.calls("PUT") + other.calls("POST")
    layers = fake.document("alice/runs", made.digest or "")["layers"]
    assert fake.blobs["alice/runs", layers[0]["digest"]] == b"bottom"
    assert layers[0]["annotations"] == {"of": "base"}


def test_append_again_sends_no_layer_and_gives_the_same_image(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    first = append_to(fake, Reference(fake.host, "base", "1"))
    fake.log.clear()
    assert append_to(fake, Reference(fake.host, "base", "1")) == first
    assert fake.calls("POST") == []
    assert [call.partition("@")[0] for call in fake.calls("PUT")] == [
        f"PUT /v2/alice/runs/manifests/{first.digest}"
    ]


def test_append_of_other_code_sends_that_layer_and_the_config(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    append_to(fake, Reference(fake.host, "base", "1"))
    fake.log.clear()
    other = make_layer({"main.py": b"print(2)\n"})
    with Registry(fake.host) as registry:
        added = Addition([other], COMMAND)
        append(registry, Reference(fake.host, "base", "1"), added, "alice/runs")
    blobs = [call.rpartition("=")[2] for call in fake.calls("PUT") if "/blobs/" in call]
    assert len(blobs) == 2
    assert blobs[0] == other.digest
    assert not any("mount=" in call for call in fake.log), "the base is there already"


def test_append_that_is_stored_as_something_else_is_refused(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    fake.claims = "sha256:" + "0" * 64
    with pytest.raises(RegistryError, match="it was stored as sha256:0000"):
        append_to(fake, Reference(fake.host, "base", "1"), tag="run")
    assert ("alice/runs", "run") not in fake.tags


def test_append_shows_the_image_last(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    append_to(fake, Reference(fake.host, "base", "1"), tag="run")
    writes = [line for line in fake.log if re.match("PUT|POST", line)]
    assert writes[-1] == "PUT /v2/alice/runs/manifests/run"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("PUT", "uploads", times=9, status=403), RegistryDenied),
        (Fault("POST", "uploads", times=99, status=500), RegistryError),
        (Fault("HEAD", "alice/runs/blobs", times=99, status=403), RegistryDenied),
        (Fault("PUT", "manifests", times=9, status=400), RegistryError),
        (Fault("PUT", "manifests", times=99, status=500), RegistryBusy),
        (Fault("PUT", "manifests", times=99), RegistryUnreachable),
    ],
)
def test_append_that_fails_leaves_no_image(
    fake: FakeRegistry, fault: Fault, error: type[RegistryError]
) -> None:
    add_image(fake, "base", "1")
    fake.faults.append(fault)
    with pytest.raises(error):
        append_to(fake, Reference(fake.host, "base", "1"), tag="run")
    assert not [key for key in (*fake.manifests, *fake.tags) if key[0] == "alice/runs"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", "blobs"), ("POST", "mount"), ("POST", "uploads"), ("PUT", "uploads"), ("PUT", "man")],
)
@pytest.mark.parametrize("status", [None, 503, 429])
def test_append_outlasts_a_registry_that_starts_anew(
    fake: FakeRegistry, method: str, path: str, status: int | None
) -> None:
    add_image(fake, "base", "1")
    fake.faults.append(Fault(method, path, times=5, status=status))
    made = append_to(fake, Reference(fake.host, "base", "1"), tag="run")
    assert fake.tags["alice/runs", "run"] == made.digest


@pytest.mark.parametrize("config", [{"rootfs": {"diff_ids": []}}, {"rootfs": None}, {}])
def test_append_pushes_nothing_on_a_broken_base(fake: FakeRegistry, config: dict[str, Any]) -> None:
    add_image(fake, "base", "1", config={"a": "b", **config})
    with pytest.raises(RegistryError, match="does not fit its layers"):
        append_to(fake, Reference(fake.host, "base", "1"))
    assert not fake.calls("PUT") + fake.calls("POST")


def test_package(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    source = cell_source("print(n)", {"n": 3})
    made = package(source, f"{fake.host}/base:1", f"{fake.host}/alice/runs", tag="cell-bcdfg")
    assert made == Reference(fake.host, "alice/runs", digest=fake.tags["alice/runs", "cell-bcdfg"])


@pytest.mark.parametrize(
    ("base", "repository", "tag", "error"),
    [
        ("base:2", "runs", None, ImageMissing),
        ("base@sha256:12", "runs", None, OptionRefused),
        ("base:1", "runs:1", None, OptionRefused),
        ("base:1", "runs:1", "x", OptionRefused),
        ("base:1", "runs@sha256:" + "a" * 64, None, OptionRefused),
        ("base:1", "Runs", None, OptionRefused),
        ("base:1", "runs", "no tag", OptionRefused),
    ],
)
def test_package_refuses_before_it_pushes(
    fake: FakeRegistry, base: str, repository: str, tag: str | None, error: type[Exception]
) -> None:
    add_image(fake, "base", "1")
    source = cell_source("1", {})
    with pytest.raises(error):
        package(source, f"{fake.host}/{base}", f"{fake.host}/{repository}", tag=tag)
    assert not fake.calls("PUT") + fake.calls("POST")


def test_package_puts_what_was_installed_below_the_source(fake: FakeRegistry) -> None:
    add_image(fake, "base", "1")
    installed = make_layer({"opt/venv/x.py": b"x = 1"}, "/")
    ground = Ground(f"{fake.host}/base:1", [installed])
    source = Source("x", {"main.py": b""}, COMMAND)
    made = package(source, ground, f"{fake.host}/alice/runs")
    digests = [it["digest"] for it in fake.document("alice/runs", made.digest or "")["layers"]]
    assert digests[-2:] == [installed.digest, make_layer(source.files).digest]


@pytest.mark.parametrize("path", ["../x", "data/.env", ".git/config"])
def test_package_refuses_files_that_no_image_can_hold(fake: FakeRegistry, path: str) -> None:
    source = Source("x", {path: b""}, COMMAND)
    with pytest.raises(SourceRefused):
        package(source, f"{fake.host}/base:1", f"{fake.host}/runs")
    assert not fake.log
