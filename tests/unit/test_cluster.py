"""The Kubernetes seam: the official client against an API on the loopback address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from kfspawner.cluster import Cluster
from kfspawner.errors import (
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
    ObjectMissing,
)
from kfspawner.training.kinds import Resources, RunRequest, make_job
from tests.unit.test_kinds import CONTEXT, IMAGE

TOKEN = "a-secret-token"
JOB = make_job(
    RunRequest(
        "digits",
        IMAGE,
        ("echo", "$(HOME)"),
        replace(CONTEXT, ca_config_map="kfspawner-ca"),
        Resources(gpu=1),
        {"EMPTY": ""},
    )
)


@dataclass
class Api:
    """Gives each request the same answer, and remembers what was asked."""

    status: int = 200
    body: Any = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def refuse(self, status: int, message: str) -> None:
        """Answer as the API does where it refuses."""
        self.status = status
        self.body = {"kind": "Status", "status": "Failure", "message": message, "code": status}


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.asked.append(
                {
                    "method": self.command,
                    "path": parts.path,
                    "query": {name: each[0] for name, each in parse_qs(parts.query).items()},
                    "body": json.loads(sent) if sent else None,
                    "type": self.headers.get("Content-Type"),
                    "authorization": self.headers.get("Authorization"),
                }
            )
            body = made.body if isinstance(made.body, bytes) else json.dumps(made.body).encode()
            self.send_response(made.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def write_kubeconfig(path: Path, url: str) -> Path:
    names = {"cluster": "here", "user": "me"}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": {"server": url}}],
                "users": [{"name": "me", "user": {"token": TOKEN}}],
                "contexts": [{"name": "it", "context": names}],
                "current-context": "it",
            }
        )
    )
    return path


@pytest.fixture
def cluster(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", api.url)))
    return Cluster.in_namespace("kf-alice")


def test_kubeconfig_signs_in(cluster: Cluster, api: Api) -> None:
    api.body = JOB
    assert cluster.get_job("digits") == JOB
    api.body = b""
    list(cluster.stream_log("digits-x", follow=False))
    assert {asked["authorization"] for asked in api.asked} == {f"Bearer {TOKEN}"}


def test_without_any_configuration(tmp_path: Path) -> None:
    """In a process of its own: the client reads where to look when it is imported."""
    code = "from kfspawner.cluster import Cluster\nCluster.in_namespace('kf-alice')"
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert "ClusterUnreachable: connecting to Kubernetes: there is no" in done.stderr
    assert "set KUBECONFIG" in done.stderr


JOBS = "/apis/batch/v1/namespaces/kf-alice/jobs"
PODS = "/api/v1/namespaces/kf-alice/pods"
Call = Callable[[Cluster], Any]


@pytest.mark.parametrize(
    ("call", "method", "path", "query"),
    [
        (lambda c: c.create_job(JOB), "POST", JOBS, {"fieldValidation": "Strict"}),
        (
            lambda c: c.create_job(JOB, dry_run=True),
            "POST",
            JOBS,
            {"fieldValidation": "Strict", "dryRun": "All"},
        ),
        (lambda c: c.get_job("digits"), "GET", f"{JOBS}/digits", {}),
        (lambda c: c.patch_job("digits", {"spec": {}}), "PATCH", f"{JOBS}/digits", {}),
        (
            lambda c: c.delete_job("digits"),
            "DELETE",
            f"{JOBS}/digits",
            {"propagationPolicy": "Background"},
        ),
        (lambda c: c.list_jobs("a=b,c"), "GET", JOBS, {"labelSelector": "a=b,c"}),
        (lambda c: c.list_pods("a=b"), "GET", PODS, {"labelSelector": "a=b"}),
        (lambda c: c.get_pod("digits-x"), "GET", f"{PODS}/digits-x", {}),
        (
            lambda c: c.list_events("Job", "digits"),
            "GET",
            "/api/v1/namespaces/kf-alice/events",
            {"fieldSelector": "involvedObject.kind=Job,involvedObject.name=digits"},
        ),
        (
            lambda c: list(
                c.stream_log("digits-x", follow=True, since_time="2024-05-04T12:00:00Z")
            ),
            "GET",
            f"{PODS}/digits-x/log",
            {"timestamps": "true", "follow": "true", "sinceTime": "2024-05-04T12:00:00Z"},
        ),
    ],
)
def test_what_is_asked(
    cluster: Cluster, api: Api, call: Call, method: str, path: str, query: dict[str, str]
) -> None:
    api.body = {"items": []}
    call(cluster)
    (asked,) = api.asked
    assert (asked["method"], asked["path"], asked["query"]) == (method, path, query)


def test_manifests_go_in_and_objects_come_out_as_they_are(cluster: Cluster, api: Api) -> None:
    api.body = JOB | {"status": {"unheardOf": {"a-key": [1, None]}}}
    assert cluster.create_job(JOB) == api.body
    assert api.asked[0]["body"] == JOB
    patch = {"metadata": {"annotations": {"kfspawner.io/stopped": "true"}}}
    cluster.patch_job("digits", patch)
    assert api.asked[1]["body"] == patch
    assert "merge-patch" in api.asked[1]["type"]


def test_log_lines_come_with_their_times(cluster: Cluster, api: Api) -> None:
    api.body = "2024-05-04T12:00:00.1Z a\n2024-05-04T12:00:00.2Z \n2024-05-04T12:00:01Z é".encode()
    assert list(cluster.stream_log("digits-x", follow=False)) == [
        "2024-05-04T12:00:00.1Z a",
        "2024-05-04T12:00:00.2Z ",
        "2024-05-04T12:00:01Z é",
    ]


QUOTA = (
    'jobs.batch "digits" is forbidden: exceeded quota: team, requested: count/jobs.batch=1,'
    "requests.memory=2Gi, used: count/jobs.batch=5,requests.memory=7Gi, "
    "limited: count/jobs.batch=5,requests.memory=8Gi"
)
RIGHTS = (
    'jobs.batch "digits" is forbidden: User "system:serviceaccount:kf-alice:notebook" cannot '
    'get resource "jobs" in API group "batch" in the namespace "kf-alice"'
)


@pytest.mark.parametrize(
    ("status", "message", "kind", "says"),
    [
        (401, "Unauthorized", ClusterDenied, "does not know this account"),
        (403, RIGHTS, ClusterDenied, "this account may not get jobs; ask"),
        (403, QUOTA, ClusterDenied, "too little memory: 2Gi asked for, 7Gi of 8Gi in use; 1Gi"),
        (403, QUOTA, ClusterDenied, "the quota team leaves too little count/jobs.batch: 1 asked"),
        (403, "admission webhook says no", ClusterDenied, "admission webhook says no; ask"),
        (404, 'jobs.batch "digits" not found', ObjectMissing, "none of that name; %kf ls"),
        (409, 'jobs.batch "digits" already exists', ObjectExists, "choose another --name"),
        (409, "the object has been modified", ClusterError, "it changed meanwhile"),
        (422, 'Job "digits" is invalid: spec', ClusterError, "is invalid: spec; correct"),
        (429, "too many requests", ClusterUnreachable, "cannot answer now"),
        (500, "etcdserver: no leader", ClusterUnreachable, "status 500: etcdserver: no leader"),
        (503, "shutting down", ClusterUnreachable, "try again"),
    ],
)
def test_refusals_say_what_to_do(
    cluster: Cluster, api: Api, status: int, message: str, kind: type[ClusterError], says: str
) -> None:
    api.refuse(status, message)
    for call in (cluster.get_job, lambda name: list(cluster.stream_log(name, follow=True))):
        with pytest.raises(ClusterError) as caught:
            call("digits")
        assert type(caught.value) is kind
        assert says in str(caught.value)
        assert "digits: " in str(caught.value)
        assert "\n" not in str(caught.value)
        assert TOKEN not in str(caught.value)
        assert caught.value.__cause__ is not None


def test_what_is_no_api(cluster: Cluster, api: Api) -> None:
    api.body = b"<html>Sign in to the network</html>"
    with pytest.raises(ClusterUnreachable, match="not the Kubernetes API"):
        cluster.get_job("digits")
    api.status = 502
    with pytest.raises(ClusterUnreachable, match="status 502"):
        cluster.get_job("digits")


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    monkeypatch.setenv("KUBECONFIG", str(path))
    cluster = Cluster.in_namespace("kf-alice")
    for call in (
        lambda: cluster.get_job("digits"),
        lambda: cluster.create_job(JOB),
        lambda: list(cluster.stream_log("digits-x", follow=True)),
    ):
        with pytest.raises(ClusterUnreachable, match="does not answer") as caught:
            call()
        assert "0x" not in str(caught.value)
