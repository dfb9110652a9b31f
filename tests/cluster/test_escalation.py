"""What somebody tries in a notebook who wants more than their profile: all of it is refused.

Each attempt is one call of the Kubernetes API with the notebook's own token.
The administrator makes the same call, as a dry run, and it is accepted: so it
is a right that is missing, and not something else that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, Object, until
from tests.cluster.conftest import Profiles
from tests.cluster.notebook import CALL, Call, Notebook

HUB = "kfspawner"
HUB_ACCOUNT = f"system:serviceaccount:{HUB}:hub"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# The least that changes an object, and a deletion that takes the pods too.
ANNOTATION = {"metadata": {"annotations": {"taken": "over"}}}
BACKGROUND = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


@dataclass(frozen=True)
class Places:
    """Whose namespaces there are, and what is in the other one.

    Attributes
    ----------
    ours
        The notebook's own.
    pod
        The notebook's own pod.
    theirs
        Another profile's, with a pod called ``theirs`` and a secret called ``theirs``.
    node
        Where the pods are.
    """

    ours: str
    pod: str
    theirs: str
    node: str


@pytest.fixture(scope="module")
def notebook(person: Person) -> Iterator[Notebook]:
    """One notebook for the whole module."""
    with person.kernel() as kernel:
        yield Notebook(kernel)


@pytest.fixture(scope="module")
def places(person: Person, cluster: Cluster, profiles: Profiles) -> Places:
    """The notebook's own namespace, and another."""
    ours, theirs = namespace_name(person.name), profiles.new("test-escalation")
    secret = {"metadata": {"name": "theirs"}, "stringData": {"password": "guarded"}}
    cluster.core.create_namespaced_secret(theirs, secret)
    command = ["python3", "-c", "import threading; threading.Event().wait()"]
    cluster.run_pod(theirs, "theirs", cluster.images()["hub"], command)
    until(lambda: cluster.pod(theirs, "theirs")["status"]["phase"] == "Running", "their pod runs")
    server = cluster.server_pod(ours)
    return Places(ours, server["metadata"]["name"], theirs, server["spec"]["nodeName"])


def make_binding(role: str, namespace: str) -> Object:
    """Return a binding of the notebook's own account to `role`."""
    account = {"kind": "ServiceAccount", "name": "default-editor", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": "taken"}, "roleRef": reference, "subjects": [account]}


def make_pod(
    image: str,
    *command: str,
    container: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """Return a pod that passes Pod Security `restricted`, unless what is given does not."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    person = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    main = {
        "name": "main",
        "image": image,
        "command": list(command) or ["true"],
        # A quota may ask for them.
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {**confined, **(container or {})},
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {**person, **(context or {})},
        "containers": [main],
        **spec,
    }


def make_job(name: str, pod: Object) -> Object:
    """Return a Job of one pod."""
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def changes_of_rights(at: Places) -> dict[str, Call]:
    """Return calls that would give the notebook more rights."""
    bindings = f"{RBAC}/namespaces/{at.ours}/rolebindings"
    account = f"/api/v1/namespaces/{at.ours}/serviceaccounts/default-editor"
    beside = f"/api/v1/namespaces/{at.ours}/serviceaccounts/default-viewer"
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    secret = {
        "metadata": {
            "name": "taken",
            "annotations": {"kubernetes.io/service-account.name": "default-viewer"},
        },
        "type": "kubernetes.io/service-account-token",
    }
    pods = "/api/v1/pods"
    as_master = {"Impersonate-User": "taken", "Impersonate-Group": "system:masters"}
    return {
        "bind admin": Call("POST", bindings, make_binding("kubeflow-admin", at.ours)),
        "bind edit": Call("POST", bindings, make_binding("kubeflow-edit", at.ours)),
        "bind all": Call("POST", bindings, make_binding("cluster-admin", at.ours)),
        "bind all everywhere": Call(
            "POST", f"{RBAC}/clusterrolebindings", make_binding("cluster-admin", at.ours)
        ),
        "change its binding": Call("PATCH", f"{bindings}/default-editor", ANNOTATION),
        "change its role": Call("PATCH", f"{RBAC}/clusterroles/kubeflow-edit", ANNOTATION),
        "act as the hub": Call("GET", pods, headers={"Impersonate-User": HUB_ACCOUNT}),
        "act as a master": Call("GET", pods, headers=as_master),
        "ask for the hub's token": Call(
            "POST", f"/api/v1/namespaces/{HUB}/serviceaccounts/hub/token", token
        ),
        "ask for a token": Call("POST", f"{account}/token", token),
        "ask for another's token": Call("POST", f"{beside}/token", token),
        "have a token written": Call("POST", f"/api/v1/namespaces/{at.ours}/secrets", secret),
        "change its account": Call("PATCH", account, ANNOTATION),
    }


def changes_of_its_profile(at: Places, image: str) -> dict[str, Call]:
    """Return calls that would loosen what stands around the notebook."""
    ours = f"/api/v1/namespaces/{at.ours}"
    policies = f"/apis/networking.k8s.io/v1/namespaces/{at.ours}/networkpolicies"
    hole = {"metadata": {"name": "hole"}, "spec": {"podSelector": {}, "egress": [{}]}}
    lax = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    profile = f"/apis/kubeflow.org/v1/profiles/{at.ours}"
    pod = {"metadata": {"name": "taken"}, "spec": make_pod(image)}
    return {
        "annotate its namespace": Call("PATCH", ours, ANNOTATION),
        "loosen Pod Security": Call("PATCH", ours, lax),
        "make a namespace": Call("POST", "/api/v1/namespaces", {"metadata": {"name": "taken"}}),
        "change a wall": Call("PATCH", f"{policies}/default-deny", ANNOTATION),
        "remove a wall": Call("DELETE", f"{policies}/default-deny"),
        "make a hole": Call("POST", policies, hole),
        "change its quota": Call("PATCH", f"{ours}/resourcequotas/kf-resource-quota", ANNOTATION),
        "remove its quota": Call("DELETE", f"{ours}/resourcequotas/kf-resource-quota"),
        "change its Profile": Call("PATCH", profile, ANNOTATION),
        "make a pod": Call("POST", f"{ours}/pods", pod),
        "change its pod": Call("PATCH", f"{ours}/pods/{at.pod}", ANNOTATION),
        "list its secrets": Call("GET", f"{ours}/secrets"),
    }


def looks_elsewhere(at: Places, image: str) -> dict[str, Call]:
    """Return calls that would reach another profile, the hub, or the node."""
    theirs = f"/api/v1/namespaces/{at.theirs}"
    jobs = f"/apis/batch/v1/namespaces/{at.theirs}/jobs"
    hubs = f"/apis/batch/v1/namespaces/{HUB}/jobs"
    job = make_job("taken", make_pod(image))
    return {
        "read a secret": Call("GET", f"{theirs}/secrets/theirs"),
        "read the hub's secrets": Call("GET", f"/api/v1/namespaces/{HUB}/secrets"),
        "read a pod": Call("GET", f"{theirs}/pods/theirs"),
        "read a log": Call("GET", f"{theirs}/pods/theirs/log"),
        "make a Job": Call("POST", jobs, job),
        "make a Job beside the hub": Call("POST", hubs, job),
        "list Profiles": Call("GET", "/apis/kubeflow.org/v1/profiles"),
        "go through the kubelet": Call("GET", f"/api/v1/nodes/{at.node}/proxy/healthz"),
    }


def entries(at: Places) -> dict[str, Call]:
    """Return calls that would enter a pod; a GET that asks for no upgrade is no more than that."""
    theirs = f"/api/v1/namespaces/{at.theirs}/pods/theirs"
    ours = f"/api/v1/namespaces/{at.ours}/pods/{at.pod}"
    run = "exec?command=id&stdout=true"
    return {
        "execute elsewhere": Call("GET", f"{theirs}/{run}"),
        "attach elsewhere": Call("GET", f"{theirs}/attach?stdout=true"),
        "forward a port elsewhere": Call("GET", f"{theirs}/portforward?ports=80"),
        "execute at home": Call("GET", f"{ours}/{run}"),
    }


def check(notebook: Notebook, cluster: Cluster, calls: Mapping[str, Call], *accepted: int) -> None:
    """Check that the notebook is forbidden all of `calls`, and the administrator none."""
    answers = notebook.call(*calls.values())
    refused = {
        name: f"{status} {message}"
        for name, (status, message) in zip(calls, answers, strict=True)
        if status != 403 or "cannot" not in message
    }
    assert refused == {}
    for name, call in calls.items():
        path = call.path if call.method == "GET" else f"{call.path}?dryRun=All"
        status = cluster.status_of(path, call.method, call.body, call.headers)
        assert status in accepted, name


def test_it_gets_no_rights(notebook: Notebook, places: Places, cluster: Cluster) -> None:
    check(notebook, cluster, changes_of_rights(places), 200, 201)


def test_it_does_not_loosen_its_profile(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    calls = changes_of_its_profile(places, cluster.images()["hub"])
    check(notebook, cluster, calls, 200, 201)


def test_it_sees_and_makes_nothing_elsewhere(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    check(notebook, cluster, looks_elsewhere(places, cluster.images()["hub"]), 200, 201)


def test_it_enters_no_pod(notebook: Notebook, places: Places, cluster: Cluster) -> None:
    # 400: all that is wrong with the administrator's is that it is no websocket.
    check(notebook, cluster, entries(places), 400)


DANGEROUS: dict[str, dict[str, Any]] = {
    "host-mount": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    "privileged": {"container": {"privileged": True, "allowPrivilegeEscalation": True}},
    "root": {"context": {"runAsUser": 0, "runAsNonRoot": False}},
    "escalating": {"container": {"allowPrivilegeEscalation": True}},
    "capable": {"container": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}},
    "host-network": {"hostNetwork": True},
    "host-processes": {"hostPID": True},
    "unconfined": {"context": {"seccompProfile": {"type": "Unconfined"}}},
}


def why_no_pod(cluster: Cluster, namespace: str, job: str) -> str:
    """Return what the cluster says of a Job whose pod it refuses."""
    about = f"involvedObject.name={job},reason=FailedCreate"
    events = cluster.core.list_namespaced_event(namespace, field_selector=about).items
    return str(events[0].message) if events else ""


def test_no_job_runs_a_pod_that_is_not_restricted(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    image = cluster.images()["hub"]
    jobs = f"/apis/batch/v1/namespaces/{places.ours}/jobs"
    pods = {"harmless": make_pod(image)}
    pods |= {name: make_pod(image, **spec) for name, spec in DANGEROUS.items()}
    # Jobs are what a notebook makes, whatever is in them.
    made = notebook.call(*(Call("POST", jobs, make_job(*pod)) for pod in pods.items()))
    assert [status for status, _ in made] == [201] * len(pods)
    selector = "batch.kubernetes.io/job-name={}".format
    for name in DANGEROUS:
        why = until(partial(why_no_pod, cluster, places.ours, name), f"{name} has no pod")
        assert "violates PodSecurity" in why, name
        assert not cluster.pods(places.ours, selector(name))
        # The control: where Pod Security enforces nothing, it is a pod like any other.
        body = {"metadata": {"name": name}, "spec": pods[name]}
        path = "/api/v1/namespaces/default/pods?dryRun=All"
        assert cluster.status_of(path, "POST", body) == 201, name
    assert cluster.pods(places.ours, selector("harmless"))
    notebook.call(*(Call("DELETE", f"{jobs}/{name}", BACKGROUND) for name in pods))


def test_a_job_has_no_account_of_another_namespace(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    image = cluster.images()["hub"]
    jobs = f"/apis/batch/v1/namespaces/{places.ours}/jobs"
    beside = make_job("beside", make_pod(image, serviceAccountName="hub"))
    across = make_job("across", make_pod(image, serviceAccountName=f"{HUB}/hub"))
    answers = notebook.call(Call("POST", jobs, beside), Call("POST", jobs, across))
    # An account is looked for beside the pod, and there is no way to name another.
    assert [status for status, _ in answers] == [201, 422]
    assert "serviceAccountName" in answers[1][1]
    why = until(partial(why_no_pod, cluster, places.ours, "beside"), "it has no pod")
    assert 'serviceaccount "hub" not found' in why
    notebook.call(Call("DELETE", f"{jobs}/beside", BACKGROUND))
    # The control: elsewhere, there is one of that name.
    assert cluster.status_of(f"/api/v1/namespaces/{HUB}/serviceaccounts/hub") == 200


def test_the_other_account_of_the_profile_may_less(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    jobs = f"/apis/batch/v1/namespaces/{places.ours}/jobs"
    code = f"{CALL}\nprint(call('GET', {jobs!r})[0], call('POST', {jobs!r}, {{}})[0])"
    pod = make_pod(cluster.images()["hub"], "python3", "-c", code)
    pod |= {"serviceAccountName": "default-viewer", "automountServiceAccountToken": True}
    ((status, _),) = notebook.call(Call("POST", jobs, make_job("viewing", pod)))
    assert status == 201

    def log() -> str:
        (pod,) = cluster.pods(places.ours, "batch.kubernetes.io/job-name=viewing") or ({},)
        return cluster.log(places.ours, pod["metadata"]["name"]) if pod else ""

    assert until(log, "the viewing account has asked") == "200 403\n"
    notebook.call(Call("DELETE", f"{jobs}/viewing", BACKGROUND))


def test_the_one_token_in_a_notebook_is_its_own(
    notebook: Notebook, places: Places, cluster: Cluster
) -> None:
    whose = notebook.say(
        "import base64\n"
        "claims = open(f'{mounted}/token').read().split('.')[1]\n"
        "print(json.loads(base64.urlsafe_b64decode(claims + '=='))['sub'])"
    )
    assert whose == f"system:serviceaccount:{places.ours}:default-editor\n"
    volumes = cluster.pod(places.ours, places.pod)["spec"]["volumes"]
    sources = [source for it in volumes for source in it.get("projected", {}).get("sources", [])]
    # That of the account, and no other; nor is any secret mounted.
    assert len([source for source in sources if "serviceAccountToken" in source]) == 1
    assert not [it for it in (*volumes, *sources) if "secret" in it]
