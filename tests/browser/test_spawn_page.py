"""The spawn page as people use it: what is free, what is not, by keyboard and by screen reader."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from deploy.browser import START_MS, choose
from deploy.browser import sign_in as sign_in_by_form
from deploy.person import Person
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub

GPU = "nvidia.com/gpu"
IN_USE = "in use"
# News come with the page's next look, every ten seconds.
NEWS_MS = 40_000
_WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")

Hold = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def person(people: People) -> Person:
    """Somebody who has one profile, their own."""
    return people.new()


@pytest.fixture(scope="module")
def hold_gpus(cluster: Cluster) -> Iterator[Hold]:
    """Return what has somebody else use all GPUs of the cluster."""
    namespace = f"test-spawn-page-{secrets.token_hex(2)}"
    cluster.make_namespace(namespace)

    @contextmanager
    def hold() -> Iterator[None]:
        nodes = cluster.plain(cluster.core.list_node())["items"]
        names = [
            _hold(cluster, namespace, node["metadata"]["name"], int(count))
            for node in nodes
            if (count := node["status"]["allocatable"].get(GPU, "0")) != "0"
        ]
        assert names, "the cluster counts no GPUs"
        try:
            until(lambda: all(_is_bound(cluster, namespace, it) for it in names), "GPUs are held")
            yield
        finally:
            for name in names:
                cluster.delete_pod(namespace, name)

    yield hold
    cluster.delete_namespace(namespace)


def _hold(cluster: Cluster, namespace: str, node: str, count: int) -> str:
    container = {
        "name": "main",
        "image": cluster.images()["cpu"],
        "command": ["sleep", "600"],
        "resources": {"limits": {GPU: str(count), "cpu": "10m", "memory": "16Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    name = f"hold-{secrets.token_hex(2)}"
    body = {"metadata": {"name": name}, "spec": spec}
    cluster.core.create_namespaced_pod(namespace, body)
    return name


def _is_bound(cluster: Cluster, namespace: str, name: str) -> bool:
    return bool(cluster.pod(namespace, name)["spec"].get("nodeName"))


def card(page: Page, key: str) -> Locator:
    return page.locator(f'[data-profile="{key}"]')


def check_accessible(page: Page) -> None:
    """Check what axe checks of WCAG 2.2, levels A and AA."""
    # What fades in is measured when it is there.
    page.wait_for_timeout(300)
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(_WCAG)}})
    assert not found.response["violations"], found.generate_report()


def refuse(page: Page) -> None:
    """Send what the page would not let through."""
    field = page.locator("#kf-cpu-cpu")
    field.evaluate("element => { element.removeAttribute('max'); element.value = '99'; }")
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".spawn-error-msg").wait_for()


def sign_in(page: Page, hub: Hub, person: Person) -> None:
    """Sign in, and stay on the spawn page."""
    sign_in_by_form(page, hub.url, person.name, hub.password)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_and_use_it(
    scheme: str, width: int, browser: Browser, person: Person, hub: Hub, hold_gpus: Hold
) -> None:
    size = {"width": width, "height": 900}
    with browser.new_context(viewport=size, color_scheme=scheme) as context, hold_gpus():  # type: ignore[arg-type]
        page = context.new_page()
        sign_in(page, hub, person)
        check_accessible(page)
        choose(page, "GPU")
        expect(card(page, "gpu")).to_contain_text(IN_USE, timeout=NEWS_MS)
        check_accessible(page)
        # Nothing sticks out to the side.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        choose(page, "CPU")
        refuse(page)
        check_accessible(page)


def test_what_is_free_is_told_and_stays_true(
    page: Page, person: Person, hub: Hub, cluster: Cluster, hold_gpus: Hold
) -> None:
    sign_in(page, hub, person)
    gpu = card(page, "gpu")
    expect(gpu).to_contain_text("free now", timeout=NEWS_MS)
    expect(gpu).not_to_contain_text(IN_USE)

    with hold_gpus():
        expect(gpu).to_contain_text(IN_USE, timeout=NEWS_MS)
        expect(gpu).to_contain_text("0 of")
        instead = gpu.get_by_role("button", name="Start CPU with")
        try:
            instead.click()
            page.locator(".jp-LabShell").first.wait_for(timeout=START_MS)
            pod = cluster.server_pod(f"kf-{person.name}")
        finally:
            person.stop()
    assert pod["spec"]["containers"][0]["image"] == cluster.images()["cpu"]

    page.goto(f"{hub.url}/hub/spawn")
    expect(gpu).not_to_contain_text(IN_USE, timeout=NEWS_MS)


def test_without_javascript_it_says_the_same(
    page_without_script: Page, person: Person, hub: Hub, hold_gpus: Hold
) -> None:
    page = page_without_script
    sign_in(page, hub, person)
    gpu = card(page, "gpu")

    with hold_gpus():

        def told() -> bool:
            page.goto(f"{hub.url}/hub/spawn")
            return IN_USE in gpu.inner_text()

        until(told, "the page says that GPUs are in use")
        expect(gpu.get_by_role("button", name="Start CPU with")).to_be_visible()


def test_the_keyboard_is_enough(page: Page, person: Person, hub: Hub) -> None:
    sign_in(page, hub, person)
    page.locator("#kf-cpu").focus()
    seen: list[str] = []
    while "Start" not in seen:
        assert len(seen) < 6
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        page.keyboard.press("Tab")
    # Where the cluster is full, what fits instead is offered on the way.
    inputs = [it for it in seen if not it.endswith("instead")]
    assert inputs == ["kf-cpu", "kf-cpu-cpu", "kf-cpu-memory", "Start"]

    page.locator("#kf-cpu").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#kf-gpu")).to_be_checked()
    expect(card(page, "gpu").get_by_label("Memory in G")).to_be_visible()


def test_enter_starts_what_is_filled_in(
    page: Page, person: Person, hub: Hub, hold_gpus: Hold
) -> None:
    sign_in(page, hub, person)
    sent: list[str] = []

    def keep(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        sent.append(route.request.post_data or "")
        route.fulfill(body="kept")

    page.route("**/hub/spawn**", keep)
    with hold_gpus():
        choose(page, "GPU")
        expect(card(page, "gpu")).to_contain_text(IN_USE, timeout=NEWS_MS)
        card(page, "gpu").get_by_label("CPU cores").press("Enter")
        until(lambda: page.evaluate("document.body.innerText") == "kept", "the form is sent", 10)

    assert len(sent) == 1
    assert "instead" not in sent[0]
    assert 'name="gpu.cpu"' in sent[0]


def test_what_was_refused_is_as_it_was_sent(page: Page, person: Person, hub: Hub) -> None:
    sign_in(page, hub, person)
    choose(page, "CPU")
    refuse(page)

    expect(page.locator(".spawn-error-msg")).to_contain_text("cpu=99")
    expect(page.locator(".spawn-error-msg")).to_contain_text("choose within that")
    expect(page.locator("#kf-cpu")).to_be_checked()
    expect(page.locator("#kf-cpu-cpu")).to_have_value("99")


def test_cards_name_what_is_in_the_image(page: Page, person: Person, hub: Hub) -> None:
    sign_in(page, hub, person)

    expect(card(page, "cpu")).to_contain_text("TensorFlow 2.", timeout=NEWS_MS)
    expect(card(page, "cpu")).to_contain_text("scikit-learn 1.")
