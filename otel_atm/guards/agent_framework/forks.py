"""Forks: a child has its parent's objects, but none of its threads and calls in flight."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class _Forked(Protocol):
    def after_fork(self) -> None:
        """In a forked child: renew locks, drop the holds, which are the parent's."""
        ...


_known: Final[weakref.WeakSet[_Forked]] = weakref.WeakSet()


def remember(one: _Forked) -> None:
    """Have its `after_fork` called in forked children, for as long as it lives."""
    _known.add(one)


def _after_fork_in_child() -> None:
    for one in list(_known):
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
