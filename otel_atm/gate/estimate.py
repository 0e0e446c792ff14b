"""Estimate: what a call will probably use, learned from those before it.

A hold that is too low lets concurrent calls pass the limit, one that is too high keeps calls out
that there is room for. A high quantile of the recent calls, together with the rule that the last
call is admitted alone with what is left, does neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from otel_atm.price import Tokens

#: How many calls are remembered; after how many it is worked out, and worked out again; and again
#: once so many are remembered that a few change little.
KEPT: Final = 112
ENOUGH: Final = 16
LATER: Final = 48
#: The part of the calls that use no more than the estimate.
QUANTILE: Final = 0.95
#: An estimate that differs from the one before by less than this part is not worth a change.
_ALIKE: Final = 0.02


class Sizes:
    """What recent calls used, oldest first; input and output apart, as they are learned from."""

    __slots__ = ("given", "made")

    def __init__(self) -> None:
        self.given: list[int] = []
        self.made: list[int] = []

    def __len__(self) -> int:
        return len(self.given)

    def add(self, given: Iterable[int], made: Iterable[int]) -> None:
        """Some calls: the input of each, the output of each."""
        self.given += given
        self.made += made

    def forget(self) -> None:
        """All but those that are to be kept."""
        del self.given[:-KEPT], self.made[:-KEPT]


def learn(recent: Sizes) -> Tokens:
    """The quantile of the input and of the output of recent calls; none of it from a cache.

    Args:
        recent: at least one call.
    """
    place = min(len(recent) - 1, int(len(recent) * QUANTILE))
    return sorted(recent.given)[place], sorted(recent.made)[place], 0, 0, 0


def is_alike(one: Tokens, other: Tokens) -> bool:
    """Whether two estimates are about the same."""
    before = one[0] + one[1]
    return abs(other[0] + other[1] - before) <= _ALIKE * before


def at_most(estimate: Tokens, output: int) -> Tokens:
    """The estimate for a call that may have so much output at most."""
    return estimate[0], min(estimate[1], output), 0, 0, 0
