"""Account: what one payer spent of one budget in one window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_atm.budget import Budget
from otel_atm.ledger.ledger import Balance, Crossing, Key, Shortage
from otel_atm.window import FOREVER_NS, Period

if TYPE_CHECKING:
    from otel_atm.ledger.book import Book

#: What is added to the credit of an account that is refused nothing.
UNLIMITED: Final = 1 << 100
#: Actions of a budget that never refuses.
SOFT: Final = ("warn", "shadow")


class Page(NamedTuple):
    """One window of one budget."""

    book: Book
    period: Period


class Account:
    """What one payer spent in one window.

    Attributes:
        page: the budget and the window.
        values: the payer's.
        credit: the most that may be spent before the budget's action is asked.
        spent: settled and held.
        settled: for calls that are over.
        watch: `look` is due when more than this is settled.
    """

    __slots__ = ("credit", "page", "settled", "spent", "values", "watch")

    #: Where a process keeps `spent` for those who survive it; 0: nowhere. See `LeasedAccount`.
    cell: int = 0

    def __init__(self, page: Page, values: tuple[str, ...], credit: int, watch: int) -> None:
        self.page, self.values, self.credit, self.watch = page, values, credit, watch
        self.spent = self.settled = 0

    @property
    def key(self) -> Key:
        """What it is kept for."""
        return Key(self.page.book.budget, self.values)

    @property
    def held(self) -> int:
        """For calls in flight."""
        return self.spent - self.settled

    @property
    def period(self) -> Period:
        """The window, as people see it."""
        return self.page.period

    def fit(self, amount: int, *, exact: bool) -> tuple[int, bool] | None:
        """What can be held of `amount`, and whether a blocking budget had refused it.

        An estimate that does not fit is cut to what is left, if something is and nothing is in
        flight. None: refuse.
        """
        room = self.credit - self.spent
        if amount <= room:
            return amount, False
        alone = not exact and not self.held
        if alone and room > 0:
            return room, False
        room = self.ceiling - self.spent
        if amount <= room:
            return amount, True
        return (room, True) if alone and room > 0 else None

    @property
    def ceiling(self) -> int:
        """The most that may be spent before calls are refused."""
        budget = self.page.book.budget
        if budget.action in SOFT:
            return UNLIMITED
        return self.credit + budget.above

    @property
    def counting(self) -> Sequence[Account]:
        """Those of the payer whose spend counts at present."""
        return (self,)

    @property
    def latest(self) -> Account:
        """The payer's account that decides now."""
        return self

    def carry(self, back: int) -> None:
        """Spend so much less in all that count this account's spend as theirs: nothing here."""

    def look(self, charge: int) -> list[Crossing]:
        """After settling `charge`: count overshoot, find due alerts."""
        book, settled = self.page.book, self.settled
        book.overshoot += max(0, min(charge, settled - self.ceiling))
        levels = [level for level, at in book.alerts if self.watch < at <= settled]
        self.watch = max(self.watch, book.watch(settled))
        return [Crossing(self.balance(), level) for level in levels]

    @property
    def used(self) -> int:
        """Settled, in this window."""
        return self.settled

    @property
    def limit(self) -> int:
        """The most that the window may spend: the budget's, and what was granted besides."""
        return self.credit - UNLIMITED if self.credit >= UNLIMITED >> 1 else self.credit

    def grant(self, amount: int) -> None:
        """Let it spend so much more in this window."""
        self.credit += amount

    def balance(self) -> Balance:
        """As it stands."""
        return Balance(self.key, self.used, self.held, self.limit, self.period)

    def shortage(self, amount: int, *, exact: bool, now_ns: int) -> Shortage:
        """Why it cannot hold `amount`."""
        balance = self.balance()
        never = self.page.period.end_ns >= FOREVER_NS or (exact and amount > balance.limit)
        retry_ns = None if never else self.free_at(amount)
        return Shortage(balance, amount, now_ns, retry_ns)

    def free_at(self, amount: int) -> int:  # noqa: ARG002 - see RollingAccount
        """When `amount` fits, if nothing else is spent."""
        return self.page.period.end_ns


class RollingAccount(Account):
    """What one payer spent in one slot of a rolling window, and in those before that count too.

    `credit` is what the earlier slots leave. A late settlement in one of them is carried to all
    later ones that it counts in.

    Attributes:
        earlier: of the same payer, in slots that count; empty once there is a later one.
        later: in the next slot in which the payer spends; None while this is the last one.
        fired: level of an alert → start of the slot in which it was told.
        granted: (until when, how much) of what was granted besides.
    """

    __slots__ = ("earlier", "fired", "granted", "later")

    def __init__(
        self, page: Page, values: tuple[str, ...], credit: int, before: RollingAccount | None
    ) -> None:
        super().__init__(page, values, credit, watch=-1)
        self.earlier: tuple[RollingAccount, ...] = ()
        self.later: RollingAccount | None = None
        self.fired: dict[float, int] = {}
        self.granted: list[tuple[int, int]] = []
        if before is not None:
            known, start_ns = (*before.earlier, before), page.period.start_ns
            self.earlier = tuple(one for one in known if one.counts_at(start_ns))
            self.credit -= sum(one.spent for one in self.earlier)
            self.fired, before.earlier, before.later = before.fired, (), self
            self.granted = [grant for grant in before.granted if grant[0] > start_ns]
            self.credit += sum(amount for _, amount in self.granted)

    def grant(self, amount: int) -> None:
        """As of `Account`: for as long as what is spent now counts."""
        self.granted = [*self.granted, (self.period.end_ns, amount)]
        self.credit += amount

    def counts_at(self, start_ns: int) -> bool:
        """Whether what is spent here counts in the slot that starts then."""
        return start_ns < self.page.period.end_ns + self.page.book.budget.clock.length_ns

    @property
    def counting(self) -> list[RollingAccount]:
        """Those, up to this one, that count at present."""
        start_ns = self.page.book.page.period.start_ns
        return [one for one in (*self.earlier, self) if one.counts_at(start_ns)]

    @property
    def held(self) -> int:
        """For calls in flight, in all slots that count."""
        return sum(one.spent - one.settled for one in self.counting)

    @property
    def used(self) -> int:
        """Settled, in all slots that count."""
        return sum(one.settled for one in self.counting)

    @property
    def limit(self) -> int:
        """As of `Account`."""
        return super().limit + sum(one.spent for one in self.earlier)

    @property
    def period(self) -> Period:
        """As of `Account`."""
        return period_of(self.page.book.budget, self.page.book.page.period)

    @property
    def latest(self) -> RollingAccount:
        """As of `Account`."""
        one = self
        while one.later is not None:
            one = one.later
        return one

    def carry(self, back: int) -> None:
        """Give so much back to the later slots that count this one."""
        one = self.later
        while one is not None:
            if self.counts_at(one.page.period.start_ns):
                one.credit += back
            one = one.later

    def look(self, charge: int) -> list[Crossing]:
        """As of `Account`, for the latest slot, if this one counts in it."""
        last = self.latest
        start_ns = last.page.period.start_ns
        if not self.counts_at(start_ns):
            return []
        book, used = self.page.book, last.used
        earlier = used - last.settled  # `ceiling` is what these leave
        book.overshoot += max(0, min(charge, used - last.ceiling - earlier))
        length = book.budget.clock.length_ns
        levels = [
            level
            for level, at in book.alerts
            if used >= at and last.fired.get(level, -length) + length <= start_ns
        ]
        last.fired.update(dict.fromkeys(levels, start_ns))
        return [Crossing(last.balance(), level) for level in levels]

    def free_at(self, amount: int) -> int:
        """When so many slots have left the window that `amount` fits."""
        room, length = self.credit - self.spent, self.page.book.budget.clock.length_ns
        for one in (*self.earlier, self):
            room += one.spent
            if room >= amount:
                break
        return one.page.period.end_ns + length


def period_of(budget: Budget, slot: Period) -> Period:
    """What people see of a window: of a rolling one, from when until when something counts."""
    length = budget.clock.length_ns
    return Period(slot.start_ns - length, slot.end_ns + length) if length else slot
