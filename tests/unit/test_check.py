"""`kfspawner check` offline: every mistake is found, told where it is, and hides no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.checked import check, wrong


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where the config is."""
    return tmp_path / "jupyterhub_config.py"


def test_a_config_in_order(config: Path) -> None:
    result = check(config)

    assert result.exit_code == 0
    assert [line[7:].partition(":")[0] for line in result.stdout.splitlines()[:-1]] == [
        f"{profile}, image profile {key}, role {role}"
        for profile, keys in (
            ("profile vision", ("cpu", "gpu")),
            ("profile nlp", ("cpu",)),
            ("everyone's own profile", ("cpu",)),
        )
        for key in keys
        for role in ("admin", "edit", "view")
    ]
    assert result.stdout.splitlines()[-1] == f"12 looked at in {config}, nothing wrong."


def test_a_config_with_homes_on_nfs_and_uids_is_in_order(config: Path) -> None:
    lines = (
        'c.KfSpawner.home = {"server": "nfs.test", "path": "/homes", "folder_capacity": "1Gi"}',
        'c.KfSpawner.own_uid = {"first": 20000, "last": 30000}',
    )

    result = check(config, more="\n".join(lines))

    assert result.exit_code == 0, result.stdout
    assert result.stdout.splitlines()[-1] == f"12 looked at in {config}, nothing wrong."


MISTAKES = {
    "no image profile": (
        'c.KfSpawner.profiles["nlp"]["image_profiles"] = ["cpu", "tpu"]',
        "profile nlp: it offers image profile 'tpu', and the config declares cpu, gpu",
    ),
    "personal offers nothing": (
        'c.KfSpawner.personal_profile["image_profiles"] = ["tpu"]',
        "everyone's own profile: it offers image profile 'tpu'",
    ),
    "offered by none": (
        'c.KfSpawner.profiles["vision"]["image_profiles"] = ["cpu"]',
        "image profile gpu: no profile offers it",
    ),
    "no image profiles": (
        "c.KfSpawner.image_profiles = {}",
        "c.KfSpawner.image_profiles: none is declared",
    ),
    "registry": ('c.KfSpawner.registry_prefix = ""', "c.KfSpawner.registry_prefix: it is missing"),
    "spawner": (
        'c.JupyterHub.spawner_class = "simple"',
        "the spawner: looking for the spawner: 'simple' is not KfSpawner",
    ),
    "no such spawner": (
        'c.JupyterHub.spawner_class = "nowhere.Spawner"',
        "looking for the spawner",
    ),
    "a kind of GPU": (
        (
            'kinds = {"a": {}, "b": {"resource": "x/b"}}\n'
            'c.KfSpawner.image_profiles["gpu"]["gpu"]["kinds"] = kinds\n'
            'c.KfSpawner.profiles["vision"]["quota"]["requests.x/b"] = "0"'
        ),
        "profile vision, image profile gpu, role admin: choosing GPU kind b: the quota",
    ),
    "personal name": (
        'c.KfSpawner.profiles["kf-alice"] = {"owner": "alice"}',
        "profile kf-alice: names with kf- are those of people's own profiles",
    ),
    "the hub's namespace": (
        'c.KfSpawner.profiles["kfspawner"] = {"owner": "alice"}',
        "profile kfspawner: the hub itself is in the namespace",
    ),
    "one title twice": (
        'c.KfSpawner.profiles["nlp"]["display_name"] = "vision"',
        "profile nlp: it is called 'vision', as profile vision is",
    ),
    "one name of an image profile twice": (
        'c.KfSpawner.image_profiles["gpu"]["display_name"] = "cpu"',
        "image profile gpu: it is called 'cpu', as image profile cpu is",
    ),
    "profile": (
        'c.KfSpawner.profiles["nlp"]["owner"] = "system:admin"',
        "profile nlp: c.KfSpawner.profiles['nlp']['owner']: names such as 'system:admin'",
    ),
    "field": (
        'c.KfSpawner.profiles["nlp"]["quotas"] = {}',
        "profile nlp: c.KfSpawner.profiles['nlp']: 'quotas' is not a field of it",
    ),
    "template": (
        'c.KfSpawner.personal_profile = {"owner": "x"}',
        "everyone's own profile: c.KfSpawner.personal_profile: 'owner' is not a field of it",
    ),
    "image profile": (
        'c.KfSpawner.image_profiles["gpu"]["gpu"]["max"] = "many"',
        "image profile gpu: reading image profile 'gpu'",
    ),
    "not a dict": ("c.KfSpawner.profiles = []", "c.KfSpawner.profiles: reading"),
    "quantity": (
        'c.KfSpawner.profiles["vision"]["quota"]["pods"] = "five"',
        "c.KfSpawner.profiles['vision']['quota'], pods: ",
    ),
    "no such quota": (
        'c.KfSpawner.profiles["vision"]["quota"]["reqests.cpu"] = "5"',
        "its quota has 'reqests.cpu', which no quota counts",
    ),
    "quota that nobody counts": (
        'c.KfSpawner.profiles["vision"]["quota"]["nvidia.com/gpu"] = "5"',
        "its quota has 'nvidia.com/gpu', which no quota counts; write requests.nvidia.com/gpu",
    ),
    "too large to be proposed": (
        'c.KfSpawner.profiles["nlp"]["quota"] = {"requests.cpu": "500m"}',
        (
            "profile nlp, image profile cpu, role edit: choosing the size that the form proposes: "
            "the quota of profile nlp leaves too little CPU: 1 asked for, 0 of 500m in use; "
            "500m would fit; raise c.KfSpawner.profiles['nlp']['quota'], "
            "or lower c.KfSpawner.image_profiles['cpu']"
        ),
    ),
    "too large however small": (
        'c.KfSpawner.personal_profile["quota"] = {"limits.memory": "256Mi"}',
        "role edit: choosing the smallest size: the quota of profile kf-kfspawner-check",
    ),
    "home": (
        'c.KfSpawner.profiles["nlp"]["quota"] = {"requests.storage": "1Gi"}',
        "too little storage: 10Gi asked for, 0 of 1Gi in use",
    ),
    "home's size": ('c.KfSpawner.home = {"capacity": "10GB"}', "capacity '10GB' is no amount"),
    "setting": ("c.KfSpawner.home = 10", "home"),
    "hook": (
        "c.KfSpawner.modify_pod_hook = lambda spawner, pod: 1 / 0",
        "rendering the pod: ZeroDivisionError: division by zero; correct c.KfSpawner",
    ),
    "template of KubeSpawner": (
        'c.KfSpawner.volumes = [{"name": "{nobody}"}]',
        "rendering the pod: KeyError",
    ),
}


@pytest.mark.parametrize(("mistake", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(config: Path, mistake: str, told: str) -> None:
    result = check(config, more=mistake)

    assert result.exit_code == 1
    assert told in "\n".join(wrong(result))
    assert f"{len(wrong(result))} wrong." in result.stdout
    assert "Traceback" not in result.output


def test_one_mistake_hides_no_other(config: Path) -> None:
    names = (
        "quota that nobody counts",
        "no image profile",
        "registry",
        "template",
        "too large to be proposed",
    )
    result = check(config, more="\n".join(MISTAKES[name][0] for name in names))

    for name in names:
        assert MISTAKES[name][1] in "\n".join(wrong(result))


def test_a_size_that_may_be_chosen_and_never_fits(config: Path) -> None:
    more = 'c.KfSpawner.profiles["nlp"]["quota"] = {"requests.cpu": "2"}'

    result = check(config, more=more)

    assert result.exit_code == 0
    assert "role edit: its largest size never fits: the quota of profile nlp" in result.stdout


def test_a_spawner_that_starts_servers_for_those_who_may_only_look(config: Path) -> None:
    more = (
        "from kfspawner.servers.spawner import KfSpawner\n"
        "class Lax(KfSpawner):\n"
        "    async def load_user_options(self): pass\n"
        "c.JupyterHub.spawner_class = Lax\n"
    )
    result = check(config, more=more)

    assert result.exit_code == 1
    assert len(wrong(result)) == 4
    assert "cpu, role view: starting a server: who may only look starts one" in wrong(result)[0]


def test_a_spawner_made_of_ours_is_ours(config: Path) -> None:
    more = (
        "from kfspawner.servers.spawner import KfSpawner\n"
        "class Ours(KfSpawner): pass\n"
        "c.JupyterHub.spawner_class = Ours\n"
        "c.Ours.volumes = [{'name': '{nobody}'}]\n"
    )
    assert "rendering the pod: KeyError" in check(config, more=more).stdout
