"""Objects: what a client's object holds, as JSON; a dict is looked at in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_atm.guards.counts import Json


def field(holder: object, name: str) -> Any:
    """What an object or a dict has under a name; None if it has nothing, or does not let on."""
    if isinstance(holder, Mapping):
        return holder.get(name)
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's object
        return None


def fields(holder: object, name: str) -> list[Any]:
    """The parts of a list that an object or a dict has under a name; [] if it has none."""
    found = field(holder, name)
    return list(found) if isinstance(found, list | tuple) else []


def plain(value: object) -> Json:
    """An object of a client as a dict of what is set; {} for anything else."""
    if isinstance(value, Mapping):
        return {str(key): _plain_or_self(each) for key, each in value.items() if each is not None}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        dumped = dump(exclude_none=True)
        return dumped if isinstance(dumped, dict) else {}
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or isinstance(value, type):
        return {}
    return {
        key: _plain_or_self(each)
        for key, each in held.items()
        if each is not None and not key.startswith("_")
    }


def _plain_or_self(value: object) -> object:
    return value if isinstance(value, str | int | float | list | tuple) else plain(value)


def is_count(value: object) -> bool:
    """Whether it is a number, of whatever size."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def has_counts(usage: object, deepest: int = 3) -> bool:
    """Whether there is a number in a dict, or in one that lies in it; those are 3 deep at most."""
    if isinstance(usage, Mapping):
        return deepest > 0 and any(has_counts(each, deepest - 1) for each in usage.values())
    return is_count(usage)
