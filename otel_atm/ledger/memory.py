"""The ledger of one process, in memory. It starts at zero."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Final

from otel_atm.budget_text import UNITS
from otel_atm.ledger.ledger import REQUESTS, Amounts, Balance, Hold, Key, Shortage
from otel_atm.window import Period, period_at

_NEVER_NS: Final = 1 << 63


class Account:
    """What one key spent in one window.

    Attributes:
        key: of the account.
        limit: of the budget, in its unit.
        charged: settled + held, so that one comparison decides.
        unit: where its unit stands in `Amounts`.
    """

    __slots__ = ("charged", "key", "limit", "period", "settled", "unit")

    def __init__(self, period: Period) -> None:
        self.period = period
        self.charged = self.settled = 0

    def belong_to(self, key: Key) -> None:
        """Take the limit of the key's budget, which may be new; what was spent stays."""
        self.key, self.limit = key, key.budget.limit
        self.unit = UNITS.index(key.budget.unit)

    def balance(self) -> Balance:
        """As it stands."""
        return Balance(self.key, self.settled, self.charged - self.settled, self.period)


class MemoryAccounts:
    """Accounts as of their current windows; they are looked up again when the first one ends."""

    __slots__ = ("keys", "open", "until_ns")

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = keys
        self.open: list[Account] = []
        self.until_ns = _NEVER_NS if not keys else 0


class _Book:
    """All accounts of one budget in its current window.

    A new window starts a new dict: the accounts of the old one live on only in open holds, so
    memory is bounded by the payers of one window.
    """

    __slots__ = ("accounts", "period")

    def __init__(self) -> None:
        self.period = Period(0, 0)
        self.accounts: dict[tuple[str, ...], Account] = {}

    def account(self, key: Key, now_ns: int) -> Account:
        if now_ns >= self.period.end_ns:  # windows never go backwards, even if the clock does
            self.period, self.accounts = period_at(key.budget.window, now_ns), {}
        account = self.accounts.get(key.values)
        if account is None:
            account = self.accounts[key.values] = Account(self.period)
        account.belong_to(key)
        return account


class MemoryLedger:
    """See `otel_atm.ledger.Ledger`. Cost does not depend on the number of payers or budgets.

    Args:
        clock: nanoseconds since the Unix epoch.
    """

    def __init__(self, clock: Callable[[], int] = time_ns) -> None:
        self._clock = clock
        self._books: dict[object, _Book] = {}  # identity of a budget → its book
        self._lock = threading.Lock()

    def accounts(self, keys: Sequence[Key]) -> MemoryAccounts:
        """See `Ledger.accounts`."""
        return MemoryAccounts(tuple(keys))

    def admit(self, accounts: MemoryAccounts, need: Amounts) -> Hold | Shortage:
        """See `Ledger.admit`."""
        now_ns = self._clock()
        with self._lock:
            if now_ns >= accounts.until_ns:
                self._renew(accounts, now_ns)
            current = accounts.open
            amounts = []
            for account in current:
                amount, room = need[account.unit], account.limit - account.charged
                if amount > room:
                    amount = _last_call(account, amount, room)
                    if not amount:
                        return _shortage(current, need, now_ns)
                amounts.append(amount)
            for account, amount in zip(current, amounts, strict=True):
                account.charged += amount
        return Hold(current, amounts)

    def settle(self, hold: Hold, used: Amounts) -> None:
        """See `Ledger.settle`."""
        charges = []
        with self._lock:
            for account, held in zip(hold.accounts, hold.amounts, strict=True):
                charge = used[account.unit]
                account.charged += charge - held
                account.settled += charge - held if hold.settled else charge
                charges.append(charge)
            hold.amounts, hold.settled = charges, True

    def charge(self, accounts: MemoryAccounts, used: Amounts) -> Hold:
        """See `Ledger.charge`."""
        now_ns = self._clock()
        with self._lock:
            if now_ns >= accounts.until_ns:
                self._renew(accounts, now_ns)
            hold = Hold(accounts.open, [0] * len(accounts.open))
        self.settle(hold, used)
        return hold

    def balances(self) -> list[Balance]:
        """See `Ledger.balances`. Accounts whose window is over are left out."""
        now_ns = self._clock()
        with self._lock:
            return [
                account.balance()
                for book in self._books.values()
                if now_ns < book.period.end_ns
                for account in book.accounts.values()
            ]

    def after_fork(self) -> None:
        """See `Ledger.after_fork`. What was settled stays: a child has its parent's past."""
        self._lock = threading.Lock()
        for book in self._books.values():
            for account in book.accounts.values():
                account.charged = account.settled

    def _renew(self, accounts: MemoryAccounts, now_ns: int) -> None:
        books = [self._books.setdefault(key.budget.identity, _Book()) for key in accounts.keys]
        # A new list: open holds keep the old one.
        accounts.open = [
            book.account(key, now_ns) for book, key in zip(books, accounts.keys, strict=True)
        ]
        accounts.until_ns = min(book.period.end_ns for book in books)


def _last_call(account: Account, amount: int, room: int) -> int:
    """What to hold where `amount` is more than the `room`; 0: refuse."""
    if account.unit == REQUESTS:
        return 0
    if amount > account.limit <= room:  # an estimate is never more than the limit
        return account.limit
    return room if room > 0 and account.charged == account.settled else 0


def _shortage(accounts: Sequence[Account], need: Amounts, now_ns: int) -> Shortage:
    short = [
        account
        for account in accounts
        if need[account.unit] > account.limit - account.charged
        and not _last_call(account, need[account.unit], account.limit - account.charged)
    ]
    last = max(short, key=lambda account: account.period.end_ns)
    return Shortage(last.balance(), min(need[last.unit], last.limit), now_ns)
