from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from kfspawner.packaging.native import missing_libraries, needed_libraries
from tests.fakes.packages import shared_object


def test_libraries_of_a_real_module() -> None:
    folder = Path(str(sysconfig.get_config_var("DESTSHARED")))
    needed = [set(needed_libraries(file)) for file in folder.glob("*.so")]
    assert any("libc.so.6" in libraries for libraries in needed)
    assert all(".so" in library for libraries in needed for library in libraries)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n",
        b"\x7fELF\x01\x01",
        shared_object("liba.so")[:100],
        b"\x7fELF\x02\x01" * 40,
    ],
)
def test_what_is_no_library_needs_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.so"
    file.write_bytes(content)
    assert needed_libraries(file) == ()


def test_a_library_that_is_there_is_not_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.so"
    file.write_bytes(shared_object("libc.so.6", "libnowhere.so.3"))
    assert needed_libraries(file) == ("libc.so.6", "libnowhere.so.3")
    assert missing_libraries({"/x/a.so": file}, tmp_path) == {"libnowhere.so.3": "/x/a.so"}
