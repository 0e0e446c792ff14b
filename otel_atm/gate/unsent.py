"""Unsent: calls that spans tell of, whose requests are still to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from otel_atm.gate.call import Call
from otel_atm.gate.plan import Kind, compatible
from otel_atm.scope import Scope
from otel_atm.window import SECOND_NS

#: A request comes within this time after its span has started.
_WAIT_NS: Final = 10 * SECOND_NS
_MOST_PAYERS: Final = 4_096
_MOST_OF_A_PAYER: Final = 256


class Unsent:
    """Finds the call of a request that has lost its context, by who pays.

    Some frameworks make their spans in another thread or in a copy of the context, so that nothing
    leads from a request to its span. Which of two equal calls of one payer it is told of does not
    matter: each request takes one, and they cost what the requests cost.
    """

    def __init__(self) -> None:
        self._by_payer: dict[Scope, deque[Call]] = {}

    def add(self, call: Call) -> None:
        """A span tells of this one."""
        payer = call.plan.kind.scope
        calls = self._by_payer.get(payer)
        if calls is None:
            if len(self._by_payer) >= _MOST_PAYERS:
                self._forget_settled()
            calls = self._by_payer[payer] = deque(maxlen=_MOST_OF_A_PAYER)
        calls.append(call)
        _forget_done(calls)

    def find(self, kind: Kind, clock: Callable[[], int]) -> Call | None:
        """The oldest one that a request of this kind may be of.

        Args:
            kind: of the request.
            clock: tells the time.
        """
        calls = self._by_payer.get(kind.scope) if self._by_payer else None
        if not calls or not _forget_done(calls):
            return None
        now_ns = clock()
        for call in calls.copy():
            if (
                _waits(call)
                and now_ns - call.opened_ns <= _WAIT_NS
                and compatible(call.plan.kind, kind)
            ):
                return call
        return None

    def clear(self) -> None:
        """None of them is waited for any more."""
        self._by_payer.clear()

    def _forget_settled(self) -> None:
        waiting = {
            payer: calls
            for payer, calls in self._by_payer.copy().items()
            if any(map(_waits, calls.copy()))
        }
        self._by_payer = waiting if len(waiting) < _MOST_PAYERS // 2 else {}


def _forget_done(calls: deque[Call]) -> bool:
    """Forget the oldest ones that nothing waits for; whether any is left."""
    try:
        while not _waits(calls[0]):
            calls.popleft()
    except IndexError:
        return False  # maybe another thread took the last one
    return True


def _waits(call: Call) -> bool:
    return call.open and not call.sent
