"""Names that are nowhere: refused with their line, and only where no doubt is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfspawner.errors import SourceRefused
from kfspawner.packaging.source import cell_source, folder_source, script_source


@pytest.mark.parametrize(
    "code",
    [
        "known, print, __name__, display(1)",
        "exit()",
        "if known:\n  x = 1\nx",
        "for x in known:\n  y = x\ny",
        "try:\n  import json\nexcept ImportError:\n  json = None\njson",
        "from os.path import *\njoin('a')",
        "globals()['x'] = 1\nx",
        "exec('x = 1')\nx",
        "get_ipython().push({'x': 1})\nx",
        "try:\n  x\nexcept NameError:\n  x = 1",
        "try:\n  unicode\nexcept (TypeError, NameError):\n  pass",
        "try:\n  unicode\nexcept:\n  pass",
        "match known:\n  case {'a': a, **rest} | [a, *rest]:\n    a, rest",
        "match known:\n  case list() as b:\n    b",
        "def f(a, *b, c=1, **d):\n  return a, b, c, d\nf(1)",
        "def f():\n  global g\n  g = 1\nf()\ng",
        "def f():\n  return later\nlater = 1\nf()",
        "def unused():\n  return nowhere",
        "with open('x') as f:\n  f",
        "from __future__ import annotations\ndef f(x: Nowhere) -> Nowhere:\n  pass\nf(1)",
        "class A:\n  b = 1\n  c = b\nA()",
        "[x for x in known]\n{k: v for k, v in known}",
        "import a.b\na.b",
        "(lambda x: x)(1)",
        "try:\n  pass\nexcept* ValueError as e:\n  e",
        "%%capture out\nprint(1)",
        "%sc there=ls\nthere",
        "%%time\nx = 1\nx",
        "!echo {nowhere} $HOME",
        "x = !ls\nx",
    ],
)
def test_what_may_be_there_is_not_missed(code: str) -> None:
    cell_source(code, {"known": [1]})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1\nnowhere", "it reads what nothing defines: 'nowhere' in line 2; define it"),
        ("knwon", "'knwon' in line 1 (is it 'known'?);"),
        ("dataset = 1\ndatset", "'datset' in line 2 (is it 'dataset'?);"),
        ("d\nc\nb\na", "'d' in line 1, 'c' in line 2, 'b' in line 3, and 1 more;"),
        ("def f():\n  return nowhere\nf()", "'nowhere' in line 2;"),
        ("np.zeros(3)", "'np' in line 1;"),
        ("def f(x: Nowhere):\n  pass\nf(1)", "'Nowhere' in line 1;"),
        ("try:\n  nowhere\nexcept ValueError:\n  pass", "'nowhere' in line 2;"),
        ("%time nowhere", "'nowhere' in line 1;"),
        ("f'{nowhere}'", "'nowhere' in line 1;"),
    ],
)
def test_what_is_nowhere_is_refused(code: str, said: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        cell_source(code, {"known": [1]})
    assert str(caught.value).startswith("packaging the cell: ")
    assert said in str(caught.value)


def test_scripts_are_read_too(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys\nprint(sys.argv, __file__, nowhere)\n")
    said = r"packaging the script .*train.py.*: it reads .*: 'nowhere' in line 2;"
    with pytest.raises(SourceRefused, match=said):
        script_source(script)
    with pytest.raises(SourceRefused, match=said):
        folder_source(tmp_path, "train.py")
