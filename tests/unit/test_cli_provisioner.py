"""`kfspawner provisioner`: its options, what they are refused for, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Never

import pytest
from click.testing import CliRunner, Result

import kfspawner.cli.provisioner
from kfspawner.cli import main
from kfspawner.homes.service import Service
from kfspawner.homes.steps import Settings
from kfspawner.homes.volume import Server
from kfspawner.profiles.api import Api
from tests.fakes.api import FakeApi

Ran = list[tuple[Settings, Path, int]]
SERVER = ("--server", "nfs.test", "--path", "/homes")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """How the provisioner was run."""
    calls: Ran = []

    async def run(settings: Settings, root: Path, port: int) -> None:
        calls.append((settings, root, port))

    monkeypatch.setattr(kfspawner.cli.provisioner, "_run", run)
    return calls


def call(*args: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["provisioner", *args], env=environ, catch_exceptions=False)


def test_defaults(ran: Ran) -> None:
    assert call(*SERVER).exit_code == 0
    settings = Settings(Server("nfs.test", "/homes", ("hard",)), None)
    assert ran == [(settings, Path("/export"), 8080)]


def test_options(ran: Ran) -> None:
    options = (
        "--server fd00::1 --path /a/b --mount-options nfsvers=4.2,,hard --root /mnt "
        "--retention 30d --liveness-port 9000"
    )

    assert call(*options.split()).exit_code == 0

    server = Server("fd00::1", "/a/b", ("nfsvers=4.2", "hard"))
    assert ran == [(Settings(server, timedelta(days=30)), Path("/mnt"), 9000)]


def test_the_environment(ran: Ran) -> None:
    environ = {
        "KFSPAWNER_NFS_SERVER": "nfs.test",
        "KFSPAWNER_NFS_PATH": "/homes",
        "KFSPAWNER_NFS_MOUNT_OPTIONS": " soft , timeo=50 ",
        "KFSPAWNER_RETENTION": "12h",
    }

    assert call(**environ).exit_code == 0

    server = Server("nfs.test", "/homes", ("soft", "timeo=50"))
    assert ran == [(Settings(server, timedelta(hours=12)), Path("/export"), 8080)]


@pytest.mark.parametrize("retention", ["", " "])
def test_without_a_retention_nothing_is_ever_deleted(ran: Ran, retention: str) -> None:
    environ = {"KFSPAWNER_RETENTION": retention, "KFSPAWNER_NFS_MOUNT_OPTIONS": ""}
    assert call(*SERVER, **environ).exit_code == (0 if not retention else 2)
    assert [it[0].retention for it in ran] == ([None] if not retention else [])


@pytest.mark.parametrize(
    ("written", "age"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("45m", timedelta(minutes=45)),
        ("90s", timedelta(seconds=90)),
        (" 7d ", timedelta(days=7)),
        ("0d", timedelta(0)),
        ("99999d", timedelta(days=99999)),
    ],
)
def test_spans_of_time(ran: Ran, written: str, age: timedelta) -> None:
    assert call(*SERVER, "--retention", written).exit_code == 0
    assert ran[0][0].retention == age


@pytest.mark.parametrize(
    ("args", "environ", "said"),
    [
        ([*SERVER, "--retention", "30"], {}, "'30' is no span of time: write 30d, 12h, 45m"),
        ([*SERVER, "--retention", "never"], {}, "'never' is no span of time"),
        ([*SERVER, "--retention", "-1d"], {}, "'-1d' is no span of time"),
        ([*SERVER, "--retention", "1.5d"], {}, "is no span of time"),
        ([*SERVER, "--retention", "100000d"], {}, "is no span of time"),
        ([*SERVER, "--retention", "1d2h"], {}, "is no span of time"),
        ([*SERVER, "--retention", ""], {}, "'' is no span of time"),
        (SERVER, {"KFSPAWNER_RETENTION": "a month"}, "'a month' is no span of time"),
        (["--path", "/homes"], {}, "Missing option '--server'"),
        (["--path", "/homes"], {"KFSPAWNER_NFS_SERVER": ""}, "Missing option '--server'"),
        (["--server", "nfs.test"], {"KFSPAWNER_NFS_PATH": ""}, "Missing option '--path'"),
        ([*SERVER, "--liveness-port", "0"], {}, "'--liveness-port'"),
    ],
)
def test_what_is_malformed_is_refused(
    ran: Ran, args: list[str], environ: dict[str, str], said: str
) -> None:
    result = call(*args, **environ)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert ran == []


def test_it_ends_when_its_pod_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended: list[int] = []

    async def connect() -> Api:
        return FakeApi()

    async def run(_: Service, port: int) -> Never:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            ended.append(port)

    monkeypatch.setattr(Api, "connect", connect)
    monkeypatch.setattr(Service, "run", run)

    assert call(*SERVER, "--root", str(tmp_path), "--liveness-port", "9000").exit_code == 0
    assert ended == [9000]
