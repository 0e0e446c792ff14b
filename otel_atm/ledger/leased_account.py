"""LeasedAccount: an account whose credit is a part of what all processes may spend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from otel_atm.ledger.account import SOFT, Account, period_of
from otel_atm.ledger.bell import mark_of
from otel_atm.ledger.cells import SCRATCH
from otel_atm.ledger.grants import FIRST_CALLS, HORIZON_S, Answer, Ask, Bucket
from otel_atm.ledger.ledger import Balance, Shortage
from otel_atm.ledger.pace import Denial, Pace
from otel_atm.window import SECOND_NS, Period

if TYPE_CHECKING:
    from otel_atm.ledger.account import Page
    from otel_atm.ledger.leased_book import LeasedBook

#: More than anybody spends, and less than what a cell or a store can say.
MOST: Final = 1 << 60


class LeasedAccount(Account):
    """What this process spent of one bucket.

    `credit` is what the store has granted; `spent` and `settled` are of this process alone, `used`,
    `held` and `limit` of all, as far as the store has told.

    Attributes:
        bucket: what the store calls it.
        mark: of its payer, on the bell.
        birth: of all accounts of the process for this bucket, the latest has the highest; 0: it
            has no cell, and the store does not know it.
        epoch: of the bucket.
        cell: where `spent` is kept; `SCRATCH`: nowhere yet.
        loose: the most that may be spent past the limit, where the budget allows that.
        alone: what does not fit may take what is left: nobody else has a call in flight.
        asking: there is a message that was not answered, yet or ever.
        told: the last message that was answered, and
        answer: what was said.
        told_at: when, in seconds.
        retired: nobody else is told of it any more.
        hunted: a call waits for others to give back what they do not use; set when it is over.
    """

    __slots__ = (
        "alone",
        "answer",
        "asking",
        "birth",
        "bucket",
        "call",
        "cell",
        "denial",
        "epoch",
        "hunted",
        "loose",
        "mark",
        "pace",
        "retired",
        "told",
        "told_at",
    )

    def __init__(self, page: Page, values: tuple[str, ...], bucket: Bucket, pace: Pace) -> None:
        super().__init__(page, values, credit=0, watch=-1)
        self.mark = mark_of(bucket)
        self.bucket, self.pace, self.denial = bucket, pace, Denial()
        self.birth = self.epoch = self.call = self.loose = 0
        self.cell, self.told_at = SCRATCH, 0.0
        self.alone = self.retired = self.asking = False
        self.told: Ask | None = None
        self.answer: Answer | None = None
        self.hunted: Any = None  # a threading.Event, while somebody waits

    # What people see ----------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """As of `Account`, of all processes."""
        if self.answer is None or self.told is None:
            return self.settled
        return self.answer.used + self.settled - self.told.settled

    @property
    def held(self) -> int:
        """As of `Account`, of all processes."""
        if self.answer is None or self.told is None:
            return self.spent - self.settled
        since = self.spent - self.settled - self.told.spent + self.told.settled
        return self.answer.held + since

    @property
    def extra(self) -> int:
        """Granted by operators."""
        return self.answer.limit - self.told.cap if self.answer and self.told else 0

    @property
    def limit(self) -> int:
        """As of `Account`."""
        return self.page.book.budget.cap + self.extra

    @property
    def period(self) -> Period:
        """As of `Account`."""
        return period_of(self.page.book.budget, self.page.period)

    @property
    def is_over(self) -> bool:
        """Whether its window is."""
        return self.page is not self.page.book.page

    def balance(self) -> Balance:
        """As it stands, of all processes."""
        return Balance(self.key, self.used, self.held, self.limit, self.period)

    def free_at(self, amount: int) -> int:  # noqa: ARG002 - the store knows
        """When what was asked for last fits, if nothing else is spent."""
        told = self.answer.free_ns if self.answer else 0
        return told or self.page.period.end_ns

    def unbacked_shortage(self, amount: int, now_ns: int) -> Shortage:
        """Why it holds nothing while the store cannot be asked."""
        reason = "the ledger does not answer; it is tried again in a second"
        return Shortage(self.balance(), amount, now_ns, now_ns + SECOND_NS, reason)

    # What it may hold ---------------------------------------------------------------------------

    def fit(self, amount: int, *, exact: bool) -> tuple[int, bool] | None:
        """As of `Account`; others count, as the store has told."""
        alone = self.alone and not exact and self.spent == self.settled
        for most, over in ((self.credit, False), (self.most_loose, True)):
            room = most - self.spent
            if amount <= room:
                return amount, over
            if alone and room > 0:
                return room, over
        return None

    @property
    def most_loose(self) -> int:
        """The most that may be spent, past the limit, too."""
        return MOST if self.page.book.budget.action in SOFT else self.loose

    def must_ask(self, amount: int, now: float, *, exact: bool) -> bool:
        """Whether the store has to be asked before `amount` is held or refused."""
        after = self.spent + amount
        if after <= self.credit or after <= self.loose:
            return False
        if self.alone and self.fit(amount, exact=exact) is not None:
            return False
        return not self.denial.holds(self, amount, now, exact=exact)

    # Messages -----------------------------------------------------------------------------------

    def ask(self, node: str, seq: int, amount: int, now: float, now_ns: int, *, exact: bool) -> Ask:
        """For a call that waits. Until it is answered, nothing is held on its credit."""
        self.call = amount or self.call
        alone = not exact and self.spent == self.settled
        want = self._block(now, now_ns)
        self.revoke()
        return self._message(node, seq, self.spent, amount, want, alone=alone)

    def top_up(self, node: str, seq: int, now: float, now_ns: int) -> Ask:
        """For calls to come, before it is short; what it has stays in use meanwhile."""
        want = max(0, self._block(now, now_ns) - (self.credit - self.spent))
        return self._message(node, seq, self._kept, 0, want)

    def report(self, node: str, seq: int, *, give_back: bool) -> Ask:
        """What was spent; and all that is not spent back, if so."""
        if give_back:
            self.revoke()
        return self._message(node, seq, self._kept, 0, 0)

    @property
    def _kept(self) -> int:
        """What the answer must not take back."""
        return self.spent if self.credit >= MOST else max(self.spent, self.credit, self.loose)

    def revoke(self) -> None:
        """Hold nothing more on this credit."""
        self.credit = min(self.credit, self.spent)
        self.loose = min(self.loose, self.spent)
        self.alone = False

    def _block(self, now: float, now_ns: int) -> int:
        """How much to take at once."""
        self.pace.measure(self.spent, now)
        rest_s = min(HORIZON_S, self._rest_s(now_ns))
        return min(MOST, max(FIRST_CALLS * self.call, int(self.pace.burn * rest_s)))

    def _message(
        self, node: str, seq: int, keep: int, need: int, want: int, *, alone: bool = False
    ) -> Ask:
        book = cast("LeasedBook", self.page.book)
        budget, self.asking = book.budget, True
        cap = min(budget.cap, MOST)
        return Ask(
            bucket=self.bucket,
            node=node,
            birth=self.birth,
            seq=seq,
            epoch=self.epoch,
            spent=bounded(self.spent),
            settled=bounded(self.settled),
            keep=bounded(keep),
            need=min(need, MOST),
            want=want,
            call=self.call,
            alone=alone,
            cap=cap,
            ceiling=min(cap + budget.above, MOST),
            alerts=tuple(book.alerts),
            about=book.about,
            gone_ns=book.gone_ns(self.bucket),
        )

    def take(self, ask: Ask, answer: Answer, now: float) -> None:
        """What the store has said."""
        self.told, self.answer, self.told_at, self.asking = ask, answer, now, False
        self.credit = MOST if answer.exempt_ns else answer.credit
        self.loose = answer.loose
        self.alone = answer.alone
        self.set_watch()
        if answer.ok:
            self.denial.lift()

    def set_watch(self) -> None:
        """From what is settled here on to look at it again; see `Account.watch`."""
        told = self.answer.told if self.answer else ()
        book, others = self.page.book, self.used - self.settled
        due = [at for level, at in book.alerts if level not in told]
        budget = book.budget
        limit = MOST if budget.action in SOFT else self.limit + budget.above
        self.watch = min([*(at - 1 for at in due), limit]) - others

    def overshoot(self, charge: int) -> int:
        """How much of what was just settled is past the limit, and past what is allowed there."""
        if self.page.book.budget.action in SOFT:
            return 0
        return max(0, min(charge, self.used - self.limit - self.page.book.budget.above))

    def may_alert(self) -> bool:
        """Whether an alert may be due that nobody has told."""
        told, used = self.answer.told if self.answer else (), self.used
        return any(used >= at and level not in told for level, at in self.page.book.alerts)

    def is_low(self, now: float, now_ns: int) -> bool:
        """Whether it is time to ask for more, so that no call has to wait."""
        told, answer, pace = self.told, self.answer, self.pace
        if not pace.burn or told is None or answer is None or self.credit >= MOST:
            return False
        free_s = (self.credit - self.spent) / pace.burn
        if free_s >= min(1.0, self._rest_s(now_ns) - 0.1) or now - pace.active_at > 1.0:
            return False
        got_nothing = told.want and answer.granted <= max(told.keep + told.need, told.spent)
        return now - self.told_at >= (1.0 if got_nothing or not answer.ok else 0.1)

    def _rest_s(self, now_ns: int) -> float:
        """Until the window ends."""
        return max(0.0, (self.page.period.end_ns - now_ns) / SECOND_NS)

    @property
    def is_told(self) -> bool:
        """Whether the store knows all."""
        told = self.told
        if told is None or self.asking:
            return False
        return (told.spent, told.settled) == (self.spent, self.settled)


def bounded(amount: int) -> int:
    """An amount that a cell and a store can say."""
    return max(-MOST, min(amount, MOST))
