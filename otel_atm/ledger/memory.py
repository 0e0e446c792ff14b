"""The ledger of one process, in memory. It starts at zero."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from otel_atm.budget import Budget
from otel_atm.ledger.account import Account
from otel_atm.ledger.book import Book, open_book
from otel_atm.ledger.ledger import (
    Amounts,
    Balance,
    Crossing,
    Hold,
    Key,
    Line,
    LooseHold,
    Shortage,
    Summary,
)

#: How many books are kept of budgets that count otherwise now.
_MOST_SHELVED: Final = 64


class MemoryClaim:
    """A claim on accounts as of their current windows; looked up again when one of them begins.

    Attributes:
        held: each account, where its unit stands in amounts, and what it is asked for.
        until_ns: when the first of the windows ends.
        turn: the ledger's, when the accounts were looked up.
    """

    __slots__ = ("books", "held", "lines", "turn", "until_ns")

    def __init__(self, lines: tuple[Line, ...], books: tuple[Book, ...]) -> None:
        self.lines, self.books = lines, books
        self.held: Sequence[tuple[Account, int, int]] = ()
        self.until_ns, self.turn = 0, -1


class MemoryLedger:
    """See `otel_atm.ledger.Ledger`. Cost does not depend on the number of payers or budgets.

    Its lock may be taken again by the thread that has it: the garbage collector may close an
    abandoned stream, and so settle its call, wherever something is allocated, in here too. What
    reads and writes an account calls nothing in between.
    """

    def __init__(self) -> None:
        self._books: dict[object, Book] = {}  # identity of a budget → its book
        # How a budget counted that counts otherwise now → its book: it may come back.
        self._shelf: dict[object, Book] = {}
        self._turn = 0  # counts what makes claims look up their accounts again
        self._lock = threading.RLock()

    @property
    def unbacked(self) -> int:
        """See `Ledger.unbacked`. Memory is always there."""
        return 0

    def use(self, budgets: Iterable[Budget]) -> None:
        """See `Ledger.use`."""
        with self._lock:
            for budget in budgets:
                book = self._books.get(budget.identity)
                if book is None or not counts_alike(book.budget, budget):
                    if book is not None:
                        self._shelf[_counts(book.budget)] = book
                    book = self._shelf.pop(_counts(budget), None) or self._open_book(budget)
                    self._books[budget.identity] = book
                book.replace(budget)
            for oldest in list(self._shelf)[:-_MOST_SHELVED]:
                del self._shelf[oldest]
            self._turn += 1

    def claim(self, lines: Sequence[Line]) -> MemoryClaim:
        """See `Ledger.claim`."""
        with self._lock:
            return MemoryClaim(tuple(lines), tuple([self._book(line[0][0]) for line in lines]))

    def admit(self, claim: MemoryClaim, now_ns: int) -> Hold | Shortage:
        """See `Ledger.admit`."""
        self._lock.acquire()  # `with` takes twice as long, in here and in `settle`
        try:
            if now_ns >= claim.until_ns or claim.turn != self._turn:
                self._renew(claim, now_ns)
            held = claim.held
            for account, _, amount in held:
                spent = account.spent + amount
                if spent > account.credit:
                    self._undo([(one, more) for one, _, more in held], account)
                    return _admit_tightly(claim, now_ns)
                account.spent = spent
        finally:
            self._lock.release()
        return held

    def exchange(self, hold: Hold, claim: MemoryClaim, now_ns: int) -> Hold | None:
        """See `Ledger.exchange`."""
        self._lock.acquire()
        try:
            if now_ns >= claim.until_ns or claim.turn != self._turn:
                self._renew(claim, now_ns)
            held = claim.held
            if len(hold) != len(held):
                return None
            for (before, _, old), (account, _, new) in zip(hold, held, strict=True):
                spent = account.spent + new - old
                if spent > account.credit or account is not before:
                    self._undo(changes(hold, held), account)
                    return None
                account.spent = spent
        finally:
            self._lock.release()
        return held

    def amend(self, hold: Hold, amounts: Sequence[int], now_ns: int) -> Hold | Shortage:
        """See `Ledger.amend`."""
        with self._lock:
            answer = _fit_again(hold, amounts, now_ns)
            if not isinstance(answer, Shortage):
                for (account, _, before), (_, _, after) in zip(hold, answer, strict=True):
                    _hold_more(account, after - before)
        return answer

    def settle(self, hold: Hold, used: Amounts) -> Sequence[Crossing]:
        """See `Ledger.settle`."""
        crossings: Sequence[Crossing] = ()
        self._lock.acquire()
        try:
            for account, unit, held in hold:
                charge = used[unit]
                account.spent += charge - held
                settled = account.settled + charge
                account.settled = settled
                if settled > account.watch:
                    account.carry(held - charge)
                    crossings = [*crossings, *account.look(charge)]
        finally:
            self._lock.release()
        return crossings

    def correct(self, hold: Hold, before: Amounts, used: Amounts) -> None:
        """See `Ledger.correct`."""
        with self._lock:
            for account, unit, _ in hold:
                more = used[unit] - before[unit]
                account.spent += more
                account.settled += more
                account.carry(-more)
                account.look(more)

    def charge(self, claim: MemoryClaim, now_ns: int) -> Hold:
        """See `Ledger.charge`."""
        with self._lock:
            self._renew(claim, now_ns)
            return [(account, unit, 0) for account, unit, _ in claim.held]

    def look(self, claim: MemoryClaim, now_ns: int) -> list[Balance]:
        """See `Ledger.look`."""
        with self._lock:
            self._renew(claim, now_ns)
            return [account.balance() for account, _, _ in claim.held]

    def balances(self, now_ns: int) -> list[Balance]:
        """See `Ledger.balances`. Accounts whose window is over are left out."""
        return [account.balance() for _, accounts in self._current(now_ns) for account in accounts]

    def summaries(self, now_ns: int) -> list[Summary]:
        """See `Ledger.summaries`."""
        return [book.summary(accounts) for book, accounts in self._current(now_ns)]

    def grant(self, key: Key, amount: int, now_ns: int) -> None:
        """See `Ledger.grant`."""
        with self._lock:
            self._account(key, now_ns).grant(amount)

    def reset(self, key: Key, now_ns: int) -> None:
        """See `Ledger.reset`."""
        with self._lock:
            self._account(key, now_ns)
            self._book(key.budget).forget(key.values)
            self._turn += 1

    def exempt(self, key: Key, until_ns: int, now_ns: int) -> None:
        """See `Ledger.exempt`."""
        with self._lock:
            self._account(key, now_ns)
            self._book(key.budget).exempt(key.values, until_ns if until_ns > now_ns else 0)
            self._turn += 1

    def on_stop(self, tell: Callable[[bool], None]) -> None:
        """See `Ledger.on_stop`. Operators reach only ledgers in files; see `Handle.stop`."""

    def on_alert(self, tell: Callable[[Sequence[Crossing]], None]) -> None:
        """See `Ledger.on_alert`. There are no other processes."""

    def after_fork(self) -> None:
        """See `Ledger.after_fork`. What was settled stays: a child has its parent's past."""
        self._lock = threading.RLock()
        for book in self._every_book():
            for account in book.all():
                for one in account.counting:
                    _hold_more(one, one.settled - one.spent)
        self._turn += 1

    def close(self) -> None:
        """See `Ledger.close`. Nobody else knows of it."""

    def _current(self, now_ns: int) -> list[tuple[Book, list[Account]]]:
        """The accounts of each book that count now."""
        with self._lock:  # not for long: there may be very many
            for book in self._books.values():
                self._turn_book(book, now_ns)
            return [(book, list(book.all())) for book in self._books.values()]

    def _every_book(self) -> list[Book]:
        """Also those of budgets that count otherwise now."""
        return [*self._books.values(), *self._shelf.values()]

    def _account(self, key: Key, now_ns: int) -> Account:
        book = self._book(key.budget)
        self._turn_book(book, now_ns)
        return book.account(key.values)

    def _book(self, budget: Budget) -> Book:
        book = self._books.get(budget.identity)
        if book is not None and book.budget is budget:
            return book
        if book is None:
            book = self._books[budget.identity] = self._open_book(budget)
        # Of a call that began when this budget counted otherwise: it changes nothing any more.
        return book if counts_alike(book.budget, budget) else self._open_book(budget)

    def _open_book(self, budget: Budget) -> Book:
        return open_book(budget)

    def _turn_book(self, book: Book, now_ns: int) -> None:
        if now_ns >= book.until_ns:  # windows never go backwards, even if the clock does
            book.turn(now_ns)
            self._turn += 1

    def _undo(self, added: Iterable[tuple[Account, int]], stop: Account) -> None:
        """Take back what was added to these accounts, but for the one that had no room and on."""
        for account, more in added:
            if account is stop:
                return
            self._add_spent(account, -more)

    def _add_spent(self, account: Account, more: int) -> None:
        account.spent += more

    def _renew(self, claim: MemoryClaim, now_ns: int) -> None:
        for book in claim.books:
            self._turn_book(book, now_ns)
        # A new list each time: open holds keep theirs.
        claim.held = [
            (book.account(line.key.values), line.unit, line.amount)
            for book, line in zip(claim.books, claim.lines, strict=True)
        ]
        claim.turn = self._turn
        claim.until_ns = min([0 if book.each_call else book.until_ns for book in claim.books])


def counts_alike(one: Budget, other: Budget) -> bool:
    """Whether spend under one budget is spend under the other."""
    return _counts(one) == _counts(other)


def _counts(budget: Budget) -> tuple[object, ...]:
    """Whose spend it is, and how it is counted."""
    return (
        budget.identity,
        budget.unit,
        budget.clock,
        budget.by,
        budget.match,
        budget.weights,
    )


def _admit_tightly(claim: MemoryClaim, now_ns: int) -> Hold | Shortage:
    """Where a claim does not fit: the last call alone, a budget that does not block, or nothing."""
    lines = [(*held, line.exact) for held, line in zip(claim.held, claim.lines, strict=True)]
    fitting = [
        (account, unit, account.fit(amount, exact=exact)) for account, unit, amount, exact in lines
    ]
    short = [
        account.shortage(amount, exact=exact, now_ns=now_ns)
        for (account, _, amount, exact), (_, _, fit) in zip(lines, fitting, strict=True)
        if fit is None
    ]
    if short:
        return max(short, key=lambda shortage: shortage.balance.period.end_ns)
    hold = LooseHold((account, unit, fit[0]) for account, unit, fit in fitting if fit)
    hold.over = tuple(account.balance() for account, _, fit in fitting if fit and fit[1])
    for account, _, amount in hold:
        account.spent += amount
    return hold if hold.over else list(hold)


def _fit_again(hold: Hold, amounts: Sequence[int], now_ns: int) -> Hold | Shortage:
    """The hold with other amounts, if they fit."""
    for (account, _, before), amount in zip(hold, amounts, strict=True):
        latest: Account = account.latest
        if amount > before and latest.fit(amount - before, exact=True) is None:
            return latest.shortage(amount, exact=True, now_ns=now_ns)
    return [
        (account, unit, amount) for (account, unit, _), amount in zip(hold, amounts, strict=True)
    ]


def _hold_more(account: Account, amount: int) -> None:
    """Hold so much more, or less."""
    account.spent += amount
    account.carry(-amount)


def changes(hold: Hold, held: Hold) -> list[tuple[Account, int]]:
    """How much more is held of each account by the other of two holds on the same ones."""
    return [(account, new - old) for (_, _, old), (account, _, new) in zip(hold, held, strict=True)]
