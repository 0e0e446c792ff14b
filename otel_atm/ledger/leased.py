"""The ledger of several processes: each has credit, and admits calls within it by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.ledger.account import Account, period_of
from otel_atm.ledger.book import Book, CallBook, open_book
from otel_atm.ledger.desk import Desk, disown
from otel_atm.ledger.lease_store import LeaseStore, LedgerError, Standing
from otel_atm.ledger.leased_account import MOST, LeasedAccount
from otel_atm.ledger.leased_book import LeasedBook, LeasedLastingBook
from otel_atm.ledger.ledger import (
    Amounts,
    Balance,
    Crossing,
    Hold,
    Key,
    Shortage,
    Summary,
)
from otel_atm.ledger.memory import MemoryClaim, MemoryLedger, changes, counts_alike
from otel_atm.ledger.refill import Line, Refill
from otel_atm.ledger.ticker import Ticker
from otel_atm.ledger.upkeep import Upkeep
from otel_atm.trouble import Trouble

#: For how many seconds a new ledger waits for its store; calls never wait that long.
_OPENING_S: Final = 2.0


class LeasedLedger(MemoryLedger):
    """See `otel_atm.ledger.Ledger`: one for all processes that share a store.

    Most calls are admitted as a `MemoryLedger` does, within credit that the store has granted to
    this process (see `grants`); the rest wait for it. What the store does is never waited for
    with the ledger's lock.

    Args:
        store: what the processes share. It is closed with the ledger.
        timeout_s: for how many seconds a call waits at most, in all: for the store, and for others
            to give back what they do not use. Then each budget's `on_error` says what happens.
        mono: seconds of a clock that never goes back.
        sleep: waits so many seconds.
        note: told what failed: a short word, and the error.
        threaded: have a thread of our own call `tick`, from when it is first needed.

    Attributes:
        unbacked: how many calls were let in without credit, since the store could not be asked.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        timeout_s: float = 0.05,
        mono: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        note: Callable[[str, BaseException], None] | None = None,
        threaded: bool = True,
    ) -> None:
        super().__init__()
        self._store, self._note = store, note or Trouble().note
        self._desk = Desk(store, timeout_s, mono, self._note, self._known)
        self._lock = self._desk.lock
        self._refill = Refill(self._desk, sleep)
        self._upkeep = Upkeep(self._desk)
        self._tell_alerts: Callable[[Sequence[Crossing]], None] | None = None
        self._tell_stop: list[Callable[[bool], None]] = []
        self._stopped = False
        self._threaded = threaded
        self._ticker: Ticker | None = None
        try:
            store.open(_OPENING_S)
        except LedgerError as error:
            self._desk.fail(error)

    @property
    def unbacked(self) -> int:
        """How many calls were let in without credit, since the store could not be asked."""
        return self._refill.unbacked

    def use(self, budgets: Iterable[Budget]) -> None:
        """See `Ledger.use`."""
        super().use(budgets)
        with self._lock:
            self._desk.open_cells()

    # Calls --------------------------------------------------------------------------------------

    def admit(self, claim: MemoryClaim, now_ns: int) -> Hold | Shortage:
        """See `Ledger.admit`."""
        self._lock.acquire()
        try:
            if now_ns >= claim.until_ns or claim.turn != self._turn:
                self._renew(claim, now_ns)
            held, cells = claim.held, self._desk.values
            for account, _, amount in held:
                spent = account.spent + amount
                if spent > account.credit:
                    self._undo([(one, more) for one, _, more in held], account)
                    break
                account.spent = spent
                cells[account.cell] = spent
            else:
                return held
        finally:
            self._lock.release()
        self._see_to_ticks()
        return self._refill.hold(lambda: self._lines(claim, now_ns), now_ns)

    def exchange(self, hold: Hold, claim: MemoryClaim, now_ns: int) -> Hold | None:
        """See `Ledger.exchange`. Of credit that this process has."""
        self._lock.acquire()
        try:
            if now_ns >= claim.until_ns or claim.turn != self._turn:
                self._renew(claim, now_ns)
            held, cells = claim.held, self._desk.values
            if len(hold) != len(held):
                return None
            for (before, _, old), (account, _, new) in zip(hold, held, strict=True):
                spent = account.spent + new - old
                if spent > account.credit or account is not before:
                    self._undo(changes(hold, held), account)
                    return None
                account.spent = spent
                cells[account.cell] = spent
        finally:
            self._lock.release()
        return held

    def amend(self, hold: Hold, amounts: Sequence[int], now_ns: int) -> Hold | Shortage:
        """See `Ledger.amend`."""
        changes = [
            (account, unit, after - before, after)
            for (account, unit, before), after in zip(hold, amounts, strict=True)
        ]
        more: list[Line] = [
            (account, unit, change, True) for account, unit, change, _ in changes if change > 0
        ]
        if more:
            answer = self._refill.hold(lambda: more, now_ns)
            if isinstance(answer, Shortage):
                wanted = {account.key: after for account, _, _, after in changes}
                return replace(answer, requested=wanted[answer.balance.key])
        with self._lock:
            for account, _, change, _ in changes:
                if change < 0:
                    self._add_spent(account, change)
        return [(account, unit, after) for account, unit, _, after in changes]

    def settle(self, hold: Hold, used: Amounts) -> Sequence[Crossing]:
        """See `Ledger.settle`."""
        seen: list[tuple[Account, int, int]] | None = None
        self._lock.acquire()
        try:
            cells = self._desk.values
            for account, unit, held in hold:
                charge = used[unit]
                spent = account.spent + charge - held
                account.spent = spent
                settled = account.settled + charge
                account.settled = settled
                try:
                    cells[account.cell] = spent
                except ValueError:
                    cells[account.cell] = MOST  # more than a cell can say
                if settled > account.watch:
                    seen = [*(seen or ()), (account, charge, held)]
        finally:
            self._lock.release()
        return self._look_at(seen or []) if seen or self._desk.crossings else ()

    def correct(self, hold: Hold, before: Amounts, used: Amounts) -> None:
        """See `Ledger.correct`."""
        seen: list[tuple[Account, int, int]] = []
        with self._lock:
            for account, unit, _ in hold:
                more = used[unit] - before[unit]
                self._add_spent(account, more)
                account.settled += more
                seen.append((account, more, 0))
        self._look_at(seen)

    def _lines(self, claim: MemoryClaim, now_ns: int) -> list[Line]:
        """What a claim asks for, in the current windows; needs the lock."""
        self._take_turn()
        if now_ns >= claim.until_ns or claim.turn != self._turn:
            self._renew(claim, now_ns)
        return [
            (account, unit, amount, line.exact)
            for (account, unit, amount), line in zip(claim.held, claim.lines, strict=True)
        ]

    def _take_turn(self) -> None:
        """Have claims look up their accounts again, if the store has said so; needs the lock."""
        if self._desk.turned:
            self._desk.turned = False
            self._turn += 1

    def _add_spent(self, account: Any, more: int) -> None:
        self._desk.set_spent(account, account.spent + more)

    def _look_at(self, seen: list[tuple[Account, int, int]]) -> list[Crossing]:
        """After settling: what there is to tell."""
        crossings: list[Crossing] = []
        due: list[LeasedAccount] = []
        with self._lock:
            for account, charge, held in seen:
                if isinstance(account, LeasedAccount):
                    if self._is_due(account, charge):
                        due.append(account)
                else:
                    account.carry(held - charge)
                    crossings += account.look(charge)
        if due:
            self._see_to_ticks()
            self._upkeep.tell(due)
        return crossings + self._upkeep.take_crossings()

    def _is_due(self, account: LeasedAccount, charge: int) -> bool:
        """Whether the store may say that an alert is due; needs the lock."""
        if account.retired:
            return False
        try:
            self._desk.open(account)
        except LedgerError as error:
            self._desk.fail(error)
            return False
        account.page.book.overshoot += account.overshoot(charge)
        account.set_watch()
        return account.may_alert()

    # Looking ------------------------------------------------------------------------------------

    def look(self, claim: MemoryClaim, now_ns: int) -> list[Balance]:
        """See `Ledger.look`. Asks the store; without it, says what is known here."""
        with self._lock:
            self._desk.see(now_ns)
            accounts = [account for account, _, _, _ in self._lines(claim, now_ns)]
        self._upkeep.tell([each for each in accounts if isinstance(each, LeasedAccount)])
        with self._lock:
            return [account.balance() for account, _, _, _ in self._lines(claim, now_ns)]

    def balances(self, now_ns: int) -> list[Balance]:
        """See `Ledger.balances`. Asks the store; without it, says what is known here."""
        try:
            books = self._leased_books(now_ns)
            self._upkeep.tell()
            return [
                _balance(book, standing)
                for book in books
                for standing in self._store.standings(*book.place)
            ]
        except LedgerError as error:
            self._desk.fail(error)
            return super().balances(now_ns)

    def summaries(self, now_ns: int) -> list[Summary]:
        """See `Ledger.summaries`. Overshoot is of this process alone."""
        try:
            books = self._leased_books(now_ns)
            self._upkeep.tell()
            return [
                Summary(
                    book.budget,
                    *self._store.tally(*book.place, book.budget.cap, book.first_alert),
                    book.overshoot,
                )
                for book in books
            ]
        except LedgerError as error:
            self._desk.fail(error)
            return super().summaries(now_ns)

    def _leased_books(self, now_ns: int) -> list[LeasedBook]:
        with self._lock:
            self._desk.see(now_ns)
            books = [book for book in self._books.values() if isinstance(book, LeasedBook)]
            for book in books:
                self._turn_book(book, now_ns)
            return books

    # Operators ----------------------------------------------------------------------------------

    def grant(self, key: Key, amount: int, now_ns: int) -> None:
        """See `Ledger.grant`.

        Raises:
            LedgerError: nothing has changed.
        """
        book = self._leased_book(key, now_ns)
        bucket = book.bucket(key.values)
        self._store.grant(bucket, amount, book.budget.cap, book.about)
        self._change(book, key)

    def reset(self, key: Key, now_ns: int) -> None:
        """See `Ledger.reset`.

        Raises:
            LedgerError: nothing has changed.
        """
        book = self._leased_book(key, now_ns)
        self._store.reset(book.bucket(key.values))
        with self._lock:
            account = book.account(key.values)
            assert isinstance(account, LeasedAccount)
            self._desk.drop(account)
        self._change(book, key)

    def exempt(self, key: Key, until_ns: int, now_ns: int) -> None:
        """See `Ledger.exempt`.

        Raises:
            LedgerError: nothing has changed.
        """
        book = self._leased_book(key, now_ns)
        self._store.exempt(
            book.bucket(key.values), until_ns if until_ns > now_ns else 0, book.about
        )
        self._change(book, key)

    def on_stop(self, tell: Callable[[bool], None]) -> None:
        """See `Ledger.on_stop`. Told at once if all calls are stopped already."""
        self._tell_stop.append(tell)
        self._see_to_ticks()
        try:
            if self._store.bell.stopped:
                self._stopped = True
                tell(True)
        except LedgerError as error:
            self._desk.fail(error)

    def on_alert(self, tell: Callable[[Sequence[Crossing]], None]) -> None:
        """Have `tell` called with alerts that no call of this process could be told of."""
        self._tell_alerts = tell

    def stop(self, *, stopped: bool) -> None:
        """Stop all calls of all processes, or let them go on.

        Raises:
            LedgerError: they cannot be told.
        """
        self._store.bell.stopped = stopped

    def _leased_book(self, key: Key, now_ns: int) -> LeasedBook:
        with self._lock:
            self._desk.see(now_ns)
            book = self._book(key.budget)
            self._turn_book(book, now_ns)
        if not isinstance(book, LeasedBook):
            raise LedgerError(f"{key.budget} is counted for each call alone, not in {self._store}")
        return book

    def _change(self, book: LeasedBook, key: Key) -> None:
        """Have everybody ask the store about a payer, this process first."""
        with self._lock:
            account = book.account(key.values)
            assert isinstance(account, LeasedAccount)
            if account.retired:
                book.forget(key.values)
                account = book.account(key.values)
                assert isinstance(account, LeasedAccount)
            account.revoke()
            account.denial.lift()
            self._turn += 1
        self._upkeep.tell([account])
        self._store.bell.tell_changed(account.bucket)

    # Upkeep -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Ask for more, give back, report, bury the dead: whatever is due; every 25 ms or so."""
        self._upkeep.tick()
        with self._lock:
            self._take_turn()
        if self._tell_stop and self._upkeep.stopped != self._stopped:
            self._stopped = self._upkeep.stopped
            for tell in self._tell_stop:
                tell(self._stopped)
        if self._tell_alerts and (crossings := self._upkeep.take_crossings()):
            self._tell_alerts(crossings)

    def start(self) -> None:
        """Have a thread call `tick`; it ends with `close`, or when nobody uses the ledger."""
        if self._ticker is None or not self._ticker.is_alive():
            self._ticker = Ticker(self, self._note)
            self._ticker.start()

    def _see_to_ticks(self) -> None:
        if self._threaded and self._ticker is None:
            with self._lock:
                self.start()

    def after_fork(self) -> None:
        """See `Ledger.after_fork`. The child starts with no credit; its parent's past is told."""
        known: list[object] = list(self._desk.everything())
        for book in self._every_book():
            if isinstance(book, LeasedBook):
                known += book.clear()
        disown(known)
        self._ticker = None
        self._desk.renew()
        self._upkeep.renew()
        self._lock = self._desk.lock
        self._turn += 1

    def close(self) -> None:
        """See `Ledger.close`."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()
        if self._upkeep.leave():
            with self._lock:
                for book in self._every_book():
                    if isinstance(book, LeasedBook):
                        disown(book.clear())
                self._turn += 1
        self._store.close()

    # Books --------------------------------------------------------------------------------------

    def _book(self, budget: Budget) -> Book:
        book = self._books.get(budget.identity)
        if book is not None and not counts_alike(book.budget, budget):
            return open_book(budget)  # for this claim alone
        return super()._book(budget)

    def _known(self) -> list[LeasedAccount]:
        return [
            account
            for book in self._every_book()
            for account in book.all()
            if isinstance(account, LeasedAccount)
        ]

    def _open_book(self, budget: Budget) -> Book:
        if budget.window == "call":
            return CallBook(budget)
        kind = LeasedBook if budget.clock.ends else LeasedLastingBook
        return kind(budget, self._desk.retire)


def _balance(book: LeasedBook, standing: Standing) -> Balance:
    key = Key(book.budget, tuple(json.loads(standing.payer)))
    return Balance(
        key,
        standing.settled,
        standing.spent - standing.settled,
        book.budget.cap + standing.extra,
        period_of(book.budget, book.page.period),
    )
