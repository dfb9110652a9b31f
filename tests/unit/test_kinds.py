"""A run's Job and what it is made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.context import ServerContext
from kfspawner.errors import NameRefused, OptionRefused
from kfspawner.names import slug
from kfspawner.training.kinds import Resources, RunRequest, make_job

IMAGE = f"registry.example/kf-alice/runs@sha256:{'ab' * 32}"
CONTEXT = ServerContext(
    user="Alice@example",
    namespace="kf-alice",
    image="registry.example/cpu:1",
    repository="registry.example/kf-alice/runs",
    home_claim="home-alice",
)


def make_request(**changes: Any) -> RunRequest:
    base = RunRequest("digits", IMAGE, ("python", "-u", "main.py"), CONTEXT)
    return replace(base, **changes)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["spec"]["template"]["spec"])


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(pod_of(job)["containers"][0])


def env_of(job: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(job)["env"]}


def test_job_runs_once_and_says_whose_it_is() -> None:
    job = make_job(make_request())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["name"] == "digits"
    assert job["metadata"]["namespace"] == "kf-alice"
    labels = {
        "app.kubernetes.io/managed-by": "kfspawner",
        "kfspawner.io/run": "digits",
        "kfspawner.io/user": slug("Alice@example"),
    }
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == labels
    assert job["metadata"]["annotations"] == {"kfspawner.io/user-name": "Alice@example"}
    assert job["spec"]["backoffLimit"] == 0
    assert pod_of(job)["restartPolicy"] == "Never"


def test_pod_passes_restricted() -> None:
    pod = pod_of(make_job(make_request()))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (1000, 100)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "fsGroup" not in security
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {
        "persistentVolumeClaim",
        "emptyDir",
    }


def test_command_goes_to_the_entrypoint() -> None:
    container = container_of(make_job(make_request()))
    assert container["args"] == ["sh", "-c", 'exec "$@" 2>&1', "sh", "python", "-u", "main.py"]
    assert "command" not in container
    assert container["image"] == IMAGE


def test_outputs_are_in_the_home() -> None:
    job = make_job(make_request())
    mounts = container_of(job)["volumeMounts"]
    assert {"name": "home", "mountPath": "/outputs", "subPath": "runs/digits"} in mounts
    (home,) = [each for each in pod_of(job)["volumes"] if each["name"] == "home"]
    assert home["persistentVolumeClaim"] == {"claimName": "home-alice"}
    assert env_of(job)["KFSPAWNER_OUTPUTS"] == "/outputs"
    assert env_of(job)["KFSPAWNER_RUN"] == "digits"


def test_the_home_is_where_the_server_has_it() -> None:
    context = replace(CONTEXT, home_sub_path="homes/ada", uid=2001, gid=300)
    spec = make_job(make_request(context=context))["spec"]["template"]["spec"]

    mounts = {it["mountPath"]: it["subPath"] for it in spec["containers"][0]["volumeMounts"][:2]}
    assert mounts == {"/home/jovyan": "homes/ada", "/outputs": "homes/ada/runs/digits"}
    assert spec["securityContext"]["runAsUser"] == 2001
    assert spec["securityContext"]["runAsGroup"] == 300


def test_env_is_the_persons_before_ours() -> None:
    env = env_of(make_job(make_request(env={"PYTHONUNBUFFERED": "", "LR": "0.1"})))
    assert (env["PYTHONUNBUFFERED"], env["LR"]) == ("", "0.1")
    assert env_of(make_job(make_request()))["PYTHONUNBUFFERED"] == "1"


def _expand(text: str) -> str:
    """Return what Kubernetes makes of a value where no variable is known."""
    return text.replace("$$", "$")


@given(st.text(alphabet="$()AZ_ ", max_size=12))
def test_nothing_is_expanded(text: str) -> None:
    job = make_job(make_request(env={"A": text}, command=("echo", text)))
    for written in (env_of(job)["A"], container_of(job)["args"][-1]):
        assert "$(" not in written.replace("$$", "")
        assert _expand(written) == text


def test_authorities_are_mounted_where_there_are_some() -> None:
    assert "SSL_CERT_FILE" not in env_of(make_job(make_request()))
    job = make_job(make_request(context=replace(CONTEXT, ca_config_map="kfspawner-ca")))
    env = env_of(job)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"):
        assert env[name] == "/etc/kfspawner/ca/ca.crt"
    (mount,) = [m for m in container_of(job)["volumeMounts"] if m["name"] == "ca"]
    assert mount == {"name": "ca", "mountPath": "/etc/kfspawner/ca", "readOnly": True}
    (volume,) = [v for v in pod_of(job)["volumes"] if v["name"] == "ca"]
    assert volume["configMap"] == {"name": "kfspawner-ca"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), {"cpu": "1", "memory": "2Gi"}),
        (Resources("500m", "512Mi"), {"cpu": "500m", "memory": "512Mi"}),
        (Resources(gpu=2), {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"}),
    ],
)
def test_requests_are_limits(resources: Resources, expected: dict[str, str]) -> None:
    container = container_of(make_job(make_request(resources=resources)))
    assert container["resources"] == {"requests": expected, "limits": expected}


@pytest.mark.parametrize(
    "image", ["registry.example/runs:latest", "registry.example/runs", "python", "a@sha256:12"]
)
def test_only_a_digest_is_run(image: str) -> None:
    with pytest.raises(OptionRefused, match="sha256"):
        make_request(image=image)


def test_name_is_checked() -> None:
    with pytest.raises(NameRefused):
        make_request(name="Digits_1")


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "KFSPAWNER_RUN"])
def test_variables_are_refused_by_name_without_their_value(name: str) -> None:
    with pytest.raises(OptionRefused) as caught:
        make_request(env={name: "s3cret"})
    assert f"--env {name}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ((None, None, 0), Resources()),
        ((2, "4Gi", 1), Resources("2", "4Gi", 1)),
        ((0.5, "1.5Gi", "3"), Resources("0.5", "1.5Gi", 3)),
        (("250m", "1000000k", 0), Resources("250m", "1000000k")),
        (("1", 4 * 2**30, 0), Resources("1", "4294967296")),
    ],
)
def test_amounts_are_read(given_: tuple[object, object, object], expected: Resources) -> None:
    assert Resources.parse(*given_) == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[
            ("cpu", value)
            for value in ("", "two", "-1", "0", "1Gi", "1e3", "0m", "nan", "1 ", True)
        ],
        *[("memory", value) for value in ("", "much", "4", "0Gi", "-1Gi", "4 Gi", "4GB", "4gi")],
        *[("memory", value) for value in ("100m", "1e9", "4096")],
        *[("gpu", value) for value in (-1, 1.5, "one", "1.5", True, None, 10**6)],
    ],
)
def test_amounts_are_refused_with_what_came_and_what_would_do(option: str, value: object) -> None:
    with pytest.raises(OptionRefused) as caught:
        Resources.parse(**{option: value})
    message = str(caught.value)
    assert message.startswith(f"reading --{option} {str(value)[:40]!r}: ")
    assert "try --" in message or "give a number" in message
