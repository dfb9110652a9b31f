"""`kfspawner profiles list` and `show`, and the config file, with a cluster in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfspawner.errors import ClusterDenied
from kfspawner.profiles.api import Object
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role
from tests.fakes.api import FakeApi
from tests.fakes.cli import CONFIG, kf, profile, stand, unready


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that declares two Profiles."""
    path = tmp_path / "jupyterhub_config.py"
    path.write_text(CONFIG)
    return path


def pod(name: str, labels: dict[str, str], user: str, phase: str = "Running") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "vision",
            "labels": labels,
            "annotations": {"kfspawner.io/user-name": user},
        },
        "spec": {"containers": []},
        "status": {"phase": phase},
    }


def test_listing_shows_each_in_a_line() -> None:
    api = FakeApi()
    stand(api, profile(members='{"carol": "view", "alice": "edit"}', groups='{"t": "edit"}'))
    api.put(make_member_binding("vision", "bob", Role.EDIT))
    stand(api, unready("NamespaceTaken", "it is not ours", name="nlp"))

    shown = kf(api, "profiles", "list").stdout

    assert shown.splitlines() == [
        "NAME    TITLE   OWNER  MEMBERS      READY               QUOTA",
        "nlp     nlp     alice  0            no: it is not ours  4 CPU, 1 nvidia.com/gpu",
        "vision  vision  alice  2 + 1 group  yes                 4 CPU, 1 nvidia.com/gpu",
    ]


def test_listing_json() -> None:
    api = FakeApi()
    stand(api, profile(), make_member_binding("vision", "bob", Role.EDIT))

    (found,) = json.loads(kf(api, "profiles", "list", "-o", "json").stdout)

    assert found == {
        "name": "vision",
        "title": "vision",
        "owner": {"kind": "User", "name": "alice"},
        "members": {"bob": "edit"},
        "groups": {},
        "ready": True,
        "why": "",
        "quota": {"requests.cpu": "4", "requests.nvidia.com/gpu": "1"},
        "image_profiles": [],
    }


def test_listing_a_broken_one_hides_no_other() -> None:
    api = FakeApi()
    stand(api, profile())
    stand(api, {**profile("odd"), "status": {}, "spec": {"owner": {"kind": "Robot"}}})

    shown = kf(api, "profiles", "list").stdout

    assert "kind 'Robot' owns nothing" in shown
    assert "vision" in shown


def test_listing_none() -> None:
    api = FakeApi()
    assert kf(api, "profiles", "list").stdout == "There are no profiles.\n"


def test_listing_a_refusal_is_one_line_and_no_traceback() -> None:
    api = FakeApi()
    api.refusals["list"] = [ClusterDenied("listing profiles", "forbidden", "ask")]

    result = kf(api, "profiles", "list")

    assert result.exit_code == 1
    assert result.stderr == "Error: listing profiles: forbidden; ask\n"
    assert result.stdout == ""


def test_showing_says_who_and_what() -> None:
    api = FakeApi()
    stand(api, profile(groups='{"team": "view"}'))
    api.put(make_member_binding("vision", "bob", Role.EDIT))
    api.put(pod("server-bob", {"component": "singleuser-server"}, "bob"))
    api.put(pod("digits-0", {"kfspawner.io/run": "digits"}, "alice"))
    api.put(pod("old-0", {"kfspawner.io/run": "old"}, "alice", "Succeeded"))
    api.put(
        {
            "kind": "ResourceQuota",
            "metadata": {"name": "kf-resource-quota", "namespace": "vision"},
            "status": {"used": {"requests.cpu": "1500m"}},
        }
    )

    shown = kf(api, "profiles", "show", "vision").stdout

    assert shown.splitlines() == [
        "name            vision",
        "title           vision",
        "owner           alice",
        "ready           yes",
        "members         bob (edit)",
        "groups          team (view)",
        "image profiles  all",
        "quota           requests.cpu: 1500m of 4 in use",
        "                requests.nvidia.com/gpu: 1",
        "servers         bob's server",
        "runs            alice's run digits",
        "conditions      Ready True",
    ]


def test_showing_json_holds_the_same() -> None:
    api = FakeApi()
    stand(api, profile())
    api.put(pod("server-bob", {"component": "singleuser-server"}, "bob"))

    found = json.loads(kf(api, "profiles", "show", "vision", "-o", "json").stdout)

    assert found["servers"] == ["bob's server"]
    assert found["runs"] == []
    assert found["conditions"] == [{"type": "Ready", "status": "True", "reason": "Ready"}]


def test_showing_what_may_not_be_read_is_named() -> None:
    api = FakeApi()
    stand(api, profile())
    api.refusals["list ResourceQuota"] = [ClusterDenied("listing quotas", "forbidden", "ask")]

    result = kf(api, "profiles", "show", "vision")

    assert result.exit_code == 0
    assert "requests.cpu: 4\n" in result.stdout
    assert result.stderr == "Not shown: listing quotas: forbidden; ask\n"


def test_showing_none_of_that_name() -> None:
    api = FakeApi()
    result = kf(api, "profiles", "show", "vision")

    assert result.exit_code == 1
    assert "there is no profile vision" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c = get_config()\n\nc.X.y = 1 / 0", "line 3: ZeroDivisionError: division by zero"),
        ("x = 1\nif:", "line 2: SyntaxError: invalid syntax"),
        ("import os\nos.environ['KF_ABSENT']", "variable KF_ABSENT is not set; the hub's pod"),
        ("{}['KF_ABSENT']", "KeyError: 'KF_ABSENT'"),
        ("raise SystemExit", "SystemExit; correct the file"),
        ("get_config().KfSpawner.profiles = [1]", "it is list, not a dict"),
    ],
)
def test_config_what_is_wrong_is_named(config: Path, text: str, said: str) -> None:
    api = FakeApi()
    config.write_text(text)

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_config_files_beside_it_are_named(config: Path) -> None:
    api = FakeApi()
    beside = config.with_name("more.py")
    beside.write_text("\n\n1 / 0")
    config.write_text(
        "from pathlib import Path\n"
        "path = Path(__file__).with_name('more.py')\n"
        "exec(compile(path.read_bytes(), path, 'exec'))\n"
    )

    result = kf(api, "profiles", "apply", "--config", str(config))

    assert f"line 3 of {beside}: ZeroDivisionError" in result.stderr


def test_config_what_is_added_to_a_setting_counts(config: Path) -> None:
    api = FakeApi()
    config.write_text('get_config().KfSpawner.profiles.update({"a": {"owner": "alice"}})')

    assert kf(api, "profiles", "apply", "--config", str(config)).stdout == "a: created\n"


def test_config_of_this_directory(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    monkeypatch.chdir(config.parent)

    assert "vision: created" in kf(api, "profiles", "apply").stdout


def test_config_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    monkeypatch.chdir(tmp_path)

    assert "give its path with --config" in kf(api, "profiles", "apply").stderr
    assert "there is no such file" in kf(api, "profiles", "apply", "--config", "x.py").stderr
