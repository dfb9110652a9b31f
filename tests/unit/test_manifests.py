"""deploy/: what the manifests promise, read from the files themselves."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config.loader import PyFileConfigLoader

from kfspawner.homes.home import make_home_claim
from kfspawner.homes.place import Place
from kfspawner.homes.source import HomeSource, read_home_source
from kfspawner.profiles import manifests
from kfspawner.profiles.profile import make_personal
from kfspawner.servers.images import read_image_profiles

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(
    [
        *DEPLOY.glob("base/*.yaml"),
        *DEPLOY.glob("homes/*.yaml"),
        *DEPLOY.glob("overlays/*/*.yaml"),
    ]
)
OBJECTS = [
    (f"{path.relative_to(DEPLOY)}:{document['kind']}/{document['metadata']['name']}", document)
    for path in FILES
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
BASE = {
    (document["kind"], document["metadata"]["name"]): document
    for path in sorted(DEPLOY.glob("base/*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
}


def select(kind: str) -> list[Any]:
    return [
        pytest.param(document, id=name) for name, document in OBJECTS if document["kind"] == kind
    ]


def rules(role: str) -> set[tuple[str, str, str]]:
    """Return what a ClusterRole of the base may do, as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in BASE["ClusterRole", role]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("role", select("ClusterRole"))
def test_no_role_has_a_wildcard(role: dict[str, Any]) -> None:
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_no_role_reads_secrets_enters_pods_or_escalates() -> None:
    for role in ("kfspawner-hub", manifests.HUB_ROLE, "kubeflow-edit", "kubeflow-view"):
        for _, resource, verb in rules(role):
            assert resource not in {"secrets", "pods/exec", "pods/attach", "nodes/proxy"}
            assert verb not in {"escalate", "impersonate", "deletecollection"}


def test_the_hub_makes_no_namespaces_and_no_bindings() -> None:
    allowed = rules("kfspawner-hub") | rules(manifests.HUB_ROLE)

    assert not {resource for _, resource, verb in allowed if verb == "bind"}
    writable = {resource for _, resource, verb in allowed if verb in {"create", "patch"}}
    assert writable == {"profiles", "pods", "persistentvolumeclaims"}


def test_the_hub_cannot_delete_files_or_namespaces() -> None:
    allowed = rules("kfspawner-hub") | rules("kfspawner-hub-namespace")

    deletable = {resource for _, resource, verb in allowed if verb == "delete"}
    assert deletable == {"pods"}


def test_a_notebook_handles_jobs_and_reads_the_rest() -> None:
    allowed = rules("kubeflow-edit")

    assert {
        verb for group, resource, verb in allowed if (group, resource) == ("batch", "jobs")
    } == {
        "create",
        "get",
        "list",
        "watch",
        "patch",
        "delete",
    }
    assert {verb for _, resource, verb in allowed if resource != "jobs"} <= {"get", "list", "watch"}


@pytest.mark.parametrize("name", ["hub", "proxy", "controller"])
def test_pods_pass_pod_security_restricted(name: str) -> None:
    pod = BASE["Deployment", name]["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(
        set(volume) & {"emptyDir", "configMap", "persistentVolumeClaim"}
        for volume in pod.get("volumes", ())
    )
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}
    for container in pod["containers"]:
        assert {"startupProbe", "livenessProbe"} <= set(container)


def test_the_provisioner_is_root_with_no_capability_in_a_namespace_of_its_own() -> None:
    homes = {document["kind"]: document for name, document in OBJECTS if name.startswith("homes/")}
    pod = homes["Deployment"]["spec"]["template"]["spec"]
    labels = homes["Namespace"]["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["volumes"] == [{"name": "export", "persistentVolumeClaim": {"claimName": "export"}}]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_only_the_hub_and_the_controller_have_a_token() -> None:
    automounted = {
        name: BASE["Deployment", name]["spec"]["template"]["spec"]["automountServiceAccountToken"]
        for name in ("hub", "proxy", "controller")
    }

    assert automounted == {"hub": True, "proxy": False, "controller": True}
    for name in automounted:
        assert BASE["ServiceAccount", name]["automountServiceAccountToken"] is False


def test_the_hubs_namespace_enforces_pod_security() -> None:
    labels = BASE["Namespace", "kfspawner"]["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    # The label would make it a person's namespace to the policies.
    assert "app.kubernetes.io/managed-by" not in labels


def test_nothing_gets_in_or_out_by_default() -> None:
    assert BASE["NetworkPolicy", "default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_only_the_hub_reaches_the_table_of_routes() -> None:
    ingress = BASE["NetworkPolicy", "proxy"]["spec"]["ingress"]

    (api,) = [rule for rule in ingress if {"port": "api"} in rule["ports"]]
    assert api["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "hub"}}}]


@pytest.mark.parametrize(
    "service", [BASE["Service", name] for name in ("hub", "proxy-api", "proxy-public")]
)
def test_services_find_their_pods(service: dict[str, Any]) -> None:
    name = service["spec"]["selector"]["app.kubernetes.io/name"]
    template = BASE["Deployment", name]["spec"]["template"]

    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == name
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_no_file_holds_a_secret(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))

    assert all(document["kind"] != "Secret" for document in documents)
    assert all("secretGenerator" not in document for document in documents)


def test_kustomizations_name_files_that_are_there() -> None:
    for path in FILES:
        if path.name != "kustomization.yaml":
            continue
        document = yaml.safe_load(path.read_text())
        named = [*document["resources"], *(patch["path"] for patch in document.get("patches", []))]
        named += [
            file
            for config in document.get("configMapGenerator", ())
            for file in config.get("files", [])
        ]
        for name in named:
            assert (path.parent / name).exists(), f"{path}: {name}"


def test_the_administrators_file_is_the_one_that_is_deployed() -> None:
    top = ROOT / "jupyterhub_config.py"

    assert top.is_symlink()
    assert top.resolve() == DEPLOY / "base" / "jupyterhub_config.py"


@pytest.mark.parametrize(
    "path",
    [DEPLOY / "base" / "jupyterhub_config.py", DEPLOY / "overlays" / "local" / "10-local.py"],
)
def test_the_configuration_declares_and_defines_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert not any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        for node in ast.walk(tree)
    )


def load_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *overlays: Path) -> Any:
    """Return the configuration as the hub would read it, with `overlays` beside it."""
    given = {
        "CONFIGPROXY_AUTH_TOKEN": "proxy-token",
        "JPY_COOKIE_SECRET": "cookie-secret",
        "KFSPAWNER_IMAGE_CPU": "registry.example/cpu@sha256:1",
        "KFSPAWNER_IMAGE_GPU": "registry.example/gpu@sha256:2",
        "KFSPAWNER_REGISTRY_PREFIX": "registry.example",
        "KFSPAWNER_PASSWORD": "long enough",
        "KFSPAWNER_REGISTRY_PLAIN_HTTP": "1",
        "KFSPAWNER_SIMULATED_GPUS": "1",
        "KFSPAWNER_ADMIN_TOKEN": "admin-token",
        "KFSPAWNER_NFS_SERVER": "nfs.example",
        "KFSPAWNER_NFS_PATH": "/homes",
        "POD_NAMESPACE": "hubs",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "jupyterhub_config.py"
    config.write_text((DEPLOY / "base" / "jupyterhub_config.py").read_text())
    directory = tmp_path / "jupyterhub_config.d"
    directory.mkdir()
    for overlay in overlays:
        (directory / overlay.name).write_text(overlay.read_text())
    return PyFileConfigLoader(str(config)).load_config()


def test_the_base_offers_cpu_and_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    c = load_config(monkeypatch, tmp_path)
    profiles = read_image_profiles(c.KfSpawner.image_profiles)

    assert list(profiles) == ["cpu", "gpu"]
    assert profiles["gpu"].gpu is not None
    assert not profiles["gpu"].simulated
    assert make_personal("alice", c.KfSpawner.personal_profile).quota
    assert c.JupyterHub.cleanup_servers is False
    assert c.ConfigurableHTTPProxy.should_start is False


def test_the_local_overlay_changes_what_stands_above(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = load_config(monkeypatch, tmp_path, DEPLOY / "overlays" / "local" / "10-local.py")
    profiles = read_image_profiles(c.KfSpawner.image_profiles)

    assert profiles["gpu"].simulated
    assert profiles["gpu"].image == "registry.example/gpu@sha256:2"
    assert profiles["cpu"].cpu.maximum == 2
    assert c.SharedPasswordAuthenticator.user_password == "long enough"
    assert c.KfSpawner.registry_plain_http is True
    assert str(read_home_source(c.KfSpawner.home).server) == "nfs.example"


def test_without_an_export_homes_are_of_the_default_class(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overlay = tmp_path / "10-local.py"
    text = (DEPLOY / "overlays" / "local" / "10-local.py").read_text()
    overlay.write_text(text.replace('os.environ["KFSPAWNER_NFS_SERVER"]', '""'))

    source = read_home_source(load_config(monkeypatch, tmp_path, overlay).KfSpawner.home)

    assert (source.is_ours, source.storage_class, source.capacity) == (False, "", "2Gi")


def test_manifests_of_a_home() -> None:
    home = Place("vision", "Ada Lovelace")
    claim = make_home_claim(HomeSource(capacity="5Gi"), home, (1000, 100))

    assert claim["metadata"]["name"].startswith("home-ada-lovelace---")
    assert claim["metadata"]["namespace"] == "vision"
    assert claim["metadata"]["annotations"] == {"kfspawner.io/user-name": "Ada Lovelace"}
    assert claim["metadata"]["labels"]["kfspawner.io/user"].startswith("ada-lovelace---")
    assert "storageClassName" not in claim["spec"]
    assert claim["spec"]["resources"] == {"requests": {"storage": "5Gi"}}
