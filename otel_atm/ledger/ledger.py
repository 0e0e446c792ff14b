"""What every ledger promises: hold, then settle.

``admit`` holds an amount under all of a call's accounts, or under none. ``settle`` replaces the
hold by what was used, in the windows that admitted it, however late. In every window, charged =
settled + held, and what `admit` lets in never takes an account past its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from otel_atm.budget import Budget
from otel_atm.budget_text import UNITS
from otel_atm.window import Period

#: One amount for each unit, in the order of UNITS: tokens, input_tokens, output_tokens, requests.
Amounts = tuple[int, int, int, int]
NO_AMOUNTS: Final[Amounts] = (0, 0, 0, 0)
#: Where the requests stand in `Amounts`.
REQUESTS: Final = UNITS.index("requests")


class Key(NamedTuple):
    """What an account is kept for: a budget, and the payer's value of each of its `by` keys."""

    budget: Budget
    values: tuple[str, ...]


class Accounts(Protocol):
    """The accounts that calls of one kind draw on. Made by a ledger, for that ledger."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of the accounts, in the order of all amounts."""
        ...


A = TypeVar("A", bound=Accounts)


#: What is held for one call: (account, amount in its unit) of each, in the windows that admitted
#: it. The accounts are the ledger's own; equal holds may be one object.
Hold = Sequence[tuple[Any, int]]


class Total:
    """Sums of calls that have something in common; they only ever rise.

    Kept by the ledger since they are added to whenever it settles, under the same lock.
    """

    __slots__ = ("calls", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.calls = self.input_tokens = self.output_tokens = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """One account at one moment, in the budget's unit.

    Attributes:
        used: settled in this window.
        held: held for calls in flight.
        period: the window.
    """

    key: Key
    used: int
    held: int
    period: Period

    @property
    def limit(self) -> int:
        """Of the budget, for one window."""
        return self.key.budget.limit


@dataclass(frozen=True, slots=True)
class Summary:
    """All accounts of one budget in its current window, in the budget's unit.

    Attributes:
        used: settled; the largest.
        held: for calls in flight; the largest.
        spent: used + held; the largest.
        payers: how many accounts there are.
        exhausted: how many of them have nothing left.
    """

    budget: Budget
    used: int
    held: int
    spent: int
    payers: int
    exhausted: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a call was not admitted. Nothing was held.

    Attributes:
        balance: of the account that is short; of several, the one whose window ends last.
        requested: what the call would have held there.
        now_ns: when this was decided.
    """

    balance: Balance
    requested: int
    now_ns: int


class Ledger(Protocol[A]):
    """Holds, settles and tells. Safe to call from any thread."""

    def accounts(self, keys: Sequence[Key]) -> A:
        """The accounts of these keys, opened as they are first needed."""
        ...

    def admit(self, accounts: A, need: Amounts) -> Hold | Shortage:
        """Hold `need` under every account, or nothing at all: one atomic step.

        `need` is an estimate. It is cut to the limit of an account; where it does not fit, it is
        admitted alone with what is left, if something is left and nothing is in flight on that
        account (not for requests, which are known).
        """
        ...

    def settle(self, hold: Hold, used: Amounts, total: Total) -> None:
        """Charge `used` in the place of what is held, and add the call to a total."""
        ...

    def correct(self, hold: Hold, before: Amounts, used: Amounts, total: Total) -> None:
        """Charge `used` in the place of `before`, with which the hold was settled.

        The total, which cannot fall, gets what was missing.
        """
        ...

    def charge(self, accounts: A) -> Hold:
        """A hold of nothing in the current windows, for what is spent already: never refused."""
        ...

    def balances(self) -> list[Balance]:
        """Every account that was used in its current window."""
        ...

    def summaries(self) -> list[Summary]:
        """Each budget that was used in its current window. Quick, however many payers it has."""
        ...

    def after_fork(self) -> None:
        """In a forked child: renew locks, drop the holds, which are the parent's."""
        ...
