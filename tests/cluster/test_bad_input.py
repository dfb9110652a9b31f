"""What cannot be run is refused in one paragraph, and leaves nothing half-made."""

from __future__ import annotations

import pytest

from deploy.kernel import Kernel
from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster
from tests.cluster.leftovers import Left, Repository, check_paragraph

SMALL = "--cpu 200m --memory 256Mi"


def test_a_good_cell_does_leave_something(kernel: Kernel, person: Person, cluster: Cluster) -> None:
    # Otherwise the tests below would prove nothing.
    before = Left.now(person, cluster, kernel)
    execution = kernel.execute(f"%%kf run --name good {SMALL}\nprint('fine')")
    assert not execution.error, execution.text
    after = Left.now(person, cluster, kernel)
    assert after.jobs - before.jobs == {"good"}
    assert after.tags - before.tags == {"good"}
    assert after.outputs - before.outputs == {"good"}


@pytest.mark.parametrize(
    ("cell", "error", "parts"),
    [
        ("%%kf run", "SourceRefused", ("empty",)),
        ("%%kf run\n\n  # nothing\n", "SourceRefused", ("packaging the cell",)),
        ("%%kf run\nfor x in range(3) print(x)", "SourceRefused", ("line 1",)),
        ("%%kf run --name Bad_Name\nprint(1)", "NameRefused", ("'Bad_Name'", "--name bad-name")),
        ("%%kf run --name " + "a" * 90 + "\nprint(1)", "NameRefused", ("at most 57 characters",)),
        ("%%kf run --cpu lots\nprint(1)", "OptionRefused", ("--cpu 'lots'", "try --cpu 2")),
        ("%%kf run --memory 4\nprint(1)", "OptionRefused", ("try --memory 4Gi",)),
        ("%%kf run --gpu 5000\nprint(1)", "OptionRefused", ("between 0 and 1024",)),
        ("%%kf run --gpu half\nprint(1)", "OptionRefused", ("whole GPUs",)),
        ("%%kf run --env 1A=b\nprint(1)", "OptionRefused", ("no digit first",)),
        ("%%kf run --image 'Not An Image'\nprint(1)", "OptionRefused", ("Not An Image",)),
        ("%%kf run --fast\nprint(1)", "OptionRefused", ("--fast", "%kf --help")),
        ("%%kf launch\nprint(1)", "OptionRefused", ("there is no such command",)),
        ("%kf run nowhere.py", "SourceRefused", ("nowhere.py", "No such file")),
        ("%kf run", "OptionRefused", ("it names no script",)),
        ("%kf status nobody", "ObjectMissing", ("nobody",)),
        ("%kf logs Not_A_Name", "NameRefused", ("'Not_A_Name'",)),
    ],
)
def test_what_cannot_run_is_refused(
    cell: str, error: str, parts: tuple[str, ...], kernel: Kernel, person: Person, cluster: Cluster
) -> None:
    before = Left.now(person, cluster, kernel)
    check_paragraph(kernel.execute(cell), error, *parts)
    assert Left.now(person, cluster, kernel) == before


def test_a_value_that_cannot_be_pickled_is_named(
    kernel: Kernel, person: Person, cluster: Cluster
) -> None:
    assert not kernel.execute("import threading\nguard = threading.Lock()").error
    before = Left.now(person, cluster, kernel)
    execution = kernel.execute("%%kf run\nwith guard:\n    print(1)")
    check_paragraph(execution, "SourceRefused", "guard")
    assert Left.now(person, cluster, kernel) == before


def test_a_value_that_is_too_large_is_named(
    kernel: Kernel, person: Person, cluster: Cluster
) -> None:
    assert not kernel.execute("heavy = bytearray(70 * 2**20)").error
    before = Left.now(person, cluster, kernel)
    execution = kernel.execute("%%kf run\nprint(len(heavy))")
    check_paragraph(execution, "SourceRefused", "heavy", "64")
    kernel.execute("del heavy")
    assert Left.now(person, cluster, kernel) == before


def test_a_name_that_is_taken_is_refused(kernel: Kernel, person: Person, cluster: Cluster) -> None:
    first = kernel.execute(f"%%kf run --name taken {SMALL}\nprint('first')")
    assert not first.error, first.text
    before = Left.now(person, cluster, kernel)
    second = kernel.execute(f"%%kf run --name taken {SMALL}\nprint('second')")
    check_paragraph(second, "ObjectExists", "taken")
    assert Left.now(person, cluster, kernel) == before
    assert kernel.execute("%kf logs taken").text == "first\n"


def test_a_registry_that_does_not_answer(kernel: Kernel, person: Person, cluster: Cluster) -> None:
    before = Left.now(person, cluster, kernel)
    names = ("KFSPAWNER_REPOSITORY", "KFSPAWNER_IMAGE")
    # Nobody listens there.
    code = (
        f"real = {{name: os.environ[name] for name in {names}}}\n"
        "for name, value in real.items():\n"
        "    os.environ[name] = '127.0.0.1:9/' + value.partition('/')[2]"
    )
    assert not kernel.execute(code).error
    try:
        execution = kernel.execute(f"%%kf run --name lost {SMALL}\nprint(1)")
        check_paragraph(execution, "RegistryUnreachable", "127.0.0.1:9")
    finally:
        kernel.execute("os.environ.update(real)")
    assert Left.now(person, cluster, kernel) == before


def test_an_image_that_is_not_there(kernel: Kernel, person: Person, cluster: Cluster) -> None:
    registry = Repository.of(kernel).registry
    before = Left.now(person, cluster, kernel)
    cell = f"%%kf run --name absent --image {registry}/kfspawner/absent:1\nprint(1)"
    check_paragraph(kernel.execute(cell), "ImageMissing", f"{registry}/kfspawner/absent")
    assert Left.now(person, cluster, kernel) == before


def test_a_pod_that_cannot_start_says_why_and_can_be_removed(
    kernel: Kernel, person: Person, cluster: Cluster
) -> None:
    # Without a Python in it there is nothing to start.
    image = Repository.of(kernel).push_empty()
    execution = kernel.execute(f"%%kf run --name dead --image {image} {SMALL}\nprint(1)")
    assert execution.error == "RunFailed"
    last = execution.outputs[-1]
    assert last.kind == "error"
    assert last.text.startswith("run dead Failed: ")
    assert "start" in last.text
    assert "\n" not in last.text
    assert not kernel.execute("%kf rm --force dead").error
    jobs = {job["metadata"]["name"] for job in cluster.jobs(namespace_name(person.name))}
    assert "dead" not in jobs
