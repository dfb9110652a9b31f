"""`kfspawner controller`: its options, and what they are refused for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import kfspawner.cli.controller
from kfspawner.cli import main
from kfspawner.profiles.controller import Settings
from kfspawner.profiles.surroundings import Opening


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """How the controller was run."""
    settings: list[Settings] = []
    monkeypatch.setattr(kfspawner.cli.controller, "run_controller", settings.append)
    return settings


def call(*args: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["controller", *args], env=environ, catch_exceptions=False)


def test_defaults(ran: list[Settings]) -> None:
    assert call().exit_code == 0
    assert ran == [Settings(hub_namespace="kfspawner", hub_account="kfspawner/hub")]


def test_options(ran: list[Settings]) -> None:
    options = (
        "--hub-namespace jupyter --hub-account spawner --open 10.0.0.5:5000 --open [fd00::/8]:443 "
        "--ca-file ca.crt --walls-only --liveness-port 9000"
    )

    assert call(*options.split()).exit_code == 0

    assert ran == [
        Settings(
            hub_namespace="jupyter",
            hub_account="jupyter/spawner",
            openings=(Opening("10.0.0.5/32", 5000), Opening("fd00::/8", 443)),
            ca_file=Path("ca.crt"),
            walls_only=True,
            liveness_port=9000,
        )
    ]


@pytest.mark.parametrize(
    "value", ["10.0.0.5:5000 10.1.0.0/16:443", "10.0.0.5:5000,10.1.0.0/16:443"]
)
def test_openings_of_the_environment(ran: list[Settings], value: str) -> None:
    assert call(KFSPAWNER_OPENINGS=value).exit_code == 0
    assert ran[0].openings == (Opening("10.0.0.5/32", 5000), Opening("10.1.0.0/16", 443))


@pytest.mark.parametrize("value", ["", "  "])
def test_no_openings_of_the_environment(ran: list[Settings], value: str) -> None:
    assert call(KFSPAWNER_OPENINGS=value).exit_code == 0
    assert ran[0].openings == ()


def test_an_account_of_another_namespace(ran: list[Settings]) -> None:
    call("--hub-account", "jupyter/hub")
    assert ran[0].hub_account == "jupyter/hub"


@pytest.mark.parametrize(
    ("args", "environ", "said"),
    [
        (
            ["--open", "10.0.0.5"],
            {},
            "opening '10.0.0.5' to the profiles: it is no range",
        ),
        (["--open", "10.0.0.5/24:443"], {}, "it is no range"),
        (["--open", "registry:5000"], {}, "it is no range"),
        (["--open", "10.0.0.5:0"], {}, "it is no range"),
        ([], {"KFSPAWNER_OPENINGS": "10.0.0.5:1 nonsense"}, "opening 'nonsense'"),
        (["--liveness-port", "0"], {}, "'--liveness-port'"),
    ],
)
def test_what_is_malformed_is_refused(
    ran: list[Settings], args: list[str], environ: dict[str, str], said: str
) -> None:
    result = call(*args, **environ)

    assert result.exit_code == 2
    assert said in result.stderr
    assert ran == []
