"""Pace: how fast a process spends, and how soon it may ask again after it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_atm.ledger.leased_account import LeasedAccount

#: Over how many seconds spending is averaged, at least.
_SPAN_S: Final = 0.2
#: After a refusal, for so many seconds the store is not asked; twice as long each time.
_FIRST_BACK_OFF_S: Final = 0.005
_LAST_BACK_OFF_S: Final = 0.25


class Pace:
    """How fast an account spends.

    Attributes:
        burn: per second; 0 until something is known.
        active_at: when spending was seen last, in seconds.
    """

    __slots__ = ("_at", "_spent", "active_at", "burn")

    def __init__(self, burn: float = 0.0) -> None:
        self.burn = burn
        self.active_at = self._at = 0.0
        self._spent = 0

    def again(self) -> Pace:
        """Of the same payer in the next window."""
        return Pace(self.burn)

    def measure(self, spent: int, now: float) -> None:
        """Look at what was spent up to now."""
        if not self._at:
            self._at, self._spent, self.active_at = now, spent, now
            return
        if spent != self._spent:
            self.active_at = now
        passed = now - self._at
        if passed >= _SPAN_S:
            rate = max(0, spent - self._spent) / passed
            self.burn = (self.burn + rate) / 2 if self.burn else rate
            self._at, self._spent = now, spent


class Denial:
    """That the store has refused something, and for how long that is good.

    It lifts with time, when less is asked for, and, for an estimate that would take what is left
    alone, when a call of this account ends.
    """

    __slots__ = ("_after", "_back_off_s", "_settled", "_until")

    def __init__(self) -> None:
        self._after = self._settled = 0
        self._until = self._back_off_s = 0.0

    def lift(self) -> None:
        """Ask again."""
        self._until = self._back_off_s = 0.0

    def note(self, account: LeasedAccount, amount: int, now: float) -> None:
        """It was refused."""
        self._after, self._settled = account.spent + amount, account.settled
        self._back_off_s = min(max(_FIRST_BACK_OFF_S, 2 * self._back_off_s), _LAST_BACK_OFF_S)
        self._until = now + self._back_off_s

    def holds(self, account: LeasedAccount, amount: int, now: float, *, exact: bool) -> bool:
        """Whether it would be refused again."""
        if now >= self._until or account.spent + amount < self._after:
            return False
        return exact or account.spent != account.settled or account.settled == self._settled
