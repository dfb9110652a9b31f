"""What KfSpawner makes of a server: its pod, its settings, its form."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from traitlets import TraitError

from kfspawner.context import ServerContext, make_server_key
from kfspawner.names import home_claim_name, namespace_name, server_pod_name
from kfspawner.servers.refused import StartRefused
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub, load, pod_of

MakeSpawner = Callable[..., KfSpawner]
GIB = 2**30
# Names that JupyterHub takes and that mean something to whoever is careless with them.
NAMES = [
    "alice",
    "Ada.Lovelace@example.com",
    "{username}",
    "{pod_name}",
    "$(HOME)",
    "../",
    "a-",
    "0",
    "用户",
    "🦊",
    "x" * 255,
]


@pytest.fixture
def make_spawner(hub: FakeHub) -> MakeSpawner:
    """Return a maker of spawners."""
    return hub.make_spawner


def env_of(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}


async def test_the_pod_passes_pod_security_restricted(make_spawner: MakeSpawner) -> None:
    spec = (await pod_of(make_spawner()))["spec"]
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"]["fsGroup"] == 100
    assert container["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 100,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any("hostPath" in volume for volume in spec["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


async def test_the_pod_of_a_cpu_server(make_spawner: MakeSpawner) -> None:
    pod = await pod_of(make_spawner(), cpu=2, memory="4G")
    spec = pod["spec"]
    (container,) = spec["containers"]

    assert container["image"] == "registry.example/cpu@sha256:1"
    assert container["args"][:2] == ["sh", "-c"]
    assert container["workingDir"] == "/home/jovyan"
    assert container["resources"] == {
        "requests": {"cpu": 0.1, "memory": 4 * GIB},
        "limits": {"cpu": 2, "memory": 4 * GIB},
    }
    assert container["volumeMounts"] == [{"name": "home", "mountPath": "/home/jovyan"}]
    assert spec["volumes"] == [
        {"name": "home", "persistentVolumeClaim": {"claimName": "home-alice"}}
    ]
    assert spec["serviceAccountName"] == "default-editor"
    assert spec["automountServiceAccountToken"] is True
    assert spec["enableServiceLinks"] is False
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kfspawner"
    assert pod["metadata"]["labels"]["kfspawner.io/user"] == "alice"
    # What the network policies and KubeSpawner's watch select.
    assert pod["metadata"]["labels"]["component"] == "singleuser-server"


async def test_the_pod_of_a_gpu_server(make_spawner: MakeSpawner) -> None:
    spec = (await pod_of(make_spawner(), image_profile="gpu", gpu=2))["spec"]

    assert spec["containers"][0]["image"] == "registry.example/gpu@sha256:2"
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] == "2"
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


async def test_nothing_of_a_gpu_server_stays_for_the_next(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(node_selector={"zone": "a"}, extra_resource_limits={"x.io/y": "1"})
    fresh = await pod_of(spawner)

    gpu = await pod_of(spawner, image_profile="gpu")
    again = await pod_of(spawner)

    assert gpu["spec"]["nodeSelector"] == {"zone": "a", "pool": "gpu"}
    assert again == fresh
    assert again["spec"]["nodeSelector"] == {"zone": "a"}
    assert again["spec"]["containers"][0]["resources"]["limits"]["x.io/y"] == "1"
    assert again["spec"].get("tolerations", []) == []


async def test_people_do_not_share_what_is_configured(make_spawner: MakeSpawner) -> None:
    config = {"node_selector": {"zone": "a"}, "volumes": [{"name": "data", "emptyDir": {}}]}
    kept = copy.deepcopy(config)

    await pod_of(make_spawner("alice", **config), image_profile="gpu")
    pod = await pod_of(make_spawner("bob", **config))

    assert config == kept
    assert pod["spec"]["nodeSelector"] == {"zone": "a"}
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["data", "home"]


async def test_volumes_that_are_configured_as_a_dict_stay(make_spawner: MakeSpawner) -> None:
    volumes = {"2": {"name": "b", "emptyDir": {}}, "1": {"name": "a", "emptyDir": {}}}

    pod = await pod_of(make_spawner(volumes=volumes))

    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["a", "b", "home"]


@pytest.mark.parametrize("name", NAMES)
async def test_names_of_the_cluster_are_those_of_names_py(
    make_spawner: MakeSpawner, name: str
) -> None:
    spawner = make_spawner(name)
    await load(spawner)

    assert spawner.namespace == namespace_name(name)
    assert spawner.pod_name == server_pod_name(name, "")
    assert spawner.pvc_name == home_claim_name(name)
    assert spawner.dns_name == f"{spawner.pod_name}.{spawner.namespace}.svc.cluster.local"
    assert spawner.get_pvc_manifest()["metadata"]["name"] == home_claim_name(name)


@pytest.mark.parametrize("server", NAMES)
async def test_named_servers_have_pods_of_their_own(make_spawner: MakeSpawner, server: str) -> None:
    pod = await pod_of(make_spawner("alice", server))

    assert pod["metadata"]["name"] == server_pod_name("alice", server)
    assert env_of(pod)["JUPYTERHUB_SERVER_NAME"].replace("$$", "$") == server


@pytest.mark.parametrize("name", NAMES)
async def test_the_notebook_reads_what_the_spawner_writes(
    make_spawner: MakeSpawner, name: str
) -> None:
    pod = await pod_of(make_spawner(name, registry_plain_http=True))
    # Kubernetes makes $ of $$.
    environ = {key: value.replace("$$", "$") for key, value in env_of(pod).items()}

    context = ServerContext.from_env(environ)

    assert context == ServerContext(
        user=name,
        namespace=namespace_name(name),
        image="registry.example/cpu@sha256:1",
        repository=f"registry.example/{namespace_name(name)}/runs",
        home_claim=home_claim_name(name),
        registry_plain_http=True,
    )
    assert environ["JUPYTERHUB_USER"] == name


async def test_a_name_is_not_expanded_by_kubernetes(make_spawner: MakeSpawner) -> None:
    environ = env_of(await pod_of(make_spawner("$(JUPYTERHUB_API_TOKEN)")))

    assert environ["KFSPAWNER_USER"] == "$$(JUPYTERHUB_API_TOKEN)"
    assert environ["JUPYTERHUB_USER"] == "$$(JUPYTERHUB_API_TOKEN)"


async def test_the_home_is_asked_for_as_configured(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(home={"capacity": "3Gi", "storage_class": "fast"})
    await load(spawner)

    claim = spawner.get_pvc_manifest()

    assert claim["metadata"]["namespace"] == "kf-alice"
    assert claim["metadata"]["annotations"] == {"kfspawner.io/user-name": "alice"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "3Gi"}},
        "storageClassName": "fast",
    }


async def test_certificate_authorities_are_given(make_spawner: MakeSpawner) -> None:
    pod = await pod_of(make_spawner(private_ca=True))
    environ = env_of(pod)

    assert {"name": "kfspawner-ca", "configMap": {"name": "kfspawner-ca"}} in pod["spec"]["volumes"]
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"):
        assert environ[name] == "/etc/kfspawner/ca/ca.crt"
    assert environ["KFSPAWNER_CA_CONFIG_MAP"] == "kfspawner-ca"


async def test_images_keep_their_authorities_by_default(make_spawner: MakeSpawner) -> None:
    environ = env_of(await pod_of(make_spawner()))

    assert "SSL_CERT_FILE" not in environ
    assert environ["KFSPAWNER_CA_CONFIG_MAP"] == ""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"image_profiles": {"cpu": {"image": "x"}}}, "image profile 'cpu'"),
        (
            {"profiles": {"vision": {"members": {"bob": "edit"}}}},
            r"profiles\['vision'\]\['owner'\]",
        ),
        ({"profiles": {"Vision": {"owner": "alice"}}}, "'Vision' cannot be the name"),
        ({"profiles": {"vision": {"owner": "alice", "quota": {"pods": "x"}}}}, "quota"),
        ({"personal_profile": {"members": {}}}, "members' is not a field"),
        ({"personal_profile": {"quota": {"requests.cpu": "lots"}}}, "requests.cpu"),
    ],
)
async def test_settings_are_checked(
    make_spawner: MakeSpawner, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraitError, match=said):
        make_spawner(**config)


async def test_a_refused_option_answers_400_and_is_not_kept(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    spawner.user_options = spawner.orm_spawner.user_options = {"cpu": 99}

    with pytest.raises(StartRefused) as refused:
        await spawner.start()

    assert refused.value.status_code == 400
    assert refused.value.jupyterhub_message == (
        "choosing a server with cpu=99: image profile 'cpu' offers 0.5 to 4 cores; "
        "choose within that"
    )
    assert spawner.orm_spawner.user_options == {}


async def test_a_server_needs_a_registry(make_spawner: MakeSpawner) -> None:
    with pytest.raises(StartRefused, match=r"set c\.KfSpawner\.registry_prefix"):
        await make_spawner(registry_prefix="").start()


async def test_the_form_stores_what_the_api_would_take(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()

    stored = await spawner.run_options_from_form({"image_profile": ["gpu"], "gpu.cpu": ["3"]})

    assert stored == {
        "profile": "kf-alice",
        "image_profile": "gpu",
        "cpu": 3.0,
        "memory": "1G",
        "gpu": 1,
    }
    assert json.loads(json.dumps(stored)) == stored


async def test_a_refused_form_is_shown_again_once(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()

    with pytest.raises(StartRefused, match="cpu=99"):
        await spawner.run_options_from_form({"image_profile": ["cpu"], "cpu.cpu": ["99"]})

    assert 'value="99"' in await spawner.get_options_form()
    assert 'value="99"' not in await spawner.get_options_form()


async def test_a_stale_choice_falls_back_to_the_defaults(make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    spawner.user_options = {"image_profile": "gone"}

    assert 'id="kf-cpu"' in await spawner.get_options_form()


async def test_a_server_has_a_key_that_the_hubs_services_know(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_COOKIE_SECRET", raising=False)
    assert "KFSPAWNER_SERVER_KEY" not in await environment(hub, "")

    monkeypatch.setenv("JPY_COOKIE_SECRET", "of-the-hub")
    found = await environment(hub, "big")
    assert found["KFSPAWNER_SERVER_KEY"] == make_server_key("of-the-hub", "alice", "big")
    assert "of-the-hub" not in found.values()


async def environment(hub: FakeHub, server: str) -> dict[str, str]:
    pod = await pod_of(hub.make_spawner("alice", server))
    return {it["name"]: it.get("value", "") for it in pod["spec"]["containers"][0]["env"]}


async def test_the_state_says_as_what_a_server_was_chosen(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    assert "image_profile" not in spawner.get_state()
    await load(spawner, image_profile="gpu")
    state = spawner.get_state()
    assert state["image_profile"] == "gpu"

    later = hub.make_spawner()
    later.load_state(state)
    assert later.get_state()["image_profile"] == "gpu"
    later.load_state({"pod_name": "server-alice"})
    assert "image_profile" not in later.get_state()
    spawner.clear_state()
    assert "image_profile" not in spawner.get_state()
