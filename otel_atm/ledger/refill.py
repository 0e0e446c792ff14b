"""Refill: what happens to a call for which a process has not enough credit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from otel_atm.ledger.account import SOFT, Account
from otel_atm.ledger.desk import Desk
from otel_atm.ledger.grants import Ask
from otel_atm.ledger.lease_store import LedgerError
from otel_atm.ledger.leased_account import LeasedAccount
from otel_atm.ledger.ledger import Hold, LooseHold, Shortage

#: What a call asks of an account: it, where its unit stands, the amount, whether it is known.
Line = tuple[Account, int, int, bool]
#: What it lacks: an account, an amount, whether it is known.
_Short = tuple[LeasedAccount, int, bool]
#: How often to look whether others gave something back, in seconds.
_POLL_S: Final = 0.001
#: For how many times its timeout a call waits for another one that asks the store.
_QUEUE: Final = 5


class Refill:
    """Asks the store, lets others give back what they do not use, and decides without a store.

    Attributes:
        unbacked: how many calls were let in without credit.
    """

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        self._desk, self._sleep = desk, sleep
        self.unbacked = 0

    def hold(self, lines_of: Callable[[], Sequence[Line]], now_ns: int) -> Hold | Shortage:
        """Hold all lines, or nothing. Waits `timeout_s` at most.

        Args:
            lines_of: what is asked for, in the current windows; called with the lock.
            now_ns: when.
        """
        call = _Call(self._desk, lines_of, now_ns)
        while True:
            answer = self._once(call)
            if answer is not None:
                return answer

    def _once(self, call: _Call) -> Hold | Shortage | None:
        """One question to the store at most; None: ask again."""
        desk = self._desk
        with desk.lock:
            desk.see(call.now_ns)
            short = call.short()
            if not short:
                return call.decide()
            waits = next((account.hunted for account, _, _ in short if account.hunted), None)
            if waits is None and desk.rests():
                return self._without_store(call)
        if waits is not None:
            return None if waits.wait(call.rest_s()) else self._refuse(call)
        # Whoever asks gives up by himself in time. Only if he hangs we do not wait for him.
        if not desk.asking.acquire(timeout=_QUEUE * desk.timeout_s):
            return self._fail(call, LedgerError("the store does not answer"))
        try:
            hunted = self._ask(call)
        except LedgerError as error:
            return self._fail(call, error)
        finally:
            desk.asking.release()
        if hunted:
            return self._hunt(call, hunted)
        return call.answer

    def _ask(self, call: _Call) -> list[_Short]:
        """Ask for what is short, hold it at once; those that others may make room for."""
        desk = self._desk
        with desk.lock:
            short = call.short()  # somebody else may have asked meanwhile
            if not short:
                call.answer = call.decide()
                return []
            if desk.rests():
                raise LedgerError("the store has just failed")
            letters = call.letters(short)
            call.listen(short)
        answers = desk.send([ask for _, ask in letters], desk.timeout_s)
        with desk.lock:
            desk.take(letters, answers)
            refused = call.refused(short)
            hopeful = [each for each in refused if call.may_hope(each)]
            for account, amount, _ in refused:
                if not hopeful or account.page.book.budget.action in SOFT:
                    account.denial.note(account, amount, desk.mono())
            if hopeful:
                call.begin_hunt(hopeful)
            elif not call.short():
                call.answer = call.decide()
            return hopeful

    def _hunt(self, call: _Call, hopeful: list[_Short]) -> Shortage | Hold | None:
        """Have others give back what they do not use, and ask again."""
        desk = self._desk
        try:
            for account, _, _ in hopeful:
                desk.store.bell.ask_back(account.bucket)
            patient = True
            while not call.heard():
                if not call.rest_s():
                    return self._refuse(call)
                if patient and call.rest_s() < desk.timeout_s / 2:
                    patient = False
                    desk.bury(desk.timeout_s)  # the dead do not hear; what they left is heard of
                    continue
                self._sleep(_POLL_S)
        except LedgerError as error:
            return self._fail(call, error)
        finally:
            call.end_hunt(hopeful)
        with desk.lock:
            for account, _, _ in hopeful:
                account.revoke()  # what fits past the limit only may fit within, now
        return None

    def _fail(self, call: _Call, error: LedgerError) -> Hold | Shortage:
        """The store could not be asked. If it has refused just before, that is good."""
        with self._desk.lock:
            if call.was_refused:
                return self._refuse(call)
            if not self._desk.rests():
                self._desk.fail(error)
            return self._without_store(call)

    def _refuse(self, call: _Call) -> Hold | Shortage:
        """What is short now is denied."""
        with self._desk.lock:
            for account, amount, _ in call.short():
                account.denial.note(account, amount, self._desk.mono())
            return call.decide()

    def _without_store(self, call: _Call) -> Hold | Shortage:
        """As each budget says; needs the lock."""
        unbacked = call.short()
        for account, amount, _ in unbacked:
            if not _let_in(account, amount):
                return account.unbacked_shortage(amount, call.now_ns)
        for account, _, _ in unbacked:
            self._desk.remember(account)
        self.unbacked += 1
        return call.decide({account for account, _, _ in unbacked})


class _Call:
    """One call on its way to be held.

    Attributes:
        answer: what became of it, once that is known.
        was_refused: the store has been asked, and has said no.
    """

    def __init__(self, desk: Desk, lines_of: Callable[[], Sequence[Line]], now_ns: int) -> None:
        self._desk, self._lines_of, self.now_ns = desk, lines_of, now_ns
        self._deadline = desk.mono() + desk.timeout_s
        self.answer: Hold | Shortage | None = None
        self.was_refused = self._has_hunted = False
        self._returned: dict[LeasedAccount, int] = {}

    def rest_s(self) -> float:
        """For how long it may still wait."""
        return max(0.0, self._deadline - self._desk.mono())

    # All these need the lock ----------------------------------------------------------------------

    def short(self) -> list[_Short]:
        """What the store has to be asked about."""
        now = self._desk.mono()
        return [
            (account, amount, exact)
            for account, _, amount, exact in self._lines_of()
            if isinstance(account, LeasedAccount) and account.must_ask(amount, now, exact=exact)
        ]

    def decide(self, unbacked: set[LeasedAccount] | None = None) -> Hold | Shortage:
        """Hold everything, or nothing.

        Args:
            unbacked: accounts that hold whatever they are asked for.
        """
        free = unbacked or set()
        fits = []
        for account, unit, amount, exact in self._lines_of():
            fit = (amount, False) if account in free else account.fit(amount, exact=exact)
            fits.append((account, unit, amount, exact, fit or (-1, False)))
        refused = [
            account.shortage(amount, exact=exact, now_ns=self.now_ns)
            for account, _, amount, exact, (held, _) in fits
            if held < 0
        ]
        if refused:
            return max(refused, key=lambda shortage: shortage.balance.period.end_ns)
        hold = LooseHold((account, unit, held) for account, unit, _, _, (held, _) in fits)
        hold.over = tuple(account.balance() for account, _, _, _, (_, over) in fits if over)
        for account, _, held in hold:
            self._desk.set_spent(account, account.spent + held)
        return hold if hold.over else list(hold)

    def letters(self, short: Sequence[_Short]) -> list[tuple[LeasedAccount, Ask]]:
        """Messages for what is short, and for what will be soon.

        Raises:
            LedgerError: an account has no cell, since there is no room for it.
        """
        desk, now = self._desk, self._desk.mono()
        for account, _, _ in short:
            desk.open(account)
        asked = [account for account, _, _ in short]
        letters = [
            (account, account.report(desk.node, desk.next_seq(), give_back=True))
            for account in desk.other_slots(asked)
        ]
        letters += [
            (
                account,
                account.ask(desk.node, desk.next_seq(), amount, now, self.now_ns, exact=exact),
            )
            for account, amount, exact in short
        ]
        letters += [
            (account, account.top_up(desk.node, desk.next_seq(), now, self.now_ns))
            for account, _, _, _ in self._lines_of()
            if isinstance(account, LeasedAccount)
            and account not in asked
            and account in desk.live
            and account.is_low(now, self.now_ns)
        ]
        return letters

    def listen(self, short: Sequence[_Short]) -> None:
        """From now on, hear whether somebody gives something back."""
        bell = self._desk.store.bell
        self._returned = {account: bell.returned(account.bucket) for account, _, _ in short}

    def heard(self) -> bool:
        """Whether somebody has given something back; needs no lock."""
        bell = self._desk.store.bell
        return any(
            bell.returned(account.bucket) != before for account, before in self._returned.items()
        )

    def refused(self, short: Sequence[_Short]) -> list[_Short]:
        """What does not fit after all: the store has refused it, or there is a debt."""
        now = self._desk.mono()
        refused = [
            (account, amount, exact)
            for account, amount, exact in short
            if account.answer is not None
            and not account.retired
            and (
                account.must_ask(amount, now, exact=exact)
                or self._is_loose((account, amount, exact))
            )
        ]
        self.was_refused = self.was_refused or bool(refused)
        return refused

    def _is_loose(self, short: _Short) -> bool:
        """Whether it fits past the limit only, and might fit within if others gave back."""
        account, amount, _ = short
        fits = account.spent + amount <= account.credit or account.alone
        return not fits and not self._has_hunted and self.may_hope(short)

    def may_hope(self, short: _Short) -> bool:
        """Whether there would be room, if others gave back what they do not use."""
        account, amount, exact = short
        answer = account.answer
        if answer is None or account.page.book.budget.action in SOFT or not self.rest_s():
            return False
        past = 0 if account.spent + amount <= account.loose else account.page.book.budget.above
        left = account.limit + past - account.used - account.held
        if left >= amount:
            return answer.spare > 0
        alone = not exact and account.spent == account.settled and account.held == 0
        return alone and left > 0 and answer.in_flight

    def begin_hunt(self, hopeful: Sequence[_Short]) -> None:
        """Others that are short of the same wait for this one."""
        self._has_hunted = True
        event = threading.Event()
        for account, _, _ in hopeful:
            account.hunted = event

    def end_hunt(self, hopeful: Sequence[_Short]) -> None:
        """Others may ask."""
        with self._desk.lock:
            for account, _, _ in hopeful:
                if account.hunted is not None:
                    account.hunted.set()
                    account.hunted = None


def _let_in(account: LeasedAccount, amount: int) -> bool:
    """Whether a call is let in while the store cannot be asked."""
    budget = account.page.book.budget
    if budget.action in SOFT or budget.on_error == "allow":
        return True
    return budget.on_error == "local" and account.spent + amount <= account.limit
