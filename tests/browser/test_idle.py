"""JupyterLab says when a server is about to be stopped, and a GPU server comes back without."""

from __future__ import annotations

from collections.abc import Mapping

from playwright.sync_api import Page, expect

from deploy import browser
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.inside import idling
from tests.cluster.people import Hub


def test_a_warning_goes_when_somebody_is_there_and_a_gpu_server_becomes_a_cpu_server(
    page: Page, people: People, hub: Hub, cluster: Cluster, environment: Mapping[str, str]
) -> None:
    person = people.new()
    profile = namespace_name(person.name)
    browser.sign_in(page, hub.url, person.name, hub.password)
    person.spawn({"image_profile": "gpu"})
    person.write("kept.txt", "still here\n")
    before = cluster.server_pod(profile)
    page.goto(f"{hub.url}/user/{person.name}/lab")
    expect(page.locator("#jp-top-panel")).to_be_visible(timeout=60_000)

    limits = (f"--profile={profile}/gpu=40s", "--warning=30s", "--every=1s", "--demote=gpu=cpu")
    try:
        with idling(environment, 240, *limits, token="admin"):
            # Nobody touches the page, which asks for news all the while.
            notice = page.get_by_text("Nobody has used this server for").first
            expect(notice).to_be_visible(timeout=60_000)
            expect(notice).to_contain_text("starts anew as cpu, unless you use it before")

            page.keyboard.press("Escape")
            expect(notice).to_be_hidden(timeout=15_000)
            assert cluster.server_pod(profile)["metadata"]["uid"] == before["metadata"]["uid"]

            expect(notice).to_be_visible(timeout=60_000)
            until(lambda: image_profiles(cluster, profile) == ["cpu"], "it is a CPU server", 120)
        until(person.running, "it runs")
        person.wait_ready()
        (container,) = cluster.server_pod(profile)["spec"]["containers"]
        assert "nvidia.com/gpu" not in container["resources"]["limits"]
        assert container["image"] == cluster.images()["cpu"]
        assert person.read("kept.txt") == "still here\n"
    finally:
        person.stop()


def image_profiles(cluster: Cluster, profile: str) -> list[str]:
    """Return as what the servers in a profile were chosen."""
    pods = cluster.pods(profile, "component=singleuser-server")
    return [
        it["metadata"]["annotations"]["kfspawner.io/image-profile"]
        for it in pods
        if "deletionTimestamp" not in it["metadata"]
    ]
