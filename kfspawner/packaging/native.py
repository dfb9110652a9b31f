"""Which native libraries compiled modules need, and which of these are nowhere."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_LOAD, _DYNAMIC = 1, 2
_NULL, _NEEDED, _STRTAB = 0, 1, 5
# Where a file's header says where, how large and how many its segments are.
_HEAD = (("<Q", 32), ("<H", 54), ("<H", 56))


def missing_libraries(files: Mapping[str, object], prefix: Path) -> dict[str, str]:
    """Return library -> a file of `files` that needs it, of libraries that are nowhere.

    Looked for are the linker's own directories, `files` and all that is below
    `prefix`: libraries of one package are found by others in many ways.
    """
    needed: dict[str, str] = {}
    for place, file in files.items():
        if isinstance(file, Path) and ".so" in file.name:
            for library in needed_libraries(file):
                needed.setdefault(library, place)
    missing = needed.keys() - {Path(place).name for place in files}
    if missing:
        missing -= _linked()
    if missing:
        missing -= _below(prefix)
    return {library: needed[library] for library in missing}


def needed_libraries(file: Path) -> tuple[str, ...]:
    """Return the libraries that a 64-bit little-endian ELF file names; none of another file."""
    try:
        with file.open("rb") as content:
            return tuple(_needed(content))
    except (OSError, ValueError, struct.error):
        return ()


def _needed(file: IO[bytes]) -> Iterator[str]:
    head = file.read(64)
    if head[:6] != b"\x7fELF\x02\x01":
        return
    offset, size, count = (struct.unpack_from(kind, head, at)[0] for kind, at in _HEAD)
    loads, dynamic = [], b""
    for number in range(count):
        file.seek(offset + number * size)
        kind, _, at, address, _, length = struct.unpack("<IIQQQQ", file.read(40))
        if kind == _LOAD:
            loads.append((address, at, length))
        elif kind == _DYNAMIC:
            file.seek(at)
            dynamic = file.read(length)
    entries = list(struct.iter_unpack("<QQ", dynamic[: len(dynamic) // 16 * 16]))
    strings = next((value for tag, value in entries if tag == _STRTAB), 0)
    start = next((at - low for low, at, size in loads if low <= strings < low + size), 0)
    for tag, value in entries:
        if tag == _NULL:
            return
        if tag == _NEEDED:
            file.seek(strings + start + value)
            yield file.read(256).partition(b"\0")[0].decode("utf-8", "replace")


def _linked() -> set[str]:
    """Return the names of the libraries that the linker finds by itself."""
    found = {path.name for place in _LIBRARIES for path in Path(place).glob("*.so*")}
    for command in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            said = subprocess.run(
                [command, "-p"], capture_output=True, text=True, timeout=10, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        return found | {line.split()[0] for line in said.splitlines() if "=>" in line}
    return found


def _below(prefix: Path) -> set[str]:
    return {path.name for path in prefix.rglob("*.so*")}
