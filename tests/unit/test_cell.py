"""What a cell expects of earlier ones, and which text is no cell."""

from __future__ import annotations

import builtins

import pytest

from kfspawner.errors import SourceRefused
from kfspawner.packaging.cell import free_names, parse_cell
from kfspawner.packaging.source import cell_source


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\nprint(x)", ""),
        ("x = x + 1", "x"),
        ("x += 1", "x"),
        ("y: int = x", "x"),
        ("del x\nx", "x"),
        ("import numpy as np\nnp.zeros(3)", ""),
        ("import a.b\na.b", ""),
        ("[y * s for y in ys]", "s ys"),
        ("lambda v: v + w", "w"),
        ("(n := 1)\nn", ""),
        ("a.b.c = d", "a d"),
        ("a[i] = d", "a d i"),
        ("f'{x}'", "x"),
        # Branches: set only where every way sets it.
        ("if a:\n  n = 1\nprint(n)", "a n"),
        ("if a:\n  n = 1\nelse:\n  n = 2\nprint(n)", "a"),
        ("if a:\n  n = 1\nelse:\n  raise e\nprint(n)", "a e"),
        ("try:\n  n = l()\nexcept E as e:\n  print(e)\nprint(n)", "E l n"),
        ("try:\n  n = l()\nexcept E:\n  n = 0\nprint(n)", "E l"),
        ("try:\n  n = l()\nfinally:\n  m = 1\nprint(n, m)", "l"),
        ("try:\n  n = l()\nexcept* E:\n  raise\nprint(n)", "E l"),
        ("match v:\n  case {'k': k}:\n    r = k\n  case _:\n    r = 2\nprint(r)", "r v"),
        ("match v:\n  case C(a=b) if b > lim:\n    print(b)", "C lim v"),
        # Loops and contexts are taken to run.
        ("for i in xs:\n  t = t + i\n  u = i\nprint(u)", "t xs"),
        ("for i in xs:\n  if i:\n    continue\n  k = 1\nprint(k)", "xs"),
        ("while c:\n  n = 1\nelse:\n  m = n\nprint(m)", "c"),
        ("with open(p) as f:\n  d = f\nprint(d)", "p"),
        ("await q()\nasync for i in xs:\n  pass\nasync with z as zz:\n  pass", "q xs z"),
        # What a function reads counts when the function is read.
        ("def f():\n  return g\ng = 2\nf()", ""),
        ("def f():\n  return g\nf()\ng = 2", "g"),
        ("def f():\n  return g()\ndef g():\n  return h\nf()", "h"),
        ("def f():\n  return f() + g", "g"),
        ("def f(a, b=d) -> r:\n  c = a\n  return c + g", "d g r"),
        ("def f():\n  def g():\n    return h\n  return g", "h"),
        ("def f():\n  global s\n  s += 1", "s"),
        ("@deco\ndef f():\n  pass", "deco"),
        ("f = 1\ndef g():\n  return f", ""),
        # A class's body runs at once, its methods when the class is read.
        ("class A(B):\n  z = w\n  y = z\n  def m(self):\n    return q\nA()", "B q w"),
        ("class A:\n  def m(self):\n    return q\nq = 1\nA()", ""),
    ],
)
def test_free_names(code: str, expected: str) -> None:
    found = free_names(parse_cell(code).tree)
    assert {name for name in found if not hasattr(builtins, name)} == set(expected.split())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "there is no code"),
        ("  \n# only a comment\n", "there is no code"),
        ("x = = 3", "invalid syntax in line 1:\n    x = = 3\n        ^"),
        ("if 1:\n\tx = = 3", "invalid syntax in line 2:\n    x = = 3\n        ^"),
        ("y = (\n", "'(' was never closed in line 1:\n    y = (\n        ^"),
        ("s = '''\n%d of %d\n'''\ny = (", "never closed in line 4"),
        ("return 3", "'return' outside function in line 1"),
        ("a\0b", "null bytes"),
        ("\udc80", "Python cannot read it"),
        ("print(1)\n!ls\nx = = 3", "invalid syntax in line 3"),
    ],
)
def test_cell_refused(code: str, said: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        cell_source(code, {})
    assert str(caught.value).startswith("packaging the cell: ")
    assert said in str(caught.value)
    assert "\n\n" not in str(caught.value)


def test_text_that_looks_like_ipython_is_left_alone() -> None:
    assert cell_source("s = '''\n%d of %d\n!x\nwhy?\n'''\nn = 7 \\\n% 3", {})
