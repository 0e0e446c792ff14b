"""What every ledger promises: hold, then settle.

``admit`` holds an amount under all of a call's accounts, or under none. ``settle`` replaces the
hold by what was used, in the windows that admitted it, however late. In every window, spent =
settled + held, and what `admit` lets in never takes an account past its limit, but where the
budget's own action says so.

A ledger reads no clock: the time is given to it, in nanoseconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from otel_atm.budget import Budget
from otel_atm.budget_text import UNITS
from otel_atm.window import Period

#: One amount for each unit, in the order of UNITS (money in micro-USD); then one for each set of
#: weights that the budgets in force have. Only as long as the accounts at hand need.
Amounts = tuple[int, ...]
#: Where requests and money stand in `Amounts`.
REQUESTS: Final = UNITS.index("requests")
MONEY: Final = UNITS.index("usd")


class Key(NamedTuple):
    """What an account is kept for: a budget, and the payer's value of each of its `by` keys.

    The values of a budget per trace or session end with the trace's or the session's id.
    """

    budget: Budget
    values: tuple[str, ...]


def payer_keys(budget: Budget) -> tuple[str, ...]:
    """The keys that the values of a budget's accounts are of."""
    if budget.window == "trace" or (budget.window == "session" and "session" not in budget.by):
        return (*budget.by, budget.window)
    return budget.by


class Line(NamedTuple):
    """What a call asks of one account.

    Attributes:
        key: of the account.
        unit: where the account's unit stands in `Amounts`.
        amount: to hold, in that unit.
        exact: whether the amount is known. What is only estimated is admitted alone with what is
            left, where it does not fit, if something is left and nothing is in flight.
    """

    key: Key
    unit: int
    amount: int
    exact: bool = False


class Claim(Protocol):
    """What calls of one kind ask for; asked again and again. Made by a ledger, for that ledger."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """One for each account."""
        ...


C = TypeVar("C", bound=Claim)


#: What is held for one call: (account, where its unit stands in `Amounts`, amount) of each, in the
#: windows that admitted it. The accounts are the ledger's own; equal holds may be one object.
Hold = Sequence[tuple[Any, int, int]]


@dataclass(frozen=True, slots=True)
class Balance:
    """One account at one moment; amounts are the ledger's integers (see `Budget.shown`).

    Attributes:
        used: settled in this window.
        held: held for calls in flight.
        limit: of this account in this window: the budget's, and what was granted besides.
        period: the window; of a rolling one, until when what was spent first counts.
    """

    key: Key
    used: int
    held: int
    limit: int
    period: Period


class LooseHold(list[tuple[Any, int, int]]):
    """A hold that takes accounts past the limits of budgets that do not block there.

    Attributes:
        over: those accounts, as they stood before.
    """

    over: tuple[Balance, ...] = ()


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a call was not admitted. Nothing was held.

    Attributes:
        balance: of the account that is short; of several, the one whose window ends last.
        requested: what the call would have held there.
        now_ns: when this was decided.
        retry_ns: when it may fit, if nothing else is spent; None: never.
        reason: why it is refused whatever is left; None when it is the amount.
    """

    balance: Balance
    requested: int
    now_ns: int
    retry_ns: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Crossing:
    """An account has used so much that an alert is due; told once for each window.

    Attributes:
        balance: of the account.
        level: the fraction of the limit, as in the budget's `alert_at`.
    """

    balance: Balance
    level: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All accounts of one budget in its current window, in the ledger's integers.

    Attributes:
        used: settled; the largest.
        held: for calls in flight; the largest.
        spent: used + held; the largest.
        payers: how many accounts there are.
        alerted: how many of them are past their first alert and have something left.
        exhausted: how many of them have nothing left.
        overshoot: what was settled past limits, ever; it only rises.
    """

    budget: Budget
    used: int = 0
    held: int = 0
    spent: int = 0
    payers: int = 0
    alerted: int = 0
    exhausted: int = 0
    overshoot: int = 0


class Ledger(Protocol[C]):
    """Holds, settles and tells. Safe to call from any thread."""

    @property
    def unbacked(self) -> int:
        """How many calls were let in without its being able to tell whether they fit."""
        ...

    def use(self, budgets: Iterable[Budget]) -> None:
        """Count under these budgets from now on; what was spent under one that is kept stays.

        A budget is kept when its identity, and how it counts, is the same; its limit, action and
        alerts may be others.
        """
        ...

    def claim(self, lines: Sequence[Line]) -> C:
        """A claim on the accounts of these lines, which are opened as they are first needed.

        Their budgets are those in use; of others the count is kept for the claim alone.
        """
        ...

    def admit(self, claim: C, now_ns: int) -> Hold | Shortage:
        """Hold every line of a claim, or nothing at all: one atomic step.

        Returns:
            A hold; a `LooseHold` where a budget that does not block is past its limit.
        """
        ...

    def exchange(self, hold: Hold, claim: C, now_ns: int) -> Hold | None:
        """Hold a claim in the place of a hold on the same accounts: one atomic step, and quick.

        None: it is not as simple as that (another window has begun, there is no room), and the
        hold stays as it is. Then `settle` it, and `admit` the claim.
        """
        ...

    def amend(self, hold: Hold, amounts: Sequence[int], now_ns: int) -> Hold | Shortage:
        """Hold other amounts, one for each account, in the place of a hold: one atomic step.

        They are exact. Where one does not fit, the old hold stays as it is.
        """
        ...

    def settle(self, hold: Hold, used: Amounts) -> Sequence[Crossing]:
        """Charge `used` in the place of what is held; says which alerts are due."""
        ...

    def correct(self, hold: Hold, before: Amounts, used: Amounts) -> None:
        """Charge `used` in the place of `before`, with which the hold was settled."""
        ...

    def charge(self, claim: C, now_ns: int) -> Hold:
        """A hold of nothing in the current windows, for what is spent already: never refused."""
        ...

    def look(self, claim: C, now_ns: int) -> list[Balance]:
        """The accounts of a claim, as they stand."""
        ...

    def balances(self, now_ns: int) -> list[Balance]:
        """Every account that was used in its current window."""
        ...

    def summaries(self, now_ns: int) -> list[Summary]:
        """Each budget that was used in its current window. Quick, however many payers it has."""
        ...

    def grant(self, key: Key, amount: int, now_ns: int) -> None:
        """Let an account spend so much more (or, below 0, less) in its current window."""
        ...

    def reset(self, key: Key, now_ns: int) -> None:
        """Start an account's current window again at zero; open holds stay with the old count."""
        ...

    def exempt(self, key: Key, until_ns: int, now_ns: int) -> None:
        """Refuse an account nothing until then; what it spends is counted. 0 ends it."""
        ...

    def on_stop(self, tell: Callable[[bool], None]) -> None:
        """Have `tell` called when an operator stops all calls (True), or lets them go on."""
        ...

    def on_alert(self, tell: Callable[[Sequence[Crossing]], None]) -> None:
        """Have `tell` called with alerts that fall due outside of `settle`: by other processes."""
        ...

    def after_fork(self) -> None:
        """In a forked child: renew locks, drop the holds, which are the parent's."""
        ...

    def close(self) -> None:
        """Give back what others may use; what comes later is served all the same."""
        ...
