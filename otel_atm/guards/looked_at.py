"""Looked at: an object that goes on as it was, but for methods that also look at what passes.

Its class is exchanged. Whatever else holds it has the same object; what checks its class finds
a subclass; and nothing is in the way that would have to be taken out again.
"""

from __future__ import annotations

from typing import Any, Final

_kinds: Final[dict[tuple[type, type], type]] = {}


def look_at(one: Any, how: type) -> None:
    """Give an object the methods of `how`, before its own.

    Args:
        one: whose class can have subclasses.
        how: with ``__slots__`` where the layout of `one` has no room for more attributes.
    """
    kind = one.__class__  # of a proxy, that of what it stands for
    looked_at = _kinds.get((kind, how))
    if looked_at is None:
        slots = {"__slots__": ()} if "__slots__" in how.__dict__ else {}
        looked_at = _kinds[kind, how] = type(kind.__name__, (how, kind), slots)
    one.__class__ = looked_at
