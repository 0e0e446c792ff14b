"""Learned: what calls of a model hold, from those before them."""

from __future__ import annotations

import threading
from typing import Final

from otel_atm.cache import Cache
from otel_atm.gate.estimate import ENOUGH, Sizes, learn

#: Models that are remembered.
_MODELS: Final = 256


class Learned:
    """What to hold for a call, by its model. Safe for threads.

    Args:
        default_hold: for a call of which nothing is known, half of it input.
    """

    def __init__(self, default_hold: int) -> None:
        self._half = max(1, default_hold // 2)
        self._recent: Cache[str | None, Sizes] = Cache(_MODELS)
        self._lock = threading.Lock()

    def hold(self, model: str | None, given: int, most: int) -> tuple[int, int]:
        """Input and output to hold.

        Once there were 16 calls of the model: the output that 95 % of the last 112 stayed below,
        and the input that the request has, with as much more as 95 % of them had: what the provider
        counts besides the text that is seen here.

        Args:
            model: that is asked.
            given: about how many tokens the request is.
            most: the most output that it may have.
        """
        with self._lock:
            recent = self._recent.get(model)
            if recent is None or len(recent) < ENOUGH:
                return max(given, self._half), min(most, self._half)
            more, made, *_ = learn(recent)
        return given + more, min(most, made)

    def note(self, model: str | None, more: int, made: int) -> None:
        """Learn from a call that its provider has reported.

        Args:
            model: that was asked.
            more: input tokens, as reported, besides those that the request was reckoned to be.
            made: output tokens, as reported.
        """
        with self._lock:
            recent = self._recent.get(model)
            if recent is None:
                recent = Sizes()
                self._recent.put(model, recent)
            recent.add((max(0, more),), (made,))
            recent.forget()
