"""Stores: what keeps the count of each user and period, and what those promise that can hold."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

T = TypeVar("T")
#: What a method answers, be it async or not.
Maybe: TypeAlias = T | Awaitable[T]


@runtime_checkable
class QuotaStore(Protocol):
    """Keeps how many tokens each user has used in each period. Its methods may be async."""

    def get_usage(self, user_id: str, period_key: str) -> Maybe[int]:
        """How many tokens the user has used in the period; 0 for one that is not known."""
        ...

    def add_usage(self, user_id: str, period_key: str, tokens: int) -> Maybe[None]:
        """Add tokens, at least 1, to what the user has used in the period."""
        ...


class Full(NamedTuple):
    """A store's answer where a call does not fit. Nothing is held.

    Attributes:
        used: what the user has used in the period.
        held: what calls in flight hold besides.
    """

    used: int
    held: int


@runtime_checkable
class HoldingQuotaStore(QuotaStore, Protocol):
    """A store that holds tokens for calls in flight: one atomic step for all who share it."""

    def reserve(
        self, user_id: str, period_key: str, tokens: int, quota_tokens: int
    ) -> Maybe[Any | Full]:
        """Hold tokens for a call, if they fit into the quota.

        See `fits` for what fits.

        Returns:
            What `settle` is to be called with; or `Full`.
        """
        ...

    def settle(self, hold: Any, tokens: int) -> Maybe[int]:
        """Charge tokens in the place of what is held, however late; 0: nothing was used.

        Returns:
            What the user has used in the period now.
        """
        ...


def fits(used: int, held: int, tokens: int, quota_tokens: int) -> bool:
    """Whether a call may go out.

    The amount is an estimate, so the last call goes out alone with what is left.

    Args:
        used: by calls that are over.
        held: for calls in flight.
        tokens: that the call will probably use.
        quota_tokens: the most that may be used.

    >>> fits(9_900, 0, 500, 10_000), fits(9_900, 500, 500, 10_000), fits(10_000, 0, 1, 10_000)
    (True, False, False)
    """
    if used >= quota_tokens:
        return False
    return held == 0 or used + held + tokens <= quota_tokens
