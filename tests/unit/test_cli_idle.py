"""`kfspawner idle`: what it takes, and with what it begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kfspawner.cli import main
from kfspawner.hub.api import URL_VARIABLE, HubApi
from kfspawner.hub.asking import Servers
from kfspawner.hub.idle import Idle, Rules
from kfspawner.hub.limits import Limits

HOUR = timedelta(hours=1)
GIVEN = {
    "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
    "JUPYTERHUB_API_TOKEN": "secret-token",
    "JPY_COOKIE_SECRET": "cookie-secret",
    URL_VARIABLE: "",
}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Rules, float]]:
    """With what the service has begun: where the hub is, the rules, and its pauses in seconds."""
    seen: list[tuple[str, Rules, float]] = []

    def make(self: Any, hub: HubApi, servers: Servers, rules: Rules) -> None:
        self.given = (hub._url, rules)

    async def follow(self: Any, seconds: float) -> None:
        seen.append((*self.given, seconds))

    monkeypatch.setattr(Idle, "__init__", make)
    monkeypatch.setattr(Idle, "follow", follow)
    return seen


def idle(*args: str, **environ: str) -> Result:
    """Begin the service."""
    given = {**GIVEN, **environ}
    return CliRunner().invoke(main, ["idle", *args], env=given, catch_exceptions=False)


def test_the_rules_are_those_of_the_command_line(
    begun: list[tuple[str, Rules, float]],
) -> None:
    done = idle(
        *("--after=24h", "--image-profile=gpu=4h", "--profile=vision=8h"),
        *("--profile", "vision/gpu=2h", "--demote=gpu=cpu", "--warning=5m", "--every=30s"),
    )

    assert done.exit_code == 0, done.output
    limits = Limits(
        24 * HOUR, {"gpu": 4 * HOUR}, {"vision": 8 * HOUR}, {("vision", "gpu"): 2 * HOUR}
    )
    rules = Rules(limits, timedelta(minutes=5), {"gpu": "cpu"})
    assert begun == [("http://hub:8081/hub/api", rules, 30.0)]


def test_without_options_nothing_is_stopped_and_nothing_demoted(
    begun: list[tuple[str, Rules, float]],
) -> None:
    assert idle(**{URL_VARIABLE: "http://127.0.0.1:8081"}).exit_code == 0
    assert begun == [
        ("http://127.0.0.1:8081/hub/api", Rules(Limits(), timedelta(minutes=10), {}), 60.0)
    ]


@pytest.mark.parametrize(
    "name", ["JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN", "JPY_COOKIE_SECRET"]
)
def test_what_the_hub_gives_is_needed(name: str) -> None:
    done = idle(**{name: ""})
    assert done.exit_code == 1
    assert f"{name} is not set; have the hub start it" in done.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--after", "soon"], "'soon' is no span of time"),
        (["--image-profile", "gpu"], "'gpu' is not written as KEY=TIME"),
        (["--image-profile", "=4h"], "'=4h' is not written as KEY=TIME"),
        (["--profile", "vision=soon"], "'soon' is no span of time"),
        (["--demote", "gpu"], "'gpu' is not written as KEY=KEY"),
    ],
)
def test_mistakes_are_told(args: list[str], said: str) -> None:
    done = idle(*args)
    assert done.exit_code == 2
    assert said in done.output
