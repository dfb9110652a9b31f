"""Runs its arguments as a container's first process: what they get of signals, they would get.

It waits for what they leave behind, and ends as they end. This file is shipped
as text, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Start the arguments in a group of their own, and serve them until they end."""
    every = signal.valid_signals()
    # Python ignores these two, and whoever it starts would, too.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, every)
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, every)
        _become(sys.argv[1:])
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # whoever of the two is first
    while True:
        number = signal.sigwait(every)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, number)
            continue
        code = _reap(child)
        if code is not None:
            sys.exit(code)


def _become(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606 -- that is what it is for
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(127)


def _reap(child: int) -> int | None:
    """Take note of all that ended; return how `child` did, as a shell tells it."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not pid:
            return None


if __name__ == "__main__":
    main()
