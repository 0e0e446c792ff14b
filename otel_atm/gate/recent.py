"""Recent: calls that have ended, for spans that tell of them afterwards."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import Final, NamedTuple

from otel_atm.gate.call import Call
from otel_atm.gate.plan import Kind, compatible
from otel_atm.price import Tokens
from otel_atm.scope import Scope
from otel_atm.window import SECOND_NS

_MOST_NEW: Final = 512
_MOST_KEPT: Final = 2_048
#: How many alike are looked at; those that were told of already are passed over.
_MOST_ALIKE: Final = 64
#: How far the clocks of two emitters' spans of one call may lie apart.
_SLACK_NS: Final = 5_000_000
#: How long after a call has ended a span may be made of it.
_LATE_NS: Final = 5 * SECOND_NS


#: The door of calls that no span covers.
_APART: Final = "admit"

#: What calls are alike in: (input, output) tokens; the id of an answer; None: estimated tokens.
_Key = tuple[int, int] | str | None


class Telling(NamedTuple):
    """What a span tells of a call at its end.

    Attributes:
        kind: of the call.
        emitter: that tells.
        tokens: that it says were used.
        start_ns, end_ns: of the span; 0 when unknown.
        late: whether the span may have been made after the call.
        response_id: the provider's; None when it is not told.
    """

    kind: Kind
    emitter: str
    tokens: Tokens
    start_ns: int
    end_ns: int
    late: bool = False
    response_id: str | None = None


class Recent:
    """The calls that have ended last and were let in, by what they used.

    Whoever ends a call only appends it to `new`; they are sorted in when somebody asks.

    Attributes:
        new: that have ended since somebody asked.
    """

    def __init__(self) -> None:
        self.new: deque[Call] = deque(maxlen=_MOST_NEW)
        self._kept: deque[tuple[tuple[_Key, ...], Call]] = deque()  # oldest first
        self._alike: dict[_Key, dict[str, Call]] = {}  # id → call, oldest first
        self._lock = threading.Lock()

    def forget(self) -> None:
        """In a forked child: those are the parent's."""
        self.new.clear()
        self._kept.clear()
        self._alike.clear()
        self._lock = threading.Lock()

    def find(self, telling: Telling) -> Call | None:
        """The call that a span tells of; it counts as told by that emitter from now on.

        One to one: each emitter tells of a call once, so N equal spans find N equal calls.
        """
        with self._lock:
            self._sort_in()
            for key in (telling.tokens[:2], telling.response_id, None):
                alike = self._alike.get(key, {})
                for call in islice(reversed(alike.values()), _MOST_ALIKE):
                    if _is_told(call, telling):
                        call.emitters += (telling.emitter,)
                        call.told = call.told or telling.tokens
                        return call
        return None

    def has_answer(self, response_id: str | None) -> bool:
        """Whether a call had this answer."""
        with self._lock:
            self._sort_in()
            return response_id is not None and response_id in self._alike

    def any_of(self, payer: Scope, start_ns: int, end_ns: int) -> bool:
        """Whether a call of this payer began and ended in that time."""
        with self._lock:
            self._sort_in()
            return any(
                call.plan.kind.scope == payer
                and start_ns - _SLACK_NS <= (call.started_ns or call.opened_ns)
                and call.ended_ns <= end_ns + _SLACK_NS
                for _, call in self._kept
            )

    def _sort_in(self) -> None:
        new = self.new
        while new:
            try:
                call = new.popleft()
            except IndexError:
                break
            if call.source == _APART:
                continue
            keys = _keys(call)
            self._kept.append((keys, call))
            for key in keys:
                self._alike.setdefault(key, {})[call.id] = call
        while len(self._kept) > _MOST_KEPT:
            keys, oldest = self._kept.popleft()
            for key in keys:
                del self._alike[key][oldest.id]
                if not self._alike[key]:
                    del self._alike[key]


def _keys(call: Call) -> tuple[_Key, ...]:
    used = None if call.outcome.estimated else call.tokens[:2]
    return (used,) if call.response_id is None else (used, call.response_id)


def _is_told(call: Call, telling: Telling) -> bool:
    if telling.emitter in call.emitters and not (telling.late and call.told is None):
        return False
    if not compatible(call.plan.kind, telling.kind):
        return False
    if telling.response_id and call.response_id:
        return telling.response_id == call.response_id
    # A span that tells now may tell of all that has ended by now, whatever end it claims: there are
    # streams that begin when they are read, after their span's own end.
    begun = telling.start_ns - _SLACK_NS <= (call.started_ns or call.opened_ns)
    return begun or (telling.late and abs(telling.end_ns - call.ended_ns) <= _LATE_NS)
