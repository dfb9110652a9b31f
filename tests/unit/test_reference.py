"""Which texts are image references, and what they mean."""

from __future__ import annotations

import pytest

from kfspawner.errors import OptionRefused
from kfspawner.reference import Reference

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.example/a/b:1", ("registry.example", "a/b", "1", None)),
        ("registry.example:5000/a", ("registry.example:5000", "a", None, None)),
        ("localhost/a:x", ("localhost", "a", "x", None)),
        ("[::1]:5000/a", ("[::1]:5000", "a", None, None)),
        ("127.0.0.1:5000/a", ("127.0.0.1:5000", "a", None, None)),
        (f"r.example/a@sha256:{HEX}", ("r.example", "a", None, f"sha256:{HEX}")),
        (f"r.example/a:1@sha256:{HEX}", ("r.example", "a", "1", f"sha256:{HEX}")),
        ("python:3.11", ("docker.io", "library/python", "3.11", None)),
        ("jupyter/base", ("docker.io", "jupyter/base", None, None)),
        ("docker.io/python", ("docker.io", "library/python", None, None)),
        ("r.example/a__b/c-d.e", ("r.example", "a__b/c-d.e", None, None)),
    ],
)
def test_reference(text: str, parts: tuple[str, ...]) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == parts
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r.example/",
        "r.example/A",
        "r.example/a:",
        "r.example/a b",
        "r.example/a@sha256:12",
        "r.example/../a",
        "r.example//a",
        "https://r.example/a",
        "user:password@r.example/a",
        "r.example/a?mount=1",
        "r.example/a:1\n",
        "r.example/" + "a" * 600,
    ],
)
def test_reference_refused(text: str) -> None:
    with pytest.raises(OptionRefused, match="reading the image reference"):
        Reference.parse(text)
