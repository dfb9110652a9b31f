"""In which profile a server starts: who may choose it, and what follows from it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from kfspawner.errors import ClusterDenied, ClusterError, ClusterUnreachable, OptionRefused
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role
from kfspawner.servers import choosing
from kfspawner.servers.refused import StartRefused
from tests.fakes.hub import FakeHub, load, pod_of
from tests.fakes.nodes import make_node, make_taken


async def test_the_persons_own_profile_is_made_and_chosen(hub: FakeHub) -> None:
    spawner = hub.make_spawner("bob", personal_profile={"quota": {"pods": "5"}})

    pod = await pod_of(spawner)

    assert spawner.namespace == "kf-bob"
    made = hub.api.objects["Profile", "", "kf-bob"]
    assert made["spec"]["owner"] == {"kind": "User", "name": "bob"}
    assert made["spec"]["resourceQuotaSpec"] == {"hard": {"pods": "5"}}
    assert pod["metadata"]["name"] == "server-bob"


async def test_a_shared_profile_is_where_all_of_it_goes(hub: FakeHub) -> None:
    hub.share("vision")
    hub.api.put(make_member_binding("vision", "bob", Role.EDIT))
    spawner = hub.make_spawner("bob", "second")

    pod = await pod_of(spawner, profile="vision")
    environ = {it["name"]: it.get("value") for it in pod["spec"]["containers"][0]["env"]}
    claim = spawner.get_pvc_manifest()

    assert spawner.namespace == "vision"
    assert spawner.dns_name == f"{spawner.pod_name}.vision.svc.cluster.local"
    assert environ["KFSPAWNER_NAMESPACE"] == "vision"
    assert environ["KFSPAWNER_REPOSITORY"] == "registry.example/vision/runs"
    assert (claim["metadata"]["namespace"], claim["metadata"]["name"]) == ("vision", "home-bob")
    assert pod["metadata"]["labels"]["kfspawner.io/user"] == "bob"


async def test_a_restarted_hub_finds_the_server(hub: FakeHub) -> None:
    hub.share("vision")
    before = hub.make_spawner()
    await load(before, profile="vision")
    state = json.loads(json.dumps(before.get_state()))

    after = hub.make_spawner()
    after.load_state(state)
    hub.run(before)

    assert (after.namespace, after.pod_name, after.dns_name) == (
        "vision",
        before.pod_name,
        before.dns_name,
    )
    assert await after.poll() is None


async def test_a_server_of_before_profiles_is_found(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    spawner.load_state(
        {"kubespawner_version": "7.1.0", "namespace": "kf-alice", "pod_name": "jupyter-alice"}
    )
    hub.run(spawner)

    assert spawner.pod_name == "jupyter-alice"
    assert await spawner.poll() is None


async def test_the_next_start_may_be_elsewhere(hub: FakeHub) -> None:
    hub.share("vision")
    spawner = hub.make_spawner()

    for profile in ("vision", "kf-alice", "vision"):
        await load(spawner, profile=profile)
        assert spawner.namespace == profile
        assert spawner.dns_name == f"server-alice.{profile}.svc.cluster.local"


async def test_one_person_runs_in_two_profiles_at_once(hub: FakeHub) -> None:
    hub.share("vision")
    own, shared = hub.make_spawner(), hub.make_spawner("alice", "second")

    await load(own)
    await load(shared, profile="vision")

    assert (own.namespace, shared.namespace) == ("kf-alice", "vision")
    assert own.pod_name != shared.pod_name


@pytest.mark.parametrize(
    ("role", "said"),
    [
        (None, "there is none of that name that you may start servers in; choose one of kf-bob"),
        (Role.VIEW, "your role there is view: you may look, and start no server; choose one of"),
    ],
)
async def test_others_are_refused(hub: FakeHub, role: Role | None, said: str) -> None:
    hub.share("vision")
    if role:
        hub.api.put(make_member_binding("vision", "bob", role))

    with pytest.raises(OptionRefused, match=f"profile='vision': {said}"):
        await load(hub.make_spawner("bob"), profile="vision")


async def test_nobody_learns_which_profiles_there_are(hub: FakeHub) -> None:
    hub.share("vision")
    said = []
    for name in ("vision", "nowhere"):
        with pytest.raises(OptionRefused) as refused:
            await load(hub.make_spawner("bob"), profile=name)
        said.append(str(refused.value).replace(name, "it"))

    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["", "../kf-alice", "VISION", 7, ["vision"], {"a": 1}])
async def test_what_is_no_profile_is_refused(hub: FakeHub, name: object) -> None:
    hub.share("vision")

    with pytest.raises(OptionRefused, match="profile="):
        await load(hub.make_spawner(), profile=name)


async def test_a_group_is_enough(hub: FakeHub) -> None:
    hub.share("vision", groups={"team": "edit"})
    hub.groups = {"bob": ["team"]}
    spawner = hub.make_spawner("bob")

    await load(spawner, profile="vision")
    spawner.user.groups.clear()

    assert spawner.namespace == "vision"
    with pytest.raises(OptionRefused):
        await load(spawner, profile="vision")


async def test_a_profile_offers_what_it_says(hub: FakeHub) -> None:
    hub.share("vision", image_profiles=["gpu"])
    spawner = hub.make_spawner()

    await load(spawner, profile="vision")
    assert spawner.image == "registry.example/gpu@sha256:2"
    with pytest.raises(OptionRefused, match="no such image profile is offered in profile vision"):
        await load(spawner, profile="vision", image_profile="cpu")
    await load(spawner, image_profile="cpu")


async def test_a_profile_that_offers_nothing_says_so(hub: FakeHub) -> None:
    hub.share("vision", image_profiles=["gone"])

    with pytest.raises(OptionRefused, match="no image profile is offered there"):
        await load(hub.make_spawner(), profile="vision")


async def test_a_profile_that_will_not_be_ready_is_not_started_in(hub: FakeHub) -> None:
    hub.share("vision")
    hub.break_profile("vision", "NamespaceTaken", "namespace vision is not ours")
    spawner = hub.make_spawner()
    await load(spawner, profile="vision")

    with pytest.raises(ClusterError, match="NamespaceTaken: namespace vision is not ours"):
        await spawner._ensure_namespace()


async def test_a_personal_profile_of_somebody_else_is_refused(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfspawner.names.slug", lambda *_: "same---0123456789abcdef")
    hub.share("vision", members={"Mallory": "edit"})
    await load(hub.make_spawner("Eve"))
    theirs = hub.api.objects["Profile", "", "kf-same---0123456789abcdef"]
    mallory = hub.make_spawner("Mallory")

    with pytest.raises(ClusterDenied, match="belongs to somebody else"):
        await load(mallory)
    assert hub.api.objects["Profile", "", "kf-same---0123456789abcdef"] == theirs
    # That is no reason to keep them out of others.
    await load(mallory, profile="vision")
    assert mallory.namespace == "vision"


@pytest.mark.parametrize("options", [{}, {"profile": "vision"}])
async def test_names_of_kubernetes_start_nothing(hub: FakeHub, options: dict[str, str]) -> None:
    hub.share("vision", groups={"team": "edit"})
    hub.groups = {"system:admin": ["team"]}
    spawner = hub.make_spawner("system:admin")
    spawner.user_options = options

    with pytest.raises(StartRefused, match="are Kubernetes' own") as refused:
        await spawner.start()

    assert refused.value.status_code == 400
    assert [key for _, key in hub.api.writes()] == []


async def test_an_api_that_does_not_answer_is_named(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_PATIENCE", 0.05)
    outage = ClusterUnreachable("listing profiles", "the API did not answer", "try again")
    hub.api.refusals["list"] = [outage] * 1000

    with pytest.raises(StartRefused, match="listing profiles: the API did not answer") as refused:
        await hub.make_spawner().start()

    assert refused.value.status_code == 503


async def test_while_the_api_does_not_answer_the_page_is_shown(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_PAGE_PATIENCE", 0.05)
    outage = ClusterUnreachable("listing profiles", "the API did not answer", "try again")
    hub.api.refusals["list"] = [outage] * 1000

    page = await hub.make_spawner().get_options_form()

    assert "the API did not answer" in page
    assert 'id="kf-cpu"' in page


async def test_the_page_shows_the_profiles_of_this_person(hub: FakeHub) -> None:
    hub.share("vision", members={"bob": "edit"})
    hub.share("secret")

    page = await hub.make_spawner("bob").get_options_form()

    assert 'value="kf-bob"' in page
    assert 'value="vision"' in page
    assert "secret" not in page


async def test_the_form_is_read_for_the_profile_it_names(hub: FakeHub) -> None:
    hub.share("vision", image_profiles=["gpu"])
    spawner = hub.make_spawner()

    stored = await spawner.run_options_from_form({"profile": ["vision"], "gpu.cpu": ["3"]})

    assert (stored["profile"], stored["image_profile"], stored["cpu"]) == ("vision", "gpu", 3.0)
    with pytest.raises(StartRefused, match="may start servers in"):
        await spawner.run_options_from_form({"profile": ["secret"]})


async def test_what_a_named_server_was_refused_is_proposed_again(hub: FakeHub) -> None:
    hub.share("vision")
    named, default = hub.make_spawner("alice", "second"), hub.make_spawner()
    with pytest.raises(StartRefused, match="cpu=99"):
        await named.run_options_from_form({"profile": ["vision"], "cpu.cpu": ["99"]})

    # JupyterHub asks the default server's spawner.
    page = await default.get_options_form()
    assert 'value="99"' in page
    assert 'value="99"' not in await default.get_options_form()


async def test_what_the_cluster_refused_is_proposed_again(hub: FakeHub) -> None:
    hub.share("vision")
    named, default = hub.make_spawner("alice", "second"), hub.make_spawner()
    await hub.directory.ready()
    hub.break_profile("vision", "NamespaceTaken", "namespace vision is not ours")
    named.user_options = {"profile": "vision", "image_profile": "gpu", "cpu": 3, "memory": "7G"}

    with pytest.raises(StartRefused, match="NamespaceTaken"):
        await named.start()

    assert 'value="7"' in await default.get_options_form()
    assert 'value="7"' not in await default.get_options_form()


async def test_the_page_says_what_is_free(hub: FakeHub) -> None:
    hub.api.put(make_node(gpus=2, labels={"pool": "gpu"}))
    hub.api.put({"kind": "Namespace", "metadata": {"name": "vision"}})
    hub.api.put(make_taken(gpus="1"))

    page = await hub.make_spawner().get_options_form()

    assert "1 of 2 GPUs free now" in page


async def test_a_page_that_is_open_asks_with_what_is_filled_in(hub: FakeHub) -> None:
    hub.api.put(make_node(gpus=2, labels={"pool": "gpu"}))
    spawner = hub.make_spawner()
    refused = {"profile": ["kf-alice"], "cpu.cpu": ["99"]}
    with pytest.raises(StartRefused):
        await spawner.run_options_from_form(refused)
    draft = "profile=kf-alice&image_profile=gpu&gpu.memory=16&gpu.gpu=2&gpu.cpu=8"
    spawner.handler = SimpleNamespace(request=SimpleNamespace(headers={"Kf-Draft": draft}))

    page = await spawner.get_options_form()
    assert "the largest node for it has 4 cores" in page
    assert 'value="99"' not in page

    # What was refused is still to be shown: that handler has had its answer.
    assert 'value="99"' in await spawner.get_options_form()


@pytest.mark.parametrize("draft", ["x" * 5000, "a=1&" * 101, "%zz=%ff&==&", "cpu.cpu=<script>"])
async def test_what_claims_to_be_filled_in_is_text(hub: FakeHub, draft: str) -> None:
    spawner = hub.make_spawner()
    spawner.handler = SimpleNamespace(request=SimpleNamespace(headers={"Kf-Draft": draft}))

    page = await spawner.get_options_form()

    assert "<script>" not in page.replace("\n<script>\n", "")
    assert 'id="kf-cpu"' in page
