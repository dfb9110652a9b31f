"""A server of KubeSpawner's `profile_list`: what it becomes, and what stays for the next one."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.errors import OptionRefused
from kfspawner.servers.refused import StartRefused
from tests.fakes.hub import FakeHub, load, pod_of
from tests.unit.test_stock import BOMB, PROFILE_LIST

TYPED = "image--unlisted-choice"


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("way", ["list", "dict", "callable", "async"])
async def test_every_way_to_declare_it_works(hub: FakeHub, way: str) -> None:
    async def later(_: object) -> list[dict[str, Any]]:
        return PROFILE_LIST

    declared: dict[str, Any] = {
        "list": PROFILE_LIST,
        "dict": {str(number): it for number, it in enumerate(PROFILE_LIST)},
        "callable": lambda _: PROFILE_LIST,
        "async": later,
    }
    spawner = hub.make_spawner(profile_list=declared[way])

    pod = await pod_of(spawner, profile="demo-1", image="base")

    assert container(pod)["image"] == "quay.io/jupyter/base:1"
    assert spawner.namespace == "kf-alice"
    assert spawner.default_url == "/lab"
    environ = {it["name"]: it.get("value") for it in container(pod)["env"]}
    assert (environ["A"], environ["KFSPAWNER_IMAGE"]) == ("1", "quay.io/jupyter/base:1")
    assert "home" in {it["name"] for it in pod["spec"]["volumes"]}


async def test_it_starts_in_a_shared_profile(hub: FakeHub) -> None:
    hub.share("vision", image_profiles=["demo-1"])
    spawner = hub.make_spawner(profile_list=PROFILE_LIST)

    await load(spawner, profile="vision", image_profile="demo-1")

    assert spawner.namespace == "vision"
    with pytest.raises(OptionRefused, match="choose one of demo-1"):
        await load(spawner, profile="vision", image_profile="demo-two")


async def test_nothing_stays_for_the_next_spawn(hub: FakeHub) -> None:
    spawner = hub.make_spawner(profile_list=PROFILE_LIST, environment={"B": "2"})
    fresh = hub.make_spawner(profile_list=PROFILE_LIST, environment={"B": "2"})
    expected = {}
    for options in ({"profile": "demo-1"}, {"image_profile": "gpu"}, {}):
        expected[str(options)] = await pod_of(
            hub.make_spawner(profile_list=PROFILE_LIST, environment={"B": "2"}), **options
        )
    await load(spawner, profile="demo-two", size="large", **{"tag--unlisted-choice": "2"})
    assert spawner.cpu_limit == 4

    for options in ({"image_profile": "gpu"}, {"profile": "demo-1"}, {}, {"profile": "demo-1"}):
        assert await pod_of(spawner, **options) == expected[str(options)]

    spawner.clear_state()
    assert (spawner.environment, spawner.default_url) == ({"B": "2"}, fresh.default_url)
    assert (spawner.image, spawner.cpu_limit) == (fresh.image, fresh.cpu_limit)
    # What is configured is everybody's.
    assert "A" not in hub.make_spawner(environment={"B": "2"}).environment


@pytest.mark.parametrize(
    "image", [BOMB, f"quay.io/x:{BOMB}", "quay.io/x:1\n", "quay.io/../x:1", "docker.io/x:1"]
)
async def test_free_form_images_are_refused_before_anything_is_made(
    hub: FakeHub, image: str
) -> None:
    spawner = hub.make_spawner(profile_list=PROFILE_LIST)
    spawner.user_options = {"profile": "demo-1", TYPED: image}

    with pytest.raises(StartRefused) as refused:
        await spawner.start()

    assert refused.value.status_code == 400
    assert not [key for _, key in hub.api.writes() if key[0] == "Pod"]
    with pytest.raises(StartRefused) as by_form:
        await spawner.run_options_from_form(
            {
                "profile": ["demo-1"],
                "profile-option-demo-1--image": ["unlisted-choice"],
                f"profile-option-demo-1--{TYPED}": [image],
            }
        )
    assert by_form.value.status_code == 400


async def test_registries_are_limited_by_form_too(hub: FakeHub) -> None:
    spawner = hub.make_spawner(profile_list=PROFILE_LIST, allowed_registries=["quay.io/team"])
    form = {
        "image_profile": ["demo-1"],
        "profile-option-demo-1--image": ["unlisted-choice"],
        f"profile-option-demo-1--{TYPED}": ["quay.io/other/x:1"],
    }

    with pytest.raises(StartRefused, match=r"choose one of quay\.io/team"):
        await spawner.run_options_from_form(form)

    # As it was typed.
    assert 'value="quay.io/other/x:1"' in await spawner.get_options_form()


async def test_it_is_on_the_page_beside_image_profiles(hub: FakeHub) -> None:
    spawner = hub.make_spawner(profile_list=PROFILE_LIST)
    spawner.user_options = {"profile": "demo-1", TYPED: "quay.io/mine:1"}

    page = await spawner.get_options_form()

    assert 'id="kf-cpu"' in page
    assert 'id="kf-entry-demo-1"' in page
    assert "&lt;b&gt;demonstration" in page
    # The last choice is the next one's proposal.
    assert (
        'value="demo-1"\n               aria-describedby="kf-entry-demo-1-about" required checked'
        in page
    )
    assert 'value="quay.io/mine:1"' in page
    assert '<option value="unlisted-choice" selected>Enter image manually</option>' in page


async def test_a_function_that_fails_is_told_on_the_page_and_at_a_start(hub: FakeHub) -> None:
    def fail(_: object) -> list[dict[str, Any]]:
        raise RuntimeError("no <answer>")

    spawner = hub.make_spawner(profile_list=fail)

    page = await spawner.get_options_form()

    assert "RuntimeError: no &lt;answer&gt;; show this to the administrator" in page
    assert 'id="kf-cpu"' in page
    with pytest.raises(StartRefused, match=r"asking c\.KfSpawner\.profile_list"):
        await spawner.start()


async def test_what_cannot_be_set_is_named_and_goes_back(hub: FakeHub) -> None:
    entry = {
        "display_name": "Odd",
        "kubespawner_override": {"default_url": "/x", "mem_limit": "lots"},
    }
    spawner = hub.make_spawner(profile_list=[entry])
    before = spawner.default_url

    spawner.user_options = {"profile": "odd"}
    with pytest.raises(StartRefused, match=r"applying mem_limit of c\.KfSpawner\.profile_list"):
        await spawner.start()
    spawner.clear_state()

    assert spawner.default_url == before


async def test_it_alone_is_enough(hub: FakeHub) -> None:
    spawner = hub.make_spawner(profile_list=PROFILE_LIST, image_profiles={})

    await load(spawner)

    assert spawner.image == "quay.io/jupyter/minimal:1"
