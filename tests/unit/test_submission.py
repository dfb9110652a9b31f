"""From a source to a run: the order of things, and what a failure leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kfspawner.context import ServerContext
from kfspawner.errors import (
    ClusterDenied,
    ClusterUnreachable,
    InputError,
    NameRefused,
    ObjectExists,
    OptionRefused,
    RegistryUnreachable,
    RunError,
    SourceRefused,
)
from kfspawner.packaging import Ground, Reference, Source
from kfspawner.packaging.base import list_packages
from kfspawner.packaging.dependencies import Environment
from kfspawner.packaging.provenance import Provenance
from kfspawner.training import submission
from kfspawner.training.submission import RunOptions, Submitted, check, start
from tests.fakes.cluster import FakeCluster
from tests.fakes.packages import install

SOURCE = Source("cell", {"main.py": b"1"}, ("python", "-u", "main.py"), kind="cell")
DIGEST = f"sha256:{'cd' * 32}"
PUSHED = Reference("registry.example", "kf-alice/runs", digest=DIGEST)


@dataclass
class Packaging:
    """Stands in for the registry: remembers what was packaged, or refuses."""

    calls: list[tuple[Source, Ground, str, dict[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None

    def __call__(self, source: Source, base: Ground, repository: str, **options: Any) -> Reference:
        self.calls.append((source, base, repository, options))
        if self.error:
            raise self.error
        return PUSHED


@pytest.fixture
def packaging(monkeypatch: pytest.MonkeyPatch) -> Packaging:
    made = Packaging()
    monkeypatch.setattr(submission, "package", made)
    return made


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Stand in for this Python: an image's, with nothing installed since."""
    image = tmp_path_factory.mktemp("image")
    venv, listed = image / "venv", image / "listed"
    made = Environment(venv, venv, venv / "site-packages", listed=listed)
    made.site.mkdir(parents=True)
    list_packages(made.site, listed)
    monkeypatch.setattr(Environment, "of_this_process", lambda: made)
    yield made
    submission._INSTALLED.close()


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.on_create = made.put_pod
    return made


@pytest.fixture
def context(tmp_path: Path) -> ServerContext:
    return ServerContext(
        user="alice",
        namespace="kf-alice",
        image=f"registry.example/cpu@{DIGEST}",
        repository="registry.example/kf-alice/runs",
        home_claim="home-alice",
        home=str(tmp_path),
        registry_plain_http=True,
    )


@pytest.fixture
def submit(packaging: Packaging, cluster: FakeCluster, context: ServerContext) -> Any:
    def call(*, server_image: str = "", **options: Any) -> Submitted:
        server = replace(context, image=server_image) if server_image else context
        return start(SOURCE, RunOptions(**options), server, cluster)

    return call


def test_a_run_is_made_from_the_digest_that_was_pushed(
    submit: Any,
    cluster: FakeCluster,
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(submission, "read_commit", lambda _: ("a" * 40, True))
    told = Provenance("cell", commit="a" * 40, dirty=True, person="alice", profile="kf-alice")
    submitted = submit(name="digits", cpu="2", gpu=1, env={"LR": "0.1"})
    assert (submitted.run.name, submitted.image) == ("digits", PUSHED)
    assert submitted.packaging_seconds >= 0
    container = cluster.jobs["digits"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == str(PUSHED)
    assert container["args"] == ["sh", "-c", 'exec "$@" 2>&1', "sh", "python", "-u", "main.py"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert {"name": "LR", "value": "0.1"} in container["env"]
    assert packaging.calls == [
        (
            SOURCE,
            Ground(f"registry.example/cpu@{DIGEST}", []),
            "registry.example/kf-alice/runs",
            {"provenance": told, "plain_http": True, "tag": "digits"},
        )
    ]
    assert (tmp_path / "runs/digits").is_dir()


def test_the_cluster_is_asked_first_and_the_folder_is_there_before_the_job(
    submit: Any, cluster: FakeCluster, packaging: Packaging, tmp_path: Path
) -> None:
    make = cluster.create_job
    seen = []

    def create(manifest: Any, *, dry_run: bool = False) -> Any:
        mounts = manifest["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        (path,) = [mount["subPath"] for mount in mounts if mount["mountPath"] == "/outputs"]
        folder = tmp_path / path
        seen.append((dry_run, folder.is_dir(), len(packaging.calls)))
        return make(manifest, dry_run=dry_run)

    cluster.create_job = create  # type: ignore[method-assign]
    submit(name="digits")
    assert seen == [(True, False, 0), (False, True, 1)]


def test_a_name_is_made_up_from_the_source(submit: Any) -> None:
    first, second = submit().run.name, submit().run.name
    assert first.startswith("cell-")
    assert first != second


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "Digits"}, NameRefused),
        ({"cpu": "many"}, OptionRefused),
        ({"memory": "4"}, OptionRefused),
        ({"gpu": -1}, OptionRefused),
        ({"env": {"A-B": "1"}}, OptionRefused),
        ({"image": "not an image"}, OptionRefused),
    ],
)
def test_bad_options_reach_neither_cluster_nor_registry(
    submit: Any,
    cluster: FakeCluster,
    packaging: Packaging,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[InputError],
) -> None:
    with pytest.raises(error):
        submit(**options)
    assert not cluster.calls
    assert not packaging.calls
    assert not list(tmp_path.iterdir())


def test_a_taken_name_is_refused_before_anything_is_pushed(
    submit: Any, cluster: FakeCluster, packaging: Packaging
) -> None:
    submit(name="digits")
    packaging.calls.clear()
    with pytest.raises(ObjectExists):
        submit(name="digits")
    assert not packaging.calls


@pytest.mark.parametrize(
    "error", [RegistryUnreachable("pushing", "away", "wait"), KeyboardInterrupt()]
)
def test_a_failed_push_leaves_nothing(
    submit: Any, cluster: FakeCluster, packaging: Packaging, tmp_path: Path, error: BaseException
) -> None:
    packaging.error = error
    with pytest.raises(type(error)):
        submit(name="digits")
    assert not cluster.jobs
    assert not (tmp_path / "runs/digits").exists()


def test_a_refused_job_leaves_no_folder(
    submit: Any,
    cluster: FakeCluster,
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    denied = ClusterDenied("creating run digits", "the quota is full", "wait")

    def push(*args: Any, **options: Any) -> Reference:
        cluster.refusals["create_job"] = [denied]
        return packaging(*args, **options)

    monkeypatch.setattr(submission, "package", push)
    with pytest.raises(ClusterDenied):
        submit(name="digits")
    assert not (tmp_path / "runs/digits").exists()


def test_a_check_leaves_nothing_anywhere(
    cluster: FakeCluster, packaging: Packaging, context: ServerContext, tmp_path: Path
) -> None:
    check(SOURCE, RunOptions(name="digits", gpu=1), context, cluster)
    [manifest] = cluster.called("create_job dry")
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not cluster.jobs
    assert not packaging.calls
    assert not list(tmp_path.iterdir())
    cluster.refusals["create_job dry"] = [ClusterDenied("creating run a", "no right", "ask")]
    with pytest.raises(ClusterDenied):
        check(SOURCE, RunOptions(), context, cluster)


def test_credentials_are_refused_before_the_cluster_is_asked(
    cluster: FakeCluster, context: ServerContext
) -> None:
    with pytest.raises(SourceRefused, match=r"packaging '.env'"):
        check(replace(SOURCE, files={".env": b""}), RunOptions(), context, cluster)
    assert not cluster.calls


def test_the_commit_is_that_of_the_folder_that_was_packaged(
    submit: Any,
    cluster: FakeCluster,
    context: ServerContext,
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seen: list[Path] = []

    def read(folder: Path) -> tuple[str, bool]:
        seen.append(folder)
        return "", False

    monkeypatch.setattr(submission, "read_commit", read)
    script = tmp_path / "project" / "a.py"
    for path in (script, script.parent):
        script.parent.mkdir(exist_ok=True)
        start(replace(SOURCE, kind="any", path=str(path)), RunOptions(), context, cluster)
    submit()
    assert seen == [script.parent, script.parent, Path()]
    assert packaging.calls[0][3]["provenance"].path == str(script)


# What was there.


def test_what_an_earlier_run_left_stays(submit: Any, packaging: Packaging, tmp_path: Path) -> None:
    (tmp_path / "runs/digits").mkdir(parents=True)
    (tmp_path / "runs/digits/model.pkl").write_text("x")
    packaging.error = RegistryUnreachable("pushing", "away", "wait")
    with pytest.raises(RegistryUnreachable):
        submit(name="digits")
    assert (tmp_path / "runs/digits/model.pkl").read_text() == "x"


def test_a_file_in_the_way_is_named(submit: Any, packaging: Packaging, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/digits").write_text("x")
    with pytest.raises(OptionRefused, match="in the way; choose another --name"):
        submit(name="digits")
    assert not packaging.calls


def test_a_home_that_cannot_be_written_is_told(submit: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("x")
    with pytest.raises(RunError, match="for the run's outputs"):
        submit(name="digits")


# The image of this server.


def test_a_given_image_is_the_base(submit: Any, packaging: Packaging) -> None:
    submit(image="registry.example/torch:2")
    assert packaging.calls[0][1].image == "registry.example/torch:2"


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        (f"registry.example/cpu@{DIGEST}", f"registry.example/cpu@{DIGEST}"),
        (f"docker-pullable://registry.example/cpu@{DIGEST}", f"registry.example/cpu@{DIGEST}"),
        (f"mirror.example/cache/cpu@{DIGEST}", f"registry.example/cpu@{DIGEST}"),
        (DIGEST, "registry.example/cpu:1"),
        ("", "registry.example/cpu:1"),
    ],
)
def test_a_tag_is_what_the_node_took_it_for(
    submit: Any,
    cluster: FakeCluster,
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    image_id: str,
    expected: str,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "jupyter-alice")
    statuses = [
        {"name": "sidecar", "imageID": f"registry.example/other@sha256:{'00' * 32}"},
        {"name": "notebook", "imageID": image_id},
    ]
    cluster.pods["jupyter-alice"] = {
        "metadata": {"name": "jupyter-alice"},
        "status": {"containerStatuses": statuses},
    }
    submit(server_image="registry.example/cpu:1")
    assert packaging.calls[0][1].image == expected


def test_a_tag_stays_where_the_pod_is_not_to_be_had(
    submit: Any, cluster: FakeCluster, packaging: Packaging
) -> None:
    cluster.refusals["get_pod"] = [ClusterUnreachable("looking", "away", "wait")]
    submit(server_image="registry.example/cpu:1")
    assert packaging.calls[0][1].image == "registry.example/cpu:1"


def test_what_was_installed_goes_below_the_source(
    submit: Any, packaging: Packaging, environment: Environment
) -> None:
    install(environment.site, "extra", {"extra.py": b"x = 1"})
    (environment.site / "old-1.egg-info").write_text("Name: old")
    first, second = submit(), submit()
    assert "old-1.egg-info stays here" in first.notes[0]
    (one,), (other,) = (call[1].layers for call in packaging.calls)
    assert one is other
    assert second.notes == first.notes


def test_another_image_does_without_what_was_installed(
    submit: Any, packaging: Packaging, environment: Environment
) -> None:
    assert submit(image="registry.example/torch:2").notes == ()
    install(environment.site, "extra", {"extra.py": b"x = 1"})
    (note,) = submit(image="registry.example/torch:2").notes
    assert "it was for your server's own image" in note
    assert [call[1] for call in packaging.calls] == [Ground("registry.example/torch:2", [])] * 2


def test_a_conda_environment_is_refused_before_anything_is_asked(
    submit: Any,
    packaging: Packaging,
    environment: Environment,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    own = replace(environment, prefix=tmp_path / "envs/x")
    (own.prefix / "conda-meta").mkdir(parents=True)
    monkeypatch.setattr(Environment, "of_this_process", lambda: own)
    with pytest.raises(SourceRefused, match="conda"):
        submit()
    assert not packaging.calls
    assert not cluster.jobs
