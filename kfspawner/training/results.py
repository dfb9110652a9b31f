"""What a function returned in its run, back in the notebook."""

from __future__ import annotations

import pickle
from pathlib import Path

from kfspawner.errors import RunError
from kfspawner.packaging.source import RESULT


def read_result(outputs: Path, run: str, pod: str) -> object:
    """Return what the function returned that `run` called.

    Parameters
    ----------
    outputs
        What the run saw as /outputs.
    run
        What it is called.
    pod
        What its pod is called, which wrote the result.

    Raises
    ------
    RunError
        If there is no result, or it cannot be read or loaded here.
    """
    doing = f"reading the result of run {run}"
    try:
        with (outputs / f"{RESULT}{pod}.pkl").open("rb") as file:
            return pickle.load(file)  # noqa: S301 -- from the person's own home, by their own code
    except FileNotFoundError as error:
        raise RunError(
            doing,
            f"it left none in {outputs}",
            "only a called function returns, and only to the server of who started it",
        ) from error
    except OSError as error:
        raise RunError(doing, error.strerror or type(error).__name__, "try again") from error
    except Exception as error:
        raise RunError(
            doing,
            f"it cannot be loaded here ({type(error).__name__}: {error})",
            "import or define here what it is made of",
        ) from error
