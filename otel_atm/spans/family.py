"""Family: which calls lie beneath which spans, of spans that are only seen once they have ended.

Children mostly end, and so are seen, before what is above them; but not all do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

from otel_atm.gate import Call

#: The most spans that are remembered; past it the oldest are forgotten.
_MOST: Final = 8_192
#: The most calls that are remembered beneath one span, the latest.
_MOST_BENEATH: Final = 16
#: How far up is looked.
_DEPTH: Final = 64

V = TypeVar("V")


class Family:
    """Spans that have ended, with the calls that they told of."""

    def __init__(self) -> None:
        self._parents: dict[int, int | None] = {}  # of spans that have ended
        self._calls: dict[int, Call] = {}  # id of a span that has ended → the call it told of
        self._beneath: dict[int, tuple[Call, ...]] = {}  # id of one that has not → calls, as told

    def has_told(self, span_id: int) -> bool:
        """Whether a span has ended, and told of a call."""
        return span_id in self._calls

    def beneath(self, span_id: int | None) -> tuple[Call, ...]:
        """Calls that were told of beneath a span that has not ended, the latest last."""
        return () if span_id is None else self._beneath.get(span_id, ())

    def above(self, parent_id: int | None) -> Call | None:
        """The call of the nearest span above that has told of one already."""
        for span_id in self._up(parent_id):
            if span_id in self._calls:
                return self._calls[span_id]
        return None

    def end(self, span_id: int, parent_id: int | None, call: Call | None = None) -> None:
        """A span has ended.

        Args:
            span_id: its id.
            parent_id: its parent's; None without one.
            call: that it told of; None if none.
        """
        calls = self._beneath.pop(span_id, ())
        if call is not None:
            _put(self._calls, span_id, call)
            calls = (*(each for each in calls if each is not call), call)
        _put(self._parents, span_id, parent_id)
        if calls:
            self._hand_up(calls, parent_id)

    def _hand_up(self, calls: tuple[Call, ...], parent_id: int | None) -> None:
        """Remember calls beneath the nearest span above that has not ended."""
        for span_id in self._up(parent_id):
            if span_id not in self._parents:
                there = self._beneath.get(span_id, ())
                fresh = tuple(call for call in calls if call not in there)
                _put(self._beneath, span_id, (there + fresh)[-_MOST_BENEATH:])

    def _up(self, span_id: int | None) -> Iterator[int]:
        """A span, and what is above it, as far as it is known."""
        for _ in range(_DEPTH):
            if span_id is None:
                return
            yield span_id
            span_id = self._parents.get(span_id)


def _put(known: dict[int, V], span_id: int, value: V) -> None:
    if len(known) >= _MOST:
        for oldest in list(islice(known, _MOST // 8)):
            del known[oldest]
    known[span_id] = value
