"""The ledger of one process, in memory. It starts at zero."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import time_ns

from otel_atm.budget import Budget
from otel_atm.budget_text import UNITS
from otel_atm.ledger.ledger import (
    NO_AMOUNTS,
    REQUESTS,
    Amounts,
    Balance,
    Hold,
    Key,
    Shortage,
    Summary,
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

    def limit_by(self, budget: Budget) -> None:
        """Take the limit of a budget of the same identity; what was spent stays."""
        self.room += budget.limit - self.key.budget.limit
        self.key = self.key._replace(budget=budget)

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


class _Book:
    """All accounts of one budget in its current window.

    A new window starts a new dict: the accounts of the old one live on only in open holds, so
    memory is bounded by the payers of one window.
    """

    __slots__ = ("accounts", "budget", "period")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.period = Period(0, 0)
        self.accounts: dict[tuple[str, ...], Account] = {}

    def limit_by(self, budget: Budget) -> None:
        """Take the limit of a budget of the same identity."""
        self.budget = budget
        for account in self.accounts.values():
            account.limit_by(budget)

    def account(self, values: tuple[str, ...]) -> Account:
        account = self.accounts.get(values)
        if account is None:
            key = Key(self.budget, values)
            account = self.accounts[values] = Account(key, self.period)
        return account


class MemoryAccounts:
    """Accounts as of their current windows; they are looked up again when a window begins.

    Attributes:
        until_ns: when the first of their windows ends.
        turn: the ledger's, when they were looked up.
        held: the accounts, each with what it holds of `need`: most calls need the same.
    """

    __slots__ = ("books", "held", "keys", "need", "turn", "until_ns")

    def __init__(self, keys: tuple[Key, ...], books: tuple[_Book, ...]) -> None:
        self.keys, self.books = keys, books
        self.until_ns, self.turn = 0, -1
        self.need = NO_AMOUNTS
        self.held: Sequence[tuple[Account, int]] = ()


class MemoryLedger:
    """See `otel_atm.ledger.Ledger`. Cost does not depend on the number of payers or budgets.

    Its lock may be taken again by the thread that has it: the garbage collector may close an
    abandoned stream, and so settle its call, wherever something is allocated, in here too. What
    reads and writes an account does so in one line, in which nothing is allocated.

    Args:
        clock: nanoseconds since the Unix epoch.
    """

    def __init__(self, clock: Callable[[], int] = time_ns) -> None:
        self._clock = clock
        self._books: dict[object, _Book] = {}  # identity of a budget → its book
        self._turn = 0  # counts the windows that have begun: none of them begins twice
        self._lock = threading.RLock()

    def accounts(self, keys: Sequence[Key]) -> MemoryAccounts:
        """See `Ledger.accounts`."""
        with self._lock:
            return MemoryAccounts(tuple(keys), tuple(self._book(key.budget) for key in keys))

    def admit(self, accounts: MemoryAccounts, need: Amounts) -> Hold | Shortage:
        """See `Ledger.admit`."""
        now_ns = self._clock()
        self._lock.acquire()  # `with` takes twice as long, in here and in `settle`
        try:
            if (
                now_ns >= accounts.until_ns
                or accounts.turn != self._turn
                or accounts.need is not need
            ):
                self._renew(accounts, need, now_ns)
            held = accounts.held
            for account, amount in held:
                room = account.room - amount
                if room < 0:
                    _take_back(held, account)
                    return _admit_tightly(held, need, now_ns)
                account.room = room
        finally:
            self._lock.release()
        return held

    def settle(self, hold: Hold, used: Amounts, total: Total) -> None:
        """See `Ledger.settle`."""
        self._lock.acquire()
        try:
            for account, held in hold:
                charge = used[account.unit]
                account.room += held - charge
                account.settled += charge
            total.calls += 1
            total.input_tokens += used[1]
            total.output_tokens += used[2]
        finally:
            self._lock.release()

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
        return [account.balance() for _, accounts in self._current() for account in accounts]

    def summaries(self) -> list[Summary]:
        """See `Ledger.summaries`."""
        return [_summary(budget, accounts) for budget, accounts in self._current() if accounts]

    def _current(self) -> list[tuple[Budget, list[Account]]]:
        """The accounts of each budget whose window is not over."""
        now_ns = self._clock()
        with self._lock:  # not for long: there may be very many
            return [
                (book.budget, list(book.accounts.values()))
                for book in self._books.values()
                if now_ns < book.period.end_ns
            ]

    def after_fork(self) -> None:
        """See `Ledger.after_fork`. What was settled stays: a child has its parent's past."""
        self._lock = threading.RLock()
        for book in self._books.values():
            for account in book.accounts.values():
                account.room += account.held

    def _book(self, budget: Budget) -> _Book:
        book = self._books.get(budget.identity)
        if book is None or not _counts_alike(book.budget, budget):
            book = self._books[budget.identity] = _Book(budget)
        elif book.budget.limit != budget.limit:
            book.limit_by(budget)
            self._turn += 1
        return book

    def _renew(self, accounts: MemoryAccounts, need: Amounts, now_ns: int) -> None:
        for book in accounts.books:
            if now_ns >= book.period.end_ns:  # windows never go backwards, even if the clock does
                book.period, book.accounts = period_at(book.budget.window, now_ns), {}
                self._turn += 1
        # A new list each time: open holds keep theirs.
        current = [
            book.account(key.values)
            for book, key in zip(accounts.books, accounts.keys, strict=True)
        ]
        accounts.held = [(account, account.capped(need)) for account in current]
        accounts.need, accounts.turn = need, self._turn
        accounts.until_ns = min(book.period.end_ns for book in accounts.books)


def _summary(budget: Budget, accounts: Sequence[Account]) -> Summary:
    limit = budget.limit
    left = [account.room for account in accounts]
    used = [account.settled for account in accounts]
    held = max(limit - room - settled for room, settled in zip(left, used, strict=True))
    exhausted = sum(room <= 0 for room in left)
    return Summary(budget, max(used), held, limit - min(left), len(accounts), exhausted)


def _counts_alike(one: Budget, other: Budget) -> bool:
    """Whether spend under one budget is spend under the other: all but the limit is the same."""
    return (one.unit, one.window, one.by, one.match) == (
        other.unit,
        other.window,
        other.by,
        other.match,
    )


def _admit_tightly(
    current: Sequence[tuple[Account, int]], need: Amounts, now_ns: int
) -> Hold | Shortage:
    """Where `need` does not fit: the last call alone, or nothing."""
    held = [(account, account.room_for(need)) for account, _ in current]
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
