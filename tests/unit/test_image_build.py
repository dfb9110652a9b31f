"""What an image's tag depends on, and the command lines that make it."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.errors import DeployError
from deploy.images import building, lend, plan, rootfs
from deploy.images.engine import Engine, Lent, find_engine

CHECKOUT = plan.CHECKOUT
IMAGES = CHECKOUT / "images"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what the images are made from."""
    shutil.copytree(IMAGES, tmp_path / "images")
    shutil.copytree(CHECKOUT / "kfspawner", tmp_path / "kfspawner")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def tags(checkout: Path, choices: plan.Choices | None = None) -> dict[str, str]:
    made = plan.make_plan(choices or plan.Choices(), checkout)
    return {name: image.tag for name, image in made.items()}


def test_plan_names_each_image_after_its_base(checkout: Path) -> None:
    made = plan.make_plan(plan.Choices(), checkout)
    assert {name: image.base for name, image in made.items()} == {
        "debian": "",
        "base": "debian",
        "hub": "base",
        "cpu": "base",
        "gpu": "cpu",
    }
    assert list(made) == ["debian", "base", "hub", "cpu", "gpu"]
    assert made["cpu"].local == f"localhost/kfspawner/cpu:{made['cpu'].tag}"
    assert made["cpu"].reference("r.test:5000/k/") == f"r.test:5000/k/cpu:{made['cpu'].tag}"


def test_same_files_same_tags(checkout: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    for name in ("images", "kfspawner"):
        shutil.copytree(checkout / name, again / name)
    shutil.copy(checkout / "pyproject.toml", again)
    cache = again / "kfspawner" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "names.cpython-399.pyc").write_bytes(b"compiled")
    assert tags(again) == tags(checkout)


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("kfspawner/names.py", {"hub", "cpu", "gpu"}),
        ("pyproject.toml", {"hub", "cpu", "gpu"}),
        ("images/verify.py", {"hub", "cpu", "gpu"}),
        ("images/debian/packages.txt", {"debian", "base", "hub", "cpu", "gpu"}),
        ("images/base/requirements.txt", {"base", "hub", "cpu", "gpu"}),
        ("images/hub/package-lock.json", {"hub"}),
        ("images/cpu/start.sh", {"cpu", "gpu"}),
        ("images/cpu/examples/digits.ipynb", {"cpu", "gpu"}),
        ("images/gpu/Containerfile", {"gpu"}),
    ],
)
def test_a_change_renames_what_stands_on_it(checkout: Path, path: str, changed: set[str]) -> None:
    before = tags(checkout)
    with (checkout / path).open("a") as file:
        file.write("\n")
    after = tags(checkout)
    assert {name for name in before if before[name] != after[name]} == changed


def test_an_executable_bit_is_content(checkout: Path) -> None:
    before = tags(checkout)["cpu"]
    (checkout / "images" / "cpu" / "start.sh").chmod(0o644)
    assert tags(checkout)["cpu"] != before


@pytest.mark.parametrize(
    ("path", "same", "other"),
    [
        ("kfspawner/names.py", "REQUIREMENTS", "PROJECT"),
        ("images/verify.py", "REQUIREMENTS", "PROJECT"),
        ("images/cpu/start.sh", "REQUIREMENTS", "PROJECT"),
    ],
)
def test_only_packages_rebuild_the_slow_layer(
    checkout: Path, path: str, same: str, other: str
) -> None:
    before = plan.make_plan(plan.Choices(), checkout)["cpu"].arguments
    with (checkout / path).open("a") as file:
        file.write("\n")
    after = plan.make_plan(plan.Choices(), checkout)["cpu"].arguments
    assert after[same] == before[same]
    assert after[other] != before[other]


def test_every_file_of_the_slow_layer_renames_it(checkout: Path) -> None:
    for path in ("requirements.txt", "requirements-torch.txt", "requirements-torch.sh"):
        before = plan.make_plan(plan.Choices(), checkout)["cpu"].arguments["REQUIREMENTS"]
        with (checkout / "images" / "cpu" / path).open("a") as file:
            file.write("\n")
        after = plan.make_plan(plan.Choices(), checkout)["cpu"].arguments["REQUIREMENTS"]
        assert after != before, path


def test_choices_come_from_the_environment(checkout: Path) -> None:
    chosen = plan.Choices.from_env(
        {
            "KFSPAWNER_BASE_IMAGE": "registry.example/minimal:1",
            "KFSPAWNER_TORCH": "pypi",
            "KFSPAWNER_TORCH_INDEX": "https://me:secret@index.example/cpu",
            "KFSPAWNER_ACCELERATOR": "cuda",
        }
    )
    made = plan.make_plan(chosen, checkout)
    assert "debian" not in made
    assert made["base"].base == "registry.example/minimal:1"
    assert made["cpu"].arguments["TORCH"] == "pypi"
    assert made["gpu"].arguments["ACCELERATOR"] == "cuda"
    assert "secret" not in repr(made)
    other = plan.make_plan(plan.Choices(chosen.base, "pypi", "", "cuda"), checkout)
    assert other["cpu"].tag != made["cpu"].tag


@pytest.mark.parametrize("name", ["KFSPAWNER_TORCH", "KFSPAWNER_ACCELERATOR"])
def test_a_choice_that_is_not_offered(name: str) -> None:
    with pytest.raises(DeployError, match=rf"choosing {name}=rocm: .*; take one of "):
        plan.Choices.from_env({name: "rocm"})


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("none", "scikit-learn=1.2 tensorflow=2.3"),
        ("pypi", "scikit-learn=1.2 tensorflow=2.3 torch=4.5"),
        ("debian", "scikit-learn=1.2 tensorflow=2.3 torch=1.13.0a0"),
    ],
)
def test_frameworks_are_those_that_are_pinned(torch: str, said: str) -> None:
    pins = {"scikit-learn": "1.2", "tensorflow-cpu": "2.3", "torch": "4.5"}
    assert plan.describe_frameworks(pins, torch) == said


@pytest.mark.parametrize(
    ("there", "names", "chosen"),
    [
        (set(), ["hub"], ["debian", "base", "hub"]),
        ({"debian", "base"}, ["hub", "gpu"], ["hub", "cpu", "gpu"]),
        ({"base", "cpu"}, ["gpu"], ["gpu"]),
        ({"base", "gpu"}, ["gpu"], []),
    ],
)
def test_only_what_lacks_is_built_and_its_bases(
    checkout: Path, there: set[str], names: list[str], chosen: list[str]
) -> None:
    made = plan.make_plan(plan.Choices(), checkout)
    found = building.choose(made, names, {made[name].local for name in there})
    assert [image.name for image in found] == chosen


@pytest.mark.parametrize("tool", ["buildah", "podman", "docker"])
def test_build_mounts_what_it_is_lent(tmp_path: Path, tool: str) -> None:
    made = plan.make_plan(plan.Choices())
    lent = Lent(tmp_path / "host", tmp_path / "project")
    command = Engine(tool, tmp_path).build(made["cpu"], made["base"].local, lent)
    assert f"--build-context=host={lent.host}" in command
    assert f"--build-context=project={lent.project}" in command
    assert f"--build-arg=BASE={made['base'].local}" in command
    assert f"--tag={made['cpu'].local}" in command
    assert f"--file={IMAGES / 'cpu' / 'Containerfile'}" in command
    assert tool in command
    # What a build may reach is mounted, so nothing of it is an argument.
    assert not [word for word in command if "PIP_" in word or "CERT" in word]


def test_buildah_keeps_everything_below_the_state_directory(tmp_path: Path) -> None:
    command = Engine("buildah", tmp_path).command("images")
    assert command[: command.index("sh")] == [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("--mount", "--propagation", "private"),
    ]
    assert f"{tmp_path}/containers/root" in command
    assert f"{tmp_path}/containers/run" in command


@pytest.mark.parametrize(
    ("tool", "verify"),
    [
        ("buildah", "false"),
        ("podman", "true"),
    ],
)
def test_push_says_whether_the_registry_has_tls(tmp_path: Path, tool: str, verify: str) -> None:
    image = plan.make_plan(plan.Choices())["hub"]
    (command,) = Engine(tool, tmp_path).push(
        image, "r.test/k/hub:1", tmp_path / "digest", plain_http=verify == "false"
    )
    assert f"--tls-verify={verify}" in command
    assert command[-2:] == [image.local, "docker://r.test/k/hub:1"]


def test_find_engine_takes_the_first_there_is(tmp_path: Path) -> None:
    for tool in ("docker", "podman"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    assert find_engine(tmp_path, {"PATH": str(tmp_path)}).tool == "podman"
    with pytest.raises(DeployError, match="this machine has none of buildah, podman, docker"):
        find_engine(tmp_path, {"PATH": str(tmp_path / "nowhere")})


def test_pip_settings_follow_pips_own_order() -> None:
    listed = "\n".join(
        [
            ":env:.index-url='https://env.example/simple'",
            ":env:.cert='/etc/here.crt'",
            "global.index-url='https://global.example/simple'",
            "global.extra-index-url='https://a.example\\nhttps://b.example'",
            "global.timeout='10'",
            "install.timeout='20'",
            "freeze.timeout='30'",
            'global.trusted-host="it\'s.example"',
            "nonsense",
        ]
    )
    assert lend.pip_settings(listed) == {
        "PIP_INDEX_URL": "https://env.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "PIP_TIMEOUT": "20",
        "PIP_TRUSTED_HOST": "it's.example",
    }


def test_lend_takes_certificates_and_local_wheels_along(tmp_path: Path) -> None:
    bundle = tmp_path / "authorities.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "a-1-py3-none-any.whl").write_bytes(b"")
    host = tmp_path / "host"
    host.mkdir()
    lend.lend(
        host,
        {
            "PATH": "/usr/bin:/bin",
            "SSL_CERT_FILE": str(bundle),
            "PIP_FIND_LINKS": f"{wheels} {tmp_path / 'none'}",
            "https_proxy": "http://proxy.example:3128",
            "KFSPAWNER_ADMIN_TOKEN": "secret",
        },
    )
    lines = (host / "env").read_text().splitlines()
    assert (host / "ca.crt").read_text() == bundle.read_text()
    assert (host / "wheels" / "a-1-py3-none-any.whl").exists()
    assert "export PIP_CERT=/run/host/ca.crt" in lines
    assert "export PIP_FIND_LINKS=/run/host/wheels" in lines
    assert "export https_proxy=http://proxy.example:3128" in lines
    assert "secret" not in (host / "env").read_text()


def test_rootfs_leaves_debians_own_sources(tmp_path: Path) -> None:
    command = rootfs.make_command(tmp_path / "rootfs.tar")
    assert command[0] == "mmdebstrap"
    hooks = [word for word in command if word.startswith("--customize-hook=")]
    assert hooks[0].endswith('images/debian/sources.list" /etc/apt')
    assert '"$1"/etc/apt/apt.conf.d/99mmdebstrap' in hooks[1]
    (included,) = [word for word in command if word.startswith("--include=")]
    assert {"python3", "tini", "git"} <= set(included.removeprefix("--include=").split(","))


@pytest.mark.parametrize(("image", "extra"), [("hub", "hub"), ("cpu", "notebook")])
def test_pins_satisfy_what_the_project_asks_for(image: str, extra: str) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    pins = plan.read_pins(IMAGES / image / "requirements.txt")
    own = [
        line
        for line in (IMAGES / image / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    asked = [*project["dependencies"], *project["optional-dependencies"][extra], *own]
    for requirement in map(Requirement, asked):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement}: run `python3 -m deploy.images lock`"
        assert requirement.specifier.contains(pinned), requirement


def test_hub_and_servers_have_the_same_jupyterhub() -> None:
    hub = plan.read_pins(IMAGES / "hub" / "requirements.txt")
    cpu = plan.read_pins(IMAGES / "cpu" / "requirements.txt")
    assert hub["jupyterhub"] == cpu["jupyterhub"]


def test_proxy_is_locked() -> None:
    asked = json.loads((IMAGES / "hub" / "package.json").read_text())["dependencies"]
    locked = json.loads((IMAGES / "hub" / "package-lock.json").read_text())["packages"]
    for name, version in asked.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    for path, package in locked.items():
        assert not path or package["integrity"], path


def test_example_is_clean_and_defines_what_it_runs() -> None:
    path = IMAGES / "cpu" / "examples" / "digits.ipynb"
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in codes if cell.outputs or cell.execution_count]
    assert [cell.source for cell in codes if cell.source.startswith("%%kf run\n")]
