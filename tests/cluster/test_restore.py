"""What a run was made of comes back from its image, and its first process passes signals on."""

from __future__ import annotations

from deploy.kernel import Kernel
from deploy.person import Person
from kfspawner.names import namespace_name

SMALL = "--cpu 200m --memory 256Mi"
RESTORE = "from kfspawner.training.restoring import restore_run\n"


def test_the_code_of_a_run_comes_back(kernel: Kernel, person: Person) -> None:
    cell = "print('as it was')"
    assert not kernel.execute(f"%%kf run --name kept {SMALL}\n{cell}").error
    code = (
        f"{RESTORE}back = restore_run('kept')\n"
        "told = back.provenance\n"
        "print((back.folder / 'cell.py').read_text(), end='')\n"
        "print(back.folder, told.kind, told.person, told.profile)\n"
    )
    execution = kernel.execute(code)
    assert not execution.error, execution.text
    profile = namespace_name(person.name)
    assert execution.text == f"{cell}\n/home/jovyan/restored/kept cell {person.name} {profile}\n"


def test_the_code_of_a_deleted_run_comes_back_too(kernel: Kernel) -> None:
    assert not kernel.execute(f"%%kf run --name gone {SMALL}\nprint('gone')").error
    assert not kernel.execute("%kf rm gone").error
    code = f"{RESTORE}print((restore_run('gone').folder / 'cell.py').read_text(), end='')"
    assert kernel.execute(code).text == "print('gone')\n"


def test_the_same_cell_is_the_same_image_whatever_it_is_called(kernel: Kernel) -> None:
    for name in ("same-a", "same-b"):
        assert not kernel.execute(f"%%kf run --name {name} {SMALL}\nprint('same')").error
    code = (
        f"{RESTORE}from pathlib import Path\n"
        "print(*{restore_run(n, Path(f'/tmp/{n}')).image.digest for n in ('same-a', 'same-b')})"
    )
    execution = kernel.execute(code)
    assert not execution.error, execution.text
    assert len(execution.text.split()) == 1
