"""Book: the accounts of one budget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from math import ceil
from typing import ClassVar, Final

from otel_atm.budget import Budget
from otel_atm.ledger.account import SOFT, UNLIMITED, Account, Page, RollingAccount
from otel_atm.ledger.ledger import Summary
from otel_atm.window import FOREVER_NS, SECOND_NS, Period

#: For how long a trace or a session that spends nothing is remembered.
IDLE_NS: Final = {"trace": 3_600 * SECOND_NS, "session": 30 * 86_400 * SECOND_NS}


class Book:
    """All accounts of one budget in its current calendar window.

    A new window starts a new dict: the accounts of the old one live on only in open holds, so
    memory is bounded by the payers of one window.

    Attributes:
        until_ns: when accounts have to be looked up again.
        overshoot: what was settled past the limits, ever.
        alerts: (fraction of the limit, the amount that it is) of each alert.
    """

    #: Whether every call has an account of its own.
    each_call: ClassVar[bool] = False

    def __init__(self, budget: Budget) -> None:
        self.page = Page(self, Period(0, 0))
        self.accounts: dict[tuple[str, ...], Account] = {}
        self.exempted: dict[tuple[str, ...], int] = {}  # payer → until when
        self.until_ns = self.overshoot = 0
        self._take(budget)

    def _take(self, budget: Budget) -> None:
        self.budget = budget
        self.alerts = [(level, ceil(budget.cap * level)) for level in budget.alert_at]
        self._marks = [at for _, at in self.alerts]

    def replace(self, budget: Budget) -> None:
        """Take a budget that counts alike: its limit, its action, its alerts; not the count."""
        more = budget.cap - self.budget.cap
        self._take(budget)
        for account in self.all():
            account.credit += more
            account.watch = min(account.watch, self.watch(account.settled))

    def turn(self, now_ns: int) -> None:
        """Begin the window that `now_ns` lies in, unless it has begun; end exemptions."""
        if now_ns >= self.page.period.end_ns:
            self._begin(now_ns)
        for values in [values for values, until in self.exempted.items() if until <= now_ns]:
            self.exempt(values, 0)
        self.until_ns = min([self.page.period.end_ns, *self.exempted.values()])

    def _begin(self, now_ns: int) -> None:
        self.page = Page(self, self.budget.clock.period_at(now_ns))
        self.accounts = {}

    def exempt(self, values: tuple[str, ...], until_ns: int) -> None:
        """Refuse a payer nothing until then; 0 ends it."""
        account = self.account(values)
        if self.exempted.pop(values, None) is not None:
            account.credit -= UNLIMITED
        if until_ns:
            account.credit += UNLIMITED
            self.exempted[values] = until_ns
            self.until_ns = min(self.until_ns, until_ns)

    def account(self, values: tuple[str, ...]) -> Account:
        """The payer's, in the current window."""
        account = self.accounts.get(values)
        if account is None:
            account = self.accounts[values] = self._open(values)
        return account

    def _open(self, values: tuple[str, ...]) -> Account:
        return Account(self.page, values, self.credit(values), self.watch(0))

    def forget(self, values: tuple[str, ...]) -> None:
        """Let the payer's account begin again."""
        self.accounts.pop(values, None)

    def all(self) -> Iterable[Account]:
        """Those that count at present."""
        return self.accounts.values()

    def credit(self, values: tuple[str, ...]) -> int:
        """What a payer may spend in one window."""
        cap = self.budget.cap
        return cap + UNLIMITED if values in self.exempted else cap

    def watch(self, settled: int) -> int:
        """Up to what an account may settle from here until it has to be looked at."""
        due = [at for at in self._marks if at > settled]
        limit = UNLIMITED if self.budget.action in SOFT else self.budget.cap
        return min([at - 1 for at in due], default=limit)

    def summary(self, accounts: list[Account]) -> Summary:
        """Of these accounts; needs no lock."""
        first = self.alerts[0][1] if self.alerts else UNLIMITED
        most_used = most_held = most_spent = alerted = exhausted = 0
        for account in accounts:
            used, held = account.used, account.held
            spent = used + held
            most_used, most_held = max(most_used, used), max(most_held, held)
            most_spent = max(most_spent, spent)
            if spent >= account.limit:
                exhausted += 1
            elif used >= first:
                alerted += 1
        return Summary(
            self.budget,
            most_used,
            most_held,
            most_spent,
            len(accounts),
            alerted,
            exhausted,
            self.overshoot,
        )


class LastingBook(Book):
    """The accounts of a budget whose window has no end: per trace, per session, for ever.

    Two generations: those that spend nothing for the idle time, or for twice as long at most, are
    forgotten. Those of a lifetime are kept.

    Attributes:
        forgotten: how many accounts, ever.
    """

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.page = Page(self, Period(0, FOREVER_NS))
        self.forgotten = 0
        self._old: dict[tuple[str, ...], Account] = {}
        self._idle_at_ns = 0
        self._idle_ns = IDLE_NS.get(budget.window, FOREVER_NS)

    def turn(self, now_ns: int) -> None:
        """Forget who was idle."""
        if now_ns >= self._idle_at_ns:
            if self._idle_at_ns:
                self.forgotten += len(self._old)
                self._old, self.accounts = self.accounts, {}
            self._idle_at_ns = min(now_ns + self._idle_ns, FOREVER_NS)
        super().turn(now_ns)
        self.until_ns = min(self.until_ns, self._idle_at_ns)

    def account(self, values: tuple[str, ...]) -> Account:
        """The payer's."""
        old = self._old.pop(values, None)
        if old is not None:
            self.accounts[values] = old
        return super().account(values)

    def forget(self, values: tuple[str, ...]) -> None:
        """Let the payer's account begin again."""
        super().forget(values)
        self._old.pop(values, None)

    def all(self) -> Iterable[Account]:
        """Those that are remembered."""
        return chain(self._old.values(), self.accounts.values())


class RollingBook(LastingBook):
    """The accounts of a budget with a rolling window: the latest slot of each payer."""

    accounts: dict[tuple[str, ...], RollingAccount]  # type: ignore[assignment]

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.page = Page(self, Period(0, 0))
        self._idle_ns = budget.clock.length_ns * 2  # longer than anything counts

    def _begin(self, now_ns: int) -> None:
        self.page = Page(self, self.budget.clock.period_at(now_ns))

    def account(self, values: tuple[str, ...]) -> Account:
        """The payer's, in the current slot."""
        before = self.accounts.get(values) or self._old.pop(values, None)
        if before is None or before.page is not self.page:
            credit = self.credit(values)
            before = RollingAccount(self.page, values, credit, before)  # type: ignore[arg-type]
        self.accounts[values] = before  # type: ignore[assignment]
        return before


class CallBook(Book):
    """The accounts of a budget per call: each call has its own, nobody else knows of it."""

    each_call = True

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.page, self.until_ns = Page(self, Period(0, FOREVER_NS)), FOREVER_NS

    def account(self, values: tuple[str, ...]) -> Account:
        """A new one."""
        return self._open(values)


def open_book(budget: Budget) -> Book:
    """An empty book for a budget."""
    if budget.window == "call":
        return CallBook(budget)
    if budget.clock.slots:
        return RollingBook(budget)
    return Book(budget) if budget.clock.ends else LastingBook(budget)
