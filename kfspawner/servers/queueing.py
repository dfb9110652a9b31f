"""Who holds the device that a server waits for, and who asked before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from kfspawner.quota import list_names
from kfspawner.servers.capacity import Use


def describe_queue(resource: str, since: str, uses: Iterable[Use]) -> str:
    """Return by whom a device is held, and who has waited for it longer.

    Those that hold or ask for the most are named first.

    Parameters
    ----------
    resource
        The device, as the scheduler calls it: ``nvidia.com/gpu``.
    since
        When the pod that waits was made, as the API tells times.
    uses
        What all pods of the cluster take or wait for.

    Returns
    -------
    str
        What goes after "all are in use": `` by bob's server and ana's run
        digits; cleo's server asked before you``. Nothing where nobody is known.
    """
    held: dict[str, int] = defaultdict(int)
    earlier: dict[str, int] = defaultdict(int)
    for use in uses:
        amount = use.amounts.get(resource, 0)
        if amount and use.node:
            held[use.owner] += amount
        elif amount and use.since < since:
            earlier[use.owner] += amount
    by = f" by {_in_order(held)}" if held else ""
    return f"{by}; {_in_order(earlier)} asked before you" if earlier else by


def _in_order(amounts: Mapping[str, int]) -> str:
    return list_names(sorted(amounts, key=lambda owner: (-amounts[owner], owner)))
