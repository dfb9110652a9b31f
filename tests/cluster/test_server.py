"""A person's server: what starts, what it may do, and what outlives it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.person import Event, Person, Refused
from kfspawner.names import home_claim_name, namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub


def test_jupyterlab_answers_through_the_proxy(person: Person) -> None:
    assert "JupyterLab" in person.enter()
    assert person.server("GET", "api/status").json()["kernels"] == 0


def test_another_person_is_not_let_in(person: Person, people: People) -> None:
    with pytest.raises(Refused) as refused:
        people.new().send("GET", f"{person.server_path}api/contents", "reading another's files")
    assert refused.value.status == 403


def test_nobody_is_not_let_in(person: Person, hub: Hub) -> None:
    with Person(hub.url, person.name) as nobody, pytest.raises(Refused) as refused:
        nobody.send("GET", f"{person.server_path}api/contents", "reading another's files")
    assert refused.value.status == 403


def test_the_pod_is_restricted_and_labelled(person: Person, cluster: Cluster) -> None:
    pod = cluster.server_pod(namespace_name(person.name))
    spec = pod["spec"]
    (container,) = spec["containers"]
    labels = pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "kfspawner"
    assert labels["kfspawner.io/user"] == person.name
    assert spec["serviceAccountName"] == "default-editor"
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    context = {**spec["securityContext"], **container["securityContext"]}
    assert (context["runAsUser"], context["runAsGroup"]) == (1000, 100)
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "@sha256:" in container["image"]
    assert container["image"] == cluster.images()["cpu"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    claims = [it.get("persistentVolumeClaim", {}).get("claimName") for it in spec["volumes"]]
    assert home_claim_name(person.name) in claims


def test_the_namespace_is_labelled(person: Person, cluster: Cluster) -> None:
    name = namespace_name(person.name)
    metadata = cluster.core.read_namespace(name).metadata
    assert metadata.labels["app.kubernetes.io/managed-by"] == "kfspawner"
    assert metadata.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert metadata.labels["kfspawner.io/profile"] == name
    assert metadata.labels["kfspawner.io/owner"] == person.name
    assert metadata.annotations["owner"] == person.name
    assert metadata.annotations["kfspawner.io/profile-uid"] == uid_of(cluster, name)


def uid_of(cluster: Cluster, profile: str) -> str:
    return str(cluster.ready_profile(profile)["metadata"]["uid"])


def test_the_namespace_refuses_a_privileged_pod(person: Person, cluster: Cluster) -> None:
    container = {"name": "main", "image": "x", "securityContext": {"privileged": True}}
    pod = {"metadata": {"generateName": "bad-"}, "spec": {"containers": [container]}}
    with pytest.raises(Exception, match="violates PodSecurity"):
        cluster.core.create_namespaced_pod(namespace_name(person.name), pod)


def test_code_runs_as_uid_1000_with_the_context(person: Person) -> None:
    code = (
        "import os\n"
        "from kfspawner.context import ServerContext\n"
        "context = ServerContext.from_env()\n"
        "print(os.getuid(), os.getgid(), context.user, context.namespace, context.home_claim)"
    )
    with person.kernel() as kernel:
        said = kernel.execute(code).text.split()
    namespace, claim = namespace_name(person.name), home_claim_name(person.name)
    assert said == ["1000", "100", person.name, namespace, claim]


def test_a_server_that_runs_is_not_started_twice(person: Person) -> None:
    with pytest.raises(Refused, match="already running") as refused:
        person.start({"image_profile": "cpu"})
    assert refused.value.status == 400


def test_files_outlive_the_server(person: Person, cluster: Cluster) -> None:
    namespace = namespace_name(person.name)
    person.write("kept.txt", "still here\n")
    claim = cluster.core.read_namespaced_persistent_volume_claim(
        home_claim_name(person.name), namespace
    )
    person.stop()
    assert not person.running()
    until(lambda: not cluster.pods(namespace), "the server's pod is gone")
    assert not cluster.core.list_namespaced_service(namespace).items

    person.spawn({"image_profile": "cpu"})
    again = cluster.core.read_namespaced_persistent_volume_claim(
        home_claim_name(person.name), namespace
    )
    assert again.metadata.uid == claim.metadata.uid
    assert person.read("kept.txt") == "still here\n"


def test_a_running_server_survives_a_restart_of_the_hub(
    person: Person, cluster: Cluster, hub: Hub
) -> None:
    namespace = namespace_name(person.name)
    server = cluster.server_pod(namespace)["metadata"]["uid"]
    person.write("written.txt", "before\n")
    with person.kernel() as kernel:
        assert not kernel.execute("kept = 41").error
        hub.restart()
        # The proxy goes on without the hub, and so does what is connected.
        assert kernel.execute("print(kept + 1)").text == "42\n"
        hub.wait(90)
        assert person.running()
        assert person.read("written.txt") == "before\n"
    assert cluster.server_pod(namespace)["metadata"]["uid"] == server


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_profile": "tpu"}, "image_profile='tpu': no such image profile is offered"),
        ({"image_profile": "cpu", "gpu": 1}, "image profile 'cpu' has no GPU"),
        ({"image_profile": "cpu", "cpu": 1000}, "cpu=1000: image profile 'cpu' offers 0.5 to"),
        ({"image_profile": "cpu", "memory": "9T"}, "memory='9T': image profile 'cpu' offers"),
        ({"image_profile": "gpu", "gpu": 2}, "gpu=2: image profile 'gpu' offers 1 GPU"),
        ({"image": "evil.example/miner"}, "with image: there is no such option"),
    ],
    ids=["unknown", "gpu on cpu", "cpu above", "memory above", "gpu above", "not an option"],
)
def test_the_api_refuses_what_is_not_offered(
    options: dict[str, Any], message: str, people: People, cluster: Cluster
) -> None:
    person = people.new()
    with pytest.raises(Refused) as refused:
        person.start(options)
    assert refused.value.status == 400
    assert message in refused.value.message
    assert "Traceback" not in refused.value.message
    assert not person.running()
    assert not cluster.pods(namespace_name(person.name))


def test_the_form_shows_what_it_refuses(people: People) -> None:
    person = people.new()
    with pytest.raises(Refused) as refused:
        person.send_form({"image_profile": "cpu", "cpu.cpu": "1000"})
    assert refused.value.status == 400
    assert "image profile 'cpu' offers" in refused.value.message
    assert not person.running()


def test_a_name_that_kubernetes_refuses_gets_a_namespace_of_its_own(
    hub: Hub, cluster: Cluster
) -> None:
    name = "ann.o'hara@example.org"
    try:
        with Person(hub.url, name) as person:
            person.sign_in(hub.password)
            events: list[Event] = []
            person.spawn({"image_profile": "cpu"}, events.append)
            assert events[-1].ready
            namespace = cluster.core.read_namespace(namespace_name(name))
            assert namespace.metadata.annotations["owner"] == name
            with person.kernel() as kernel:
                said = kernel.execute("import os; print(os.environ['KFSPAWNER_USER'])").text
            assert said == f"{name}\n"
    finally:
        hub.forget(name)
