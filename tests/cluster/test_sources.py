"""Functions, folders and cells with magics, from a notebook to their end on the cluster."""

from __future__ import annotations

from deploy.kernel import Kernel
from deploy.person import Person
from tests.cluster.cluster import Cluster
from tests.cluster.leftovers import Left, check_paragraph

SMALL = "--cpu 200m --memory 256Mi"
OPTIONS = 'cpu="200m", memory="256Mi"'


def test_a_functions_result_comes_back(kernel: Kernel) -> None:
    code = f"""import kfspawner
class Model:
    def __init__(self, weight):
        self.weight = weight
scale = 10
def train(steps, rate=1.0):
    print("trains")
    return Model(steps * rate * scale)
run = kfspawner.run(train, [4], rate=0.5, name="function", {OPTIONS})
result = run.result(120)
print(type(result) is Model, result.weight, *run.logs())
"""
    execution = kernel.execute(code)
    assert not execution.error, execution.text
    assert execution.text == "True 20.0 trains\n"


def test_a_function_that_fails_has_no_result(kernel: Kernel) -> None:
    code = f"""import kfspawner
def fail():
    raise ValueError("no such colour")
kfspawner.run(fail, name="function-fails", {OPTIONS}).result(120)
"""
    execution = kernel.execute(code)
    assert execution.error == "RunFailed"
    assert "reading the result of run function-fails: it is Failed, exit code 1" in execution.text


def test_a_folder_goes_along_but_what_is_ignored(kernel: Kernel, person: Person) -> None:
    files = {
        "src/train.py": "import sys, part, pathlib\n"
        "print(part.value, open('data/x.csv').read(), sys.argv[1:])\n"
        "print(sorted(str(it) for it in pathlib.Path().rglob('*[!c]') if it.is_file()))\n"
        "pathlib.Path('/outputs/kept.txt').write_text('kept')\n",
        "src/part.py": "value = 7",
        "data/x.csv": "a,b",
        "data/large.bin": "large",
        ".gitignore": "*.bin\n",
        ".env": "SECRET=1",
    }
    made = kernel.execute(
        "import pathlib\n"
        f"for path, text in {files!r}.items():\n"
        "    path = pathlib.Path.home() / 'project' / path\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    path.write_text(text)\n"
    )
    assert not made.error, made.text
    run = f"%kf run --name folder {SMALL} --dir ~/project src/train.py --lr 1"
    execution = kernel.execute(run)
    assert not execution.error, execution.text
    assert "7 a,b ['--lr', '1']\n" in execution.text
    assert "['.gitignore', 'data/x.csv', 'src/part.py', 'src/train.py']\n" in execution.text
    assert "project: .env (it sets passwords)\n" in execution.text
    assert person.read("runs/folder/kept.txt") == "kept"


def test_magics_and_commands_of_a_cell(kernel: Kernel) -> None:
    cell = f"""%%kf run --name magics {SMALL}
import os
%matplotlib inline
%pip install --no-index pip
word = "hello"
lines = !echo {{word}}
!echo $KFSPAWNER_RUN
%env GREETING={{word}}
print(lines, os.environ["GREETING"])
"""
    execution = kernel.execute(cell)
    assert not execution.error, execution.text
    said = execution.text
    assert "line 2, %matplotlib: figures are not shown in a run: save them to files\n" in said
    assert "Requirement already satisfied: pip" in said
    assert "magics\nenv: GREETING=hello\n['hello'] hello\n" in said


def test_a_check_leaves_nothing(kernel: Kernel, person: Person, cluster: Cluster) -> None:
    before = Left.now(person, cluster, kernel)
    good = kernel.execute(f"%%kf run --check --name checked {SMALL}\nprint(1)")
    assert not good.error, good.text
    assert "the cluster would take the run; nothing was pushed\n" in good.text
    missing = kernel.execute(f"%%kf run --name missing {SMALL}\nprint(never_defined)")
    check_paragraph(missing, "SourceRefused", "'never_defined' in line 1")
    refused = kernel.execute(f"%%kf run --name refused {SMALL}\n1\n%lsmagic")
    check_paragraph(refused, "SourceRefused", "line 2", "%lsmagic")
    assert Left.now(person, cluster, kernel) == before
