"""What the benchmarks compute and deploy, as far as that needs no cluster."""

from __future__ import annotations

import json

import pytest
from traitlets.config import Config

from tests.bench import burst, spawns, stockhub
from tests.bench.burst import Bursts, p99
from tests.bench.floor import make_floor
from tests.bench.report import Bound, over, p95
from tests.cluster.cluster import Object
from tests.cluster.process import read_memory, read_seconds

BOUND = Bound(1.15, p95=1.25)
SERVER: Object = {
    "metadata": {"name": "server", "labels": {"component": "singleuser-server"}},
    "spec": {
        "nodeName": "here",
        "volumes": [{"name": "home"}, {"name": "kube-api-access-x"}],
        "containers": [
            {
                "name": "notebook",
                "image": "registry/cpu@sha256:0",
                "command": ["kfspawner-singleuser"],
                "volumeMounts": [{"name": "home"}, {"name": "kube-api-access-x"}],
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "100m", "memory": "268435456"},
                },
            }
        ],
    },
}


def test_p95_is_what_19_of_20_do_not_exceed() -> None:
    assert p95([*range(21)]) == 19
    assert p99([*range(101)]) == 99


@pytest.mark.parametrize(
    ("ours", "holds"),
    [
        ([1.0] * 20, True),
        ([1.16] * 20, False),
        # One slow start of 20 counts, one of 21 does not.
        ([1.0] * 19 + [9.0], False),
        ([1.0] * 20 + [9.0], True),
    ],
)
def test_both_median_and_p95_are_bounded(ours: list[float], holds: object) -> None:
    assert over("P1", ours, [1.0] * 20, BOUND).holds is holds


def test_a_line_tells_both_ratios_and_both_bounds() -> None:
    line = over("P1 spawn over floor", [2.0, 2.0], [1.0, 4.0], BOUND)
    assert str(line).startswith("P1 spawn over floor: 0.80 (p95 0.52), at most 1.15 (p95 1.25)")


def test_the_stock_hub_starts_the_same_image_unmodified() -> None:
    settings = stockhub.like(SERVER)
    assert settings == {
        "image": "registry/cpu@sha256:0",
        "cmd": ["jupyterhub-singleuser"],
        "cpu_limit": 1.0,
        "cpu_guarantee": 0.1,
        "mem_limit": 2**30,
        "mem_guarantee": 2**28,
    }
    config = json.loads(json.dumps(stockhub.make_config(settings, "password", "token")))
    assert config["JupyterHub"]["spawner_class"] == "kubespawner.KubeSpawner"
    assert settings.items() <= config["KubeSpawner"].items()


def test_the_floor_is_the_servers_pod_anywhere_and_with_a_token_of_its_own() -> None:
    spec = make_floor(SERVER)["spec"]
    assert "nodeName" not in spec
    assert [it["name"] for it in spec["volumes"]] == ["home"]
    (container,) = spec["containers"]
    assert [it["name"] for it in container["volumeMounts"]] == ["home"]
    assert container["command"] == ["kfspawner-singleuser"]
    assert SERVER["spec"]["nodeName"] == "here"


def test_processor_time_is_read_whatever_the_command_is_called() -> None:
    stat = "1 (a ) b) S 0 1 1 0 -1 4194560 9 0 0 0 150 50 7 7 20 0 1 0 5"
    assert read_seconds(stat) == 2.0


def test_memory_is_read_in_mebibytes() -> None:
    assert read_memory("Name:\tx\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n") == (2.0, 4.0)


def make_bursts(cpu: float, answer: float, ready: int) -> Bursts:
    return Bursts([cpu] * 2, [3.0] * 2, [burst.SPAWNS, ready], [answer] * 100)


@pytest.mark.parametrize(
    ("ours", "held"),
    [
        (make_bursts(0.06, 0.9, burst.SPAWNS), [True, True, True]),
        (make_bursts(0.08, 1.1, burst.SPAWNS - 1), [False, False, False]),
    ],
)
def test_a_burst_is_judged_by_cost_by_answers_and_by_who_is_ready(
    ours: Bursts, held: list[bool]
) -> None:
    figures = burst.Figures(ours, make_bursts(0.1, 2.0, burst.SPAWNS))
    lines = burst.report_bursts(figures)
    assert [it.holds for it in lines if it.holds is not None] == held


def test_a_config_of_the_burst_is_python_that_sets_what_it_says() -> None:
    config = Config({"KfSpawner": {"image_profiles": {"cpu": {}}}})
    exec(burst.make_config("image", "10.0.0.1"), {"c": config})
    assert list(config.KfSpawner.image_profiles) == ["cpu", "stub"]
    assert list(config.KfSpawner.extra_annotations.values()) == ["10.0.0.1"]


def test_spawns_are_reported_beside_floor_and_stock() -> None:
    figures = spawns.Spawns([1.0] * 20, [1.0] * 20, [3.0] * 20)
    held = [it.holds for it in spawns.report_spawns(figures) if it.holds is not None]
    assert held == [True, True]
