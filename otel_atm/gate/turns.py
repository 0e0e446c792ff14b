"""Turns: whose turn it is among requests that were told, when an answer or a call comes up."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from itertools import islice
from typing import Final, TypeAlias

from otel_atm.gate.call import Call
from otel_atm.scope import COLUMN_KEYS, Scope

Fits: TypeAlias = Callable[[Call], bool]
Payer: TypeAlias = tuple[str | None, ...]

#: How many tasks up one looks for a request whose answer one tells.
_MOST_ABOVE: Final = 8
#: How many of those that were told last are looked at for one that is alike.
MOST_LOOKED_AT: Final = 100


class Place:
    """A task or a thread that tells of requests.

    Attributes:
        turns: that it is of.
        owner: the task or the thread; a context that is handed on has another one.
        calls: its requests that wait for their turn, by id, the oldest first.
        above: where this context was made; None at the top.
        depth: how many there are above.
        taken: the request whose turn it was last, when a door saw a call.
        before: the call that a door had seen before that one; None: none.
    """

    __slots__ = ("above", "before", "calls", "depth", "owner", "taken", "turns")

    def __init__(self, turns: Turns, owner: object, above: Place | None) -> None:
        if above is not None and above.depth >= _MOST_ABOVE:
            above = None  # else tasks that start one another would never be let go
        self.turns, self.owner, self.above = turns, owner, above
        self.depth: int = 0 if above is None else above.depth + 1
        self.calls: dict[str, Call] = {}
        self.taken: Call | None = None
        self.before: Call | None = None


_place: ContextVar[Place | None] = ContextVar("otel_atm.told", default=None)


class Turns:
    """Requests in the order in which they were told, by who told them and by who pays.

    First those of the same task or thread, then those of the ones that it was started from; the
    oldest first. It is not for use in several threads at once: its owner has a lock.
    """

    def __init__(self) -> None:
        self._places: dict[str, list[Place]] = {}  # id → where it waits
        self._of: dict[Payer, dict[str, Call]] = {}  # the same calls, by who pays

    def add(self, call: Call) -> None:
        """It was told here."""
        place = self.place()
        place.calls[call.id] = call
        self._places[call.id] = [place]
        self._of.setdefault(payer_of(call.plan.kind.scope), {})[call.id] = call

    def share(self, call: Call) -> None:
        """It was told elsewhere; its answer may be told here, too."""
        place = self.place()
        place.calls[call.id] = call
        self._places[call.id].append(place)

    def remove(self, call: Call) -> None:
        """Its turn is over."""
        for place in self._places.pop(call.id):
            place.calls.pop(call.id, None)
        payer = payer_of(call.plan.kind.scope)
        mine = self._of[payer]
        del mine[call.id]
        if not mine:
            del self._of[payer]

    def place(self) -> Place:
        """That of this task or thread."""
        above, owner = _place.get(), _owner()
        while above is not None and (above.turns is not self or not above.calls):
            if above.turns is self and above.owner == owner:
                return above
            above = above.above  # which has nothing to say
        if above is None or above.owner != owner:
            above = Place(self, owner, above)
            _place.set(above)
        return above

    def here(self, *fits: Fits) -> Call | None:
        """Whose turn it is, of those that were told in this context.

        Of several payers, it is the one that was told of last: it asks in its own turn.

        Args:
            fits: what it should be like; the first that any is like counts.
        """
        place = _place.get()
        while place is not None:
            for like in fits if place.turns is self else ():
                newest = islice(reversed(place.calls.values()), MOST_LOOKED_AT)
                last = next(filter(like, newest), None)
                if last is not None:
                    return _first_of(last, filter(like, place.calls.values()))
            place = place.above
        return None

    def of(self, scope: Scope, *fits: Fits, most: int | None = None) -> Call | None:
        """Whose turn it is, of those of a payer, wherever they were told.

        Args:
            scope: the payer's.
            fits: as of `here`.
            most: how many are looked at, the oldest first; None: all.
        """
        mine = self._of.get(payer_of(scope), {}).values()
        for like in fits:
            for call in islice(mine, most):
                if like(call):
                    return call
        return None

    def clear(self) -> None:
        """In a forked child: these are the parent's."""
        for places in self._places.values():
            for place in places:
                place.calls.clear()
        self._places.clear()
        self._of.clear()


def payer_of(scope: Scope) -> Payer:
    """Who pays, without labels."""
    return tuple([scope.get(key) for key in COLUMN_KEYS])


def _first_of(last: Call, calls: Iterable[Call]) -> Call:
    """The first whose payer is the same as of the last one."""
    payer = payer_of(last.plan.kind.scope)
    return next(call for call in calls if payer_of(call.plan.kind.scope) == payer)


def _owner() -> object:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else weakref.ref(task)
