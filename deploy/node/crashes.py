"""A supervisor event listener: keep the last lines of a part that crashed.

Started by the supervisor as ``python crashes.py <log directory>``; it talks the
event listener protocol of http://supervisord.org/events.html on its standard
streams. A part is started again at once, so its log goes on; what it said
before it ended is kept in ``<part>.crash``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_LINES = 12


def fields(text: str) -> dict[str, str]:
    """Return the ``name:value`` pairs of a header or payload."""
    return dict(pair.split(":", 1) for pair in text.split())


def keep(logs: Path, event: dict[str, str]) -> None:
    """Write the end of the log of the part that `event` names beside it.

    No part ends of itself, so any exit code is a crash; a part that was asked
    to stop makes another event.
    """
    name = event["processname"]
    lines = (logs / f"{name}.log").read_text(errors="replace").splitlines()[-_LINES:]
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    (logs / f"{name}.crash").write_text("\n".join([f"crashed at {when}", *lines, ""]))


def main() -> None:
    """Serve events until the supervisor closes the stream."""
    logs = Path(sys.argv[1])
    while True:
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        header = sys.stdin.readline()
        if not header:
            return
        keep(logs, fields(sys.stdin.read(int(fields(header)["len"]))))
        sys.stdout.write("RESULT 2\nOK")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
