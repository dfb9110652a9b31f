"""Who manages which field of an object, as the API server keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]
# A manager's name, and how it writes: Apply or Update.
Manager = tuple[str, str]

# What the API server writes itself, or what says which object it is.
_NOBODYS = {
    *(("metadata", it) for it in ("name", "namespace", "uid", "resourceVersion", "managedFields")),
    *(("metadata", it) for it in ("creationTimestamp", "deletionTimestamp")),
    *(("apiVersion",), ("kind",), ("status",)),
}


class Ownership:
    """The fields of one object by their managers."""

    def __init__(self) -> None:
        self._paths: dict[Manager, set[Path]] = {}

    def update(self, before: Object, after: Object, manager: str) -> None:
        """Take note that a manager wrote `after` over `before`."""
        old, new = dict(leaves(before)), dict(leaves(after))
        changed = {path for path, value in new.items() if path not in old or old[path] != value}
        for paths in self._paths.values():
            paths.difference_update(changed, old.keys() - new.keys())
        self._paths.setdefault((manager, "Update"), set()).update(changed)

    def apply(self, before: Object, wanted: Mapping[Path, Any], manager: str) -> set[Path]:
        """Take note that a manager applies `wanted`; return the fields that go for it."""
        old = dict(leaves(before))
        mine = (manager, "Apply")
        dropped = self._paths.get(mine, set()) - wanted.keys()
        changed = {path for path, value in wanted.items() if old.get(path) != value}
        for other, paths in self._paths.items():
            if other != mine:
                paths.difference_update(changed)
                dropped -= paths
        self._paths[mine] = set(wanted)
        return dropped

    def others(self, path: Path, manager: str) -> bool:
        """Say whether somebody else manages a field than `manager` by applying."""
        return any(path in paths for it, paths in self._paths.items() if it != (manager, "Apply"))

    def managed_fields(self) -> list[Object]:
        """Return it as it stands in an object's metadata."""
        found = []
        for (manager, operation), paths in sorted(self._paths.items()):
            fields: Object = {}
            for path in sorted(paths):
                put_at(fields, tuple(f"f:{part}" for part in path), {})
            if fields:
                found.append({"manager": manager, "operation": operation, "fieldsV1": fields})
        return found


def leaves(it: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield what has managers: all that is not a mapping, or an empty one, with the way to it."""
    for name, value in it.items():
        path = (*above, name)
        if path in _NOBODYS:
            continue
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def put_at(it: Object, path: Path, value: Any) -> None:
    """Set a field, and what is around it."""
    for name in path[:-1]:
        it = it.setdefault(name, {})
    it.setdefault(path[-1], value) if value == {} else it.update({path[-1]: value})


def drop_at(it: Object, path: Path) -> None:
    """Remove a field."""
    for name in path[:-1]:
        it = it.get(name, {})
    it.pop(path[-1], None)


def get_at(it: Object, path: Path) -> Any:
    """Return a field; None if there is none."""
    for name in path[:-1]:
        it = it.get(name, {})
    return it.get(path[-1])
