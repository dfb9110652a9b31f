"""`kfspawner profiles apply`, with a cluster in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.cli import CONFIG, declared, kf, profile, stand


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that declares two Profiles."""
    path = tmp_path / "jupyterhub_config.py"
    path.write_text(CONFIG)
    return path


def test_applying_creates_changes_and_leaves(config: Path) -> None:
    api = FakeApi()
    first = kf(api, "profiles", "apply", "--config", str(config))
    config.write_text(CONFIG.replace('"pods": "5"', '"pods": "6"'))
    second = kf(api, "profiles", "apply", "--config", str(config))

    assert first.stdout == "vision: created\nnlp: created\n"
    assert second.stdout == "vision: changed\nnlp: unchanged\n"
    assert api.objects["Profile", "", "vision"]["spec"] == {
        "owner": {"kind": "User", "name": "alice"},
        "resourceQuotaSpec": {"hard": {"pods": "6"}},
    }
    assert declared(api) == {"bob": "edit"}


def test_applying_says_whose_it_was(config: Path) -> None:
    api = FakeApi()
    stand(api, profile("vision", "mallory"))

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert "vision: changed; user mallory owned it before" in result.stdout


def test_applying_a_member_of_the_config_comes_back(config: Path) -> None:
    api = FakeApi()
    kf(api, "profiles", "apply", "--config", str(config))
    api.put({**api.objects["Profile", "", "vision"], "status": profile()["status"]})
    kf(api, "profiles", "remove-member", "vision", "bob")
    assert declared(api) == {}

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert "vision: changed" in result.stdout
    assert declared(api) == {"bob": "edit"}


def test_applying_what_is_declared_no_longer_is_named_and_stays(config: Path) -> None:
    api = FakeApi()
    kf(api, "profiles", "apply", "--config", str(config))
    api.put(profile("by-hand"))
    config.write_text(CONFIG.replace('"nlp"', '"text"'))

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert result.exit_code == 0
    assert "nlp: the config no longer declares it; it stays" in result.stdout
    assert "by-hand" not in result.stdout
    assert ("Profile", "", "nlp") in api.objects


def test_applying_one_mistake_keeps_all_from_being_applied(config: Path) -> None:
    api = FakeApi()
    config.write_text(CONFIG + 'c.KfSpawner.profiles["Bad_Name"] = {"owner": "alice"}\n')

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert result.exit_code == 1
    assert "'Bad_Name' cannot be the name of a namespace" in result.stderr
    assert api.writes() == []


def test_applying_all_mistakes_are_told_at_once(config: Path) -> None:
    api = FakeApi()
    more = 'c.KfSpawner.profiles |= {"B": {"owner": "a"}, "c": {"owner": "system:admin"}}\n'
    config.write_text(CONFIG + more)

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert result.exit_code == 1
    assert "'B'" in result.stderr
    assert "system:admin" in result.stderr


def test_applying_no_profiles(config: Path) -> None:
    api = FakeApi()
    config.write_text("")

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert (result.exit_code, result.stdout) == (0, "The config declares no profiles.\n")


def test_applying_of_a_file() -> None:
    api = FakeApi()
    text = """\
apiVersion: kubeflow.org/v1beta1
kind: Profile
metadata:
  name: speech
  resourceVersion: "17"
  labels: {team: s}
spec:
  owner: {kind: User, name: dora}
---
"""
    first = kf(api, "profiles", "apply", "-f", "-", text=text)
    second = kf(api, "profiles", "apply", "-f", "-", text=text)

    assert (first.stdout, second.stdout) == ("speech: created\n", "speech: unchanged\n")
    kept = api.objects["Profile", "", "speech"]
    assert kept["apiVersion"] == "kubeflow.org/v1"
    assert kept["metadata"]["labels"] == {"team": "s"}


def test_applying_of_a_file_is_not_of_the_config(config: Path) -> None:
    api = FakeApi()
    stand(api, profile("speech"))
    text = json.dumps({**profile("speech"), "metadata": {"name": "speech"}})
    kf(api, "profiles", "apply", "-f", "-", text=text)

    assert "speech" not in kf(api, "profiles", "apply", "--config", str(config)).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod", "it holds Pod"),
        ("- 1", "it holds list"),
        ("{", "while parsing"),
        ("", "it is empty"),
        (json.dumps({**profile(), "apiVersion": "kubeflow.org/v2"}), "it holds Profile"),
        (json.dumps({**profile("x_y")}), "cannot be the name of a namespace"),
        (json.dumps({**profile(), "spec": {}}), "None is no owner"),
    ],
)
def test_applying_of_a_file_refuses(text: str, said: str) -> None:
    api = FakeApi()
    result = kf(api, "profiles", "apply", "-f", "-", text=text)

    assert result.exit_code == 1
    assert said in result.stderr
    assert api.writes() == []


def test_applying_one_source_at_a_time(config: Path) -> None:
    api = FakeApi()
    result = kf(api, "profiles", "apply", "--config", str(config), "-f", "-")

    assert result.exit_code == 2
    assert "not both" in result.stderr
