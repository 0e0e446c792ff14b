"""LeasedBook: the accounts of a budget of which several processes have some each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from otel_atm.budget import Budget
from otel_atm.ledger.account import Account
from otel_atm.ledger.book import IDLE_NS, Book, LastingBook
from otel_atm.ledger.grants import Bucket
from otel_atm.ledger.leased_account import MOST, LeasedAccount
from otel_atm.ledger.pace import Pace
from otel_atm.window import FOREVER_NS


class LeasedBook(Book):
    """The accounts of a budget in its current window or slot.

    Args:
        budget: of the accounts.
        retire: called with accounts of which nobody opens holds any more.
    """

    accounts: dict[tuple[str, ...], LeasedAccount]  # type: ignore[assignment]

    def __init__(self, budget: Budget, retire: Callable[[Iterable[LeasedAccount]], None]) -> None:
        super().__init__(budget)
        self.identity, self._retire = identity_of(budget), retire
        self._before: dict[tuple[str, ...], LeasedAccount] = {}

    def _take(self, budget: Budget) -> None:
        super()._take(budget)
        self.about = about(budget)

    @property
    def place(self) -> tuple[str, int, int]:
        """The current window, as `LeaseStore.standings` asks for it."""
        bucket = self.bucket(())
        return bucket.budget, bucket.start_ns, bucket.counts_from_ns

    @property
    def first_alert(self) -> int:
        """From which amount on a payer counts as alerted."""
        return min([at for _, at in self.alerts], default=MOST)

    def gone_ns(self, bucket: Bucket) -> int:
        """When a store may forget a bucket that is used now."""
        if self.budget.clock.ends:
            return bucket.gone_ns
        idle_ns = IDLE_NS.get(self.budget.window, FOREVER_NS)
        return min(FOREVER_NS, self.until_ns + idle_ns)

    def _begin(self, now_ns: int) -> None:
        self._before = self.accounts  # for their pace
        super()._begin(now_ns)
        self._retire(self._before.values())

    def _open(self, values: tuple[str, ...]) -> LeasedAccount:
        before = self._before.get(values)
        pace = before.pace.again() if before else Pace()
        return LeasedAccount(self.page, values, self.bucket(values), pace)

    def bucket(self, values: tuple[str, ...]) -> Bucket:
        """Of a payer, in the current window."""
        payer = json.dumps(values, separators=(",", ":"))
        return Bucket(self.identity, payer, *self.page.period, self.budget.clock.length_ns)

    def replace(self, budget: Budget) -> None:
        """As of `Book`: the store is asked again before anything is held."""
        self._take(budget)
        for account in self.all():
            assert isinstance(account, LeasedAccount)
            account.revoke()
            account.denial.lift()
            if account.birth:
                account.set_watch()

    def exempt(self, values: tuple[str, ...], until_ns: int) -> None:
        """As of `Book`; it ends when the store says so, too."""
        account = self.accounts.get(values)
        if until_ns:
            self.exempted[values] = until_ns
            self.until_ns = min(self.until_ns, until_ns)
        elif self.exempted.pop(values, None) is not None and account is not None:
            account.revoke()

    def clear(self) -> list[Account]:
        """Forget all accounts; these are they."""
        forgotten = [*self.all(), *self._before.values()]
        self.accounts, self._before, self.exempted = {}, {}, {}
        self.until_ns = 0
        return forgotten


class LeasedLastingBook(LeasedBook, LastingBook):
    """The accounts of a budget whose window has no end."""

    def turn(self, now_ns: int) -> None:
        """As of `LastingBook`; those that have something to tell stay."""
        old = self._old
        super().turn(now_ns)
        if self._old is not old:
            self._retire(old.values())  # type: ignore[arg-type]

    def clear(self) -> list[Account]:
        """As of `LeasedBook`."""
        forgotten = super().clear()
        self._old = {}
        return forgotten


def identity_of(budget: Budget) -> str:
    """What spend belongs to, in every process: also how it is counted, where it has a name."""
    counted = (
        budget.name,
        budget.unit,
        budget.window,
        budget.tz,
        budget.week_start,
        budget.month_day,
        budget.by,
        budget.match,
        budget.weights,
    )
    return json.dumps(counted, separators=(",", ":"), ensure_ascii=False)


def about(budget: Budget) -> str:
    """A budget as JSON, which `budget_of` reads."""
    _, arguments = budget.__reduce__()
    return json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)


def budget_of(text: str) -> Budget:
    """The budget that `about` has described."""
    said, others = json.loads(text)
    return Budget(said, **others)
