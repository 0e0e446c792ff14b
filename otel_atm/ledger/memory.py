"""The ledger of one process, in memory. It starts at zero."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import time_ns

from otel_atm.budget_text import UNITS
from otel_atm.ledger.ledger import (
    NO_AMOUNTS,
    REQUESTS,
    Amounts,
    Balance,
    Hold,
    Key,
    Shortage,
    Total,
)
from otel_atm.window import Period, period_at


class Account:
    """What one key spent in one window.

    Attributes:
        key: of the account.
        unit: where its budget's unit stands in `Amounts`.
        room: limit - settled - held, so that one comparison decides; below 0 after an overshoot.
        settled: what is spent.
    """

    __slots__ = ("key", "period", "room", "settled", "unit")

    def __init__(self, key: Key, period: Period) -> None:
        self.key, self.period = key, period
        self.unit = UNITS.index(key.budget.unit)
        self.room, self.settled = key.budget.limit, 0

    def belong_to(self, key: Key) -> None:
        """Take the limit of the key's budget, which may be new; what was spent stays."""
        self.room += key.budget.limit - self.key.budget.limit
        self.key, self.unit = key, UNITS.index(key.budget.unit)

    @property
    def held(self) -> int:
        """For calls in flight."""
        return self.key.budget.limit - self.room - self.settled

    def room_for(self, need: Amounts) -> int | None:
        """What can be held of an estimate; None: refuse.

        What does not fit is cut to what is left, if something is and nothing is in flight. Not for
        requests: they are known, not estimated.
        """
        amount = self.capped(need)
        if amount <= self.room:
            return amount
        alone = self.room > 0 and not self.held and self.unit != REQUESTS
        return self.room if alone else None

    def capped(self, need: Amounts) -> int:
        """Of an estimate, what this account looks at: never more than its limit."""
        return min(need[self.unit], self.key.budget.limit)

    def balance(self) -> Balance:
        """As it stands."""
        return Balance(self.key, self.settled, self.held, self.period)


class MemoryAccounts:
    """Accounts as of their current windows; they are looked up again when the first one ends.

    Attributes:
        open: the accounts.
        until_ns: when the first of their windows ends.
        held: `open`, each with what it holds of `need`: most calls need the same.
    """

    __slots__ = ("held", "keys", "need", "open", "until_ns")

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = keys
        self.open: list[Account] = []
        self.until_ns = 0
        self.need = NO_AMOUNTS
        self.held: Sequence[tuple[Account, int]] = ()


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
            account = self.accounts[key.values] = Account(key, self.period)
        elif account.key is not key:
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
            if now_ns >= accounts.until_ns or need is not accounts.need:
                self._renew(accounts, need, now_ns)
            held = accounts.held
            for account, amount in held:
                room = account.room - amount
                if room < 0:
                    _take_back(held, account)
                    return self._admit_tightly(accounts.open, need, now_ns)
                account.room = room
        return held

    def settle(self, hold: Hold, used: Amounts, total: Total) -> None:
        """See `Ledger.settle`."""
        with self._lock:
            for account, held in hold:
                charge = used[account.unit]
                account.room += held - charge
                account.settled += charge
            total.calls += 1
            total.input_tokens += used[1]
            total.output_tokens += used[2]

    def correct(self, hold: Hold, before: Amounts, used: Amounts, total: Total) -> None:
        """See `Ledger.correct`."""
        with self._lock:
            for account, _ in hold:
                more = used[account.unit] - before[account.unit]
                account.room -= more
                account.settled += more
            total.input_tokens += max(0, used[1] - before[1])
            total.output_tokens += max(0, used[2] - before[2])

    def charge(self, accounts: MemoryAccounts) -> Hold:
        """See `Ledger.charge`."""
        now_ns = self._clock()
        with self._lock:
            self._renew(accounts, NO_AMOUNTS, now_ns)
            return accounts.held

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
                account.room += account.held

    def _renew(self, accounts: MemoryAccounts, need: Amounts, now_ns: int) -> None:
        books = [self._books.setdefault(key.budget.identity, _Book()) for key in accounts.keys]
        accounts.open = [
            book.account(key, now_ns) for book, key in zip(books, accounts.keys, strict=True)
        ]
        accounts.until_ns = min(book.period.end_ns for book in books)
        accounts.need = need
        # A new list each time: open holds keep theirs.
        accounts.held = [(account, account.capped(need)) for account in accounts.open]

    def _admit_tightly(
        self, accounts: Sequence[Account], need: Amounts, now_ns: int
    ) -> Hold | Shortage:
        """Where `need` does not fit: the last call alone, or nothing."""
        held = [(account, account.room_for(need)) for account in accounts]
        short = [account for account, amount in held if amount is None]
        if short:
            last = max(short, key=lambda account: account.period.end_ns)
            return Shortage(last.balance(), last.capped(need), now_ns)
        for account, amount in held:
            account.room -= amount or 0
        return [(account, amount or 0) for account, amount in held]


def _take_back(held: Sequence[tuple[Account, int]], stop: Account) -> None:
    for account, amount in held:
        if account is stop:
            return
        account.room += amount
