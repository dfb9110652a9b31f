"""The hub's service for idle servers, with its own rights and with limits of seconds."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.inside import idling


def test_what_nobody_uses_is_stopped_and_what_is_used_is_not(
    people: People, cluster: Cluster, environment: Mapping[str, str]
) -> None:
    still, busy, other = people.new(), people.new(), people.new()
    for person in (still, busy, other):
        person.spawn({"image_profile": "cpu"})
    still.write("kept.txt", "still here\n")
    limits = [f"--profile={namespace_name(it.name)}=25s" for it in (still, busy)]
    done = threading.Event()

    def work() -> None:
        with busy.kernel() as kernel:
            kernel.execute("import time; time.sleep(50)")
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    with idling(environment, 100, "--every=2s", "--warning=5s", *limits, token="own"):
        until(lambda: not still.running(), "what nobody uses is stopped")
        assert not done.is_set(), "the other's cell has ended before, and nothing was tested"
        assert busy.running()
        assert other.running()
        # An open window asks again and again; that is no use.
        until(lambda: done.is_set() or not seen_from_a_window(busy), "the cell has ended", 90)
    worker.join()

    assert done.is_set(), "its cell ran to its end"
    until(lambda: not cluster.pods(namespace_name(still.name)), "its pod is gone")
    still.spawn({"image_profile": "cpu"})
    assert still.read("kept.txt") == "still here\n"


def seen_from_a_window(person: Person) -> bool:
    """Ask what an open window asks; say whether the server answers."""
    return person.server("GET", "api/kernels").status_code == 200


def test_the_service_runs_and_its_key_opens_nothing_else(
    person: Person, environment: Mapping[str, str]
) -> None:
    code = "import os; print(os.environ.get('KFSPAWNER_SERVER_KEY'))"
    with person.kernel() as kernel:
        assert kernel.execute(code).text == "None\n"
    assert person.server("GET", "kfspawner/notice").json() == {"text": ""}
