"""Upkeep: what a process tells the store by itself: from time to time, or when others ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from otel_atm.ledger.account import SOFT
from otel_atm.ledger.desk import Desk
from otel_atm.ledger.grants import Ask
from otel_atm.ledger.lease_store import LedgerError
from otel_atm.ledger.leased_account import MOST, LeasedAccount
from otel_atm.ledger.ledger import Crossing

#: What was settled is told after so many seconds; of debts, at once, but for those of soft budgets.
REPORT_S: Final = 2.0
_SOFT_REPORT_S: Final = 0.5
#: Credit that is not used is given back after so many seconds; when little is left, sooner.
IDLE_S: Final = 5.0
_SCARCE_IDLE_S: Final = 1.0
_SCARCE: Final = 0.8
#: How often somebody looks for dead processes, in nanoseconds.
BURY_NS: Final = 900_000_000
#: How often windows that are long over are forgotten, in seconds.
_SWEEP_S: Final = 20.0
#: How many accounts are looked at in a tick.
_AT_ONCE: Final = 200
#: A thread that waits for the store holds up calls that need it.
_TIMEOUT_S: Final = 0.05

_Letter = tuple[LeasedAccount, Ask]


class Upkeep:
    """What is due, and when.

    Attributes:
        stopped: whether an operator has stopped all calls, when last looked.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.renew()

    def renew(self) -> None:
        """As of a process that has just begun."""
        self.stopped = False
        self._hungry: set[int] = set()
        self._changed: set[int] = set()
        self._swept_at = self._desk.mono()

    def tick(self) -> None:
        """Whatever is due."""
        desk = self._desk
        try:
            bell = desk.store.bell
            self.stopped = bell.stopped
            hungry, changed = bell.heard()
            self._hungry |= hungry
            self._changed |= changed
            if desk.rests():
                return
            self._look()
            if self._tend():
                self._hungry, self._changed = set(), set()
            if bell.take_turn(BURY_NS):
                desk.bury(_TIMEOUT_S)
        except LedgerError as error:
            desk.fail(error)

    def _look(self) -> None:
        """Open the store again if need be, e.g. after a fork; see whether it has lost anything."""
        desk, now = self._desk, self._desk.mono()
        if not desk.asking.acquire(blocking=False):
            return  # somebody asks it just now
        sweeps = now - self._swept_at >= _SWEEP_S
        try:
            desk.store.open(_TIMEOUT_S)
            if sweeps:
                self._swept_at = now
                desk.store.sweep(desk.about_now_ns())
        finally:
            desk.asking.release()
        if sweeps:
            desk.store.flush()
        with desk.lock:
            desk.look_for_loss()
            desk.tidy()

    def _tend(self) -> bool:
        """Tell the store what it should know; False: it could not be asked."""
        desk, now = self._desk, self._desk.mono()
        with desk.lock:
            due = [account for account in self._turn() if self._what_is_due(account, now)]
        return not due or self._exchange(lambda: self._letters(due))

    def _turn(self) -> list[LeasedAccount]:
        """Whom others wait for, and those whose turn it is: not all at once, if there are many."""
        live, marks = self._desk.live, self._hungry | self._changed
        urgent = [account for account in live if account.mark in marks] if marks else []
        turn = list(islice(live, _AT_ONCE))
        for account in turn if len(live) > _AT_ONCE else ():
            live[account] = live.pop(account)  # to the end of the queue
        return list(dict.fromkeys((*urgent, *turn)))

    def _letters(self, accounts: Iterable[LeasedAccount]) -> list[_Letter]:
        desk, now = self._desk, self._desk.mono()
        letters = []
        for account in accounts:
            what = self._what_is_due(account, now)
            if what == "top up":
                ask = account.top_up(desk.node, desk.next_seq(), now, desk.about_now_ns())
            elif what:
                ask = account.report(desk.node, desk.next_seq(), give_back=what == "give back")
            else:
                continue
            letters.append((account, ask))
        return letters

    def _what_is_due(self, account: LeasedAccount, now: float) -> str:
        """Say "give back", "report", "top up" or nothing; forget who has nothing more to tell."""
        desk, mark = self._desk, account.mark
        try:
            desk.open(account)
        except LedgerError as error:
            desk.fail(error)
            return ""
        account.pace.measure(account.spent, now)
        exempt = account.credit >= MOST
        free = 0 if exempt else max(account.credit, account.loose) - account.spent
        in_flight = account.spent != account.settled
        if mark in self._changed:
            account.denial.lift()
            return "give back"
        if account.is_told and free <= 0 and not in_flight and (not exempt or account.is_over):
            desk.live.pop(account, None)
            if account.is_over:
                desk.close(account)
            return ""
        told_for = now - account.told_at
        if free > 0 and (mark in self._hungry or account.is_over or self._is_idle(account, now)):
            return "give back"
        if account.is_told:
            return "top up" if account.is_low(now, desk.about_now_ns()) else ""
        if account.is_over and not in_flight:
            return "report"
        if free < 0 or exempt:
            soft = exempt or account.page.book.budget.action in SOFT
            return "report" if told_for >= (_SOFT_REPORT_S if soft else 0) else ""
        if mark in self._hungry:
            return "report"
        return "top up" if told_for >= REPORT_S or account.is_low(now, desk.about_now_ns()) else ""

    @staticmethod
    def _is_idle(account: LeasedAccount, now: float) -> bool:
        scarce = account.used + account.held > _SCARCE * account.limit
        return now - account.pace.active_at >= (_SCARCE_IDLE_S if scarce else IDLE_S)

    def tell(self, accounts: Iterable[LeasedAccount] | None = None) -> bool:
        """Report what the store does not know of these, or of all; False: it could not be asked.

        Accounts that are named are reported in any case: the answer says what others have spent.
        """
        desk = self._desk

        def letters() -> list[_Letter]:
            if accounts is None:
                which = [account for account in desk.live if not account.is_told]
            else:
                which = [account for account in accounts if not account.retired]
            for account in which:
                desk.open(account)
            return [
                (account, account.report(desk.node, desk.next_seq(), give_back=False))
                for account in which
            ]

        return not desk.rests() and self._exchange(letters)

    def _exchange(self, letters_of: Callable[[], list[_Letter]]) -> bool:
        desk = self._desk
        if not desk.asking.acquire(timeout=_TIMEOUT_S):
            return False
        try:
            with desk.lock:
                letters = letters_of()
            if letters:
                answers = desk.send([ask for _, ask in letters], _TIMEOUT_S)
                with desk.lock:
                    desk.take(letters, answers)
                for account, ask in letters:
                    if not ask.want:
                        desk.store.bell.tell_returned(account.bucket)
        except LedgerError as error:
            if not desk.rests():
                desk.fail(error)
            return False
        finally:
            desk.asking.release()
        return True

    def take_crossings(self) -> list[Crossing]:
        """Alerts that the store has told us to tell."""
        with self._desk.lock:
            crossings, self._desk.crossings = self._desk.crossings, []
        return crossings

    def leave(self) -> bool:
        """Report all, give everything back; whether the store knows us no more."""
        desk = self._desk

        def letters() -> list[_Letter]:
            return [
                (account, account.report(desk.node, desk.next_seq(), give_back=True))
                for account in desk.live
                if not account.is_told or account.credit > account.spent
            ]

        if not self._exchange(letters):
            return False
        with desk.asking, desk.lock:
            if any(account.spent != account.settled for account in desk.live):
                return False
            try:
                desk.leave(_TIMEOUT_S)
            except LedgerError as error:
                desk.fail(error)
                return False
        return True
