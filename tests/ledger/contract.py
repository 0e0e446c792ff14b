"""What every ledger promises, as tests. A ledger joins with a fixture and a machine that make it.

See `test_memory.py` for how.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otel_atm.budget import Budget
from otel_atm.budget_text import UNITS
from otel_atm.ledger import (
    NO_AMOUNTS,
    REQUESTS,
    Amounts,
    Balance,
    Hold,
    Key,
    Ledger,
    Shortage,
    Summary,
    Total,
)
from otel_atm.testing import ManualClock
from otel_atm.window import Period, period_at

MINUTE, HOUR = 60, 3_600


@cache
def tokens(amount: int) -> Amounts:
    """Of a call, half of them input. Equal amounts are one object, as those of a gate are."""
    return amount, amount // 2, amount - amount // 2, 1


def key(budget: Budget | str, **who: str) -> Key:
    """What an account is kept for."""
    read = Budget(budget) if isinstance(budget, str) else budget
    return Key(read, tuple(who.get(name, "") for name in read.by))


class Book:
    """A ledger in the words of a test."""

    def __init__(self, ledger: Ledger[Any]) -> None:
        self.ledger = ledger
        self.total = Total()

    def open(self, *budgets: Budget | str, **who: str) -> Any:
        """The accounts of a payer under these budgets."""
        return self.ledger.accounts([key(budget, **who) for budget in budgets])

    def admit(self, accounts: Any, amount: int) -> Hold:
        """Hold tokens; the test needs it to succeed."""
        answer = self.ledger.admit(accounts, tokens(amount))
        assert not isinstance(answer, Shortage)
        return answer

    def refuse(self, accounts: Any, amount: int) -> Shortage:
        """Ask for tokens; the test needs it to fail."""
        answer = self.ledger.admit(accounts, tokens(amount))
        assert isinstance(answer, Shortage)
        return answer

    def settle(self, hold: Hold, amount: int) -> None:
        """Charge tokens in the place of a hold."""
        self.ledger.settle(hold, tokens(amount), self.total)

    def charge(self, accounts: Any, amount: int) -> None:
        """Charge tokens that are spent already."""
        self.settle(self.ledger.charge(accounts), amount)

    def spend(self, accounts: Any, amount: int) -> None:
        """One whole call."""
        self.settle(self.admit(accounts, amount), amount)

    @property
    def amounts(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """(budget's name or text, payer's values…) → (used, held), where there is any."""
        return {
            (balance.key.budget.label, *balance.key.values): (balance.used, balance.held)
            for balance in self.ledger.balances()
            if balance.used or balance.held
        }


DAY = "1000 tokens / day"
PER_MINUTE = "500 tokens / minute"
PER_USER = "500 tokens / minute per user"


class LedgerContract:
    """Subclass it with a fixture `ledger` that makes one of the kind, with `clock`."""

    @pytest.fixture
    def book(self, ledger: Ledger[Any]) -> Book:
        return Book(ledger)

    # Admission ------------------------------------------------------------------------------

    def test_an_admitted_call_is_held_under_every_account(self, book: Book) -> None:
        book.admit(book.open(DAY, PER_USER, "9 calls / hour", user="ann"), 100)
        assert book.amounts == {
            (DAY,): (0, 100),
            (PER_USER, "ann"): (0, 100),
            ("9 requests / hour",): (0, 1),
        }

    def test_each_account_counts_in_its_own_unit(self, book: Book) -> None:
        units = [f"1000 {unit} / day" for unit in UNITS]
        book.settle(book.admit(book.open(*units), 101), 33)
        assert book.amounts == dict(
            zip([(unit,) for unit in units], [(33, 0), (16, 0), (17, 0), (1, 0)], strict=True)
        )

    @pytest.mark.parametrize("budgets", [(DAY, PER_MINUTE), (PER_MINUTE, DAY)])
    def test_a_refused_call_is_held_under_none(self, book: Book, budgets: tuple[str, str]) -> None:
        book.charge(book.open(PER_MINUTE), 500)
        book.refuse(book.open(*budgets), 100)
        assert book.amounts == {(PER_MINUTE,): (500, 0)}

    def test_a_refusal_says_what_is_short_and_when_it_was_decided(
        self, book: Book, clock: ManualClock
    ) -> None:
        clock.advance(12)
        accounts = book.open(DAY, PER_USER, user="ann")
        book.spend(accounts, 300)
        book.admit(accounts, 150)
        assert book.refuse(accounts, 100) == Shortage(
            balance=Balance(
                key=key(PER_USER, user="ann"),
                used=300,
                held=150,
                period=period_at("minute", clock()),
            ),
            requested=100,
            now_ns=clock(),
        )

    @pytest.mark.parametrize("reverse", [False, True])
    def test_of_several_short_accounts_it_names_the_one_whose_window_ends_last(
        self, book: Book, reverse: bool
    ) -> None:
        budgets = ["9 tokens / hour", "9 tokens / day", "9 tokens / minute"]
        accounts = book.open(*(reversed(budgets) if reverse else budgets))
        book.charge(accounts, 9)
        assert book.refuse(accounts, 1).balance.key == key("9 tokens / day")

    def test_what_fits_exactly_is_admitted(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.admit(accounts, 300)
        book.admit(accounts, 200)
        assert book.refuse(accounts, 1).balance.held == 500

    def test_payers_do_not_share_and_those_without_a_value_do(self, book: Book) -> None:
        for who in ({"user": "ann"}, {"user": "bob"}, {}, {"team": "ml"}):
            book.spend(book.open(PER_USER, **who), 200)
        assert book.amounts == {
            (PER_USER, "ann"): (200, 0),
            (PER_USER, "bob"): (200, 0),
            (PER_USER, ""): (400, 0),
        }

    # Estimates ------------------------------------------------------------------------------

    def test_an_estimate_is_never_more_than_the_limit(self, book: Book) -> None:
        book.admit(book.open(PER_MINUTE, DAY), 800)
        assert book.amounts == {(PER_MINUTE,): (0, 500), (DAY,): (0, 800)}

    def test_the_last_call_is_admitted_alone_with_what_is_left(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE, DAY)
        book.spend(accounts, 450)
        hold = book.admit(accounts, 100)
        assert book.amounts == {(PER_MINUTE,): (450, 50), (DAY,): (450, 100)}
        book.settle(hold, 80)
        assert book.amounts == {(PER_MINUTE,): (530, 0), (DAY,): (530, 0)}

    def test_but_not_while_another_is_in_flight(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.admit(accounts, 450)
        assert book.refuse(accounts, 100).requested == 100
        assert book.amounts == {(PER_MINUTE,): (0, 450)}

    def test_nor_when_nothing_is_left(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 500)
        assert book.refuse(accounts, 600).requested == 500

    def test_a_call_in_flight_elsewhere_does_not_count_as_company(self, book: Book) -> None:
        book.admit(book.open(PER_USER, user="bob"), 100)
        accounts = book.open(PER_USER, user="ann")
        book.spend(accounts, 450)
        book.admit(accounts, 100)
        assert book.amounts == {(PER_USER, "ann"): (450, 50), (PER_USER, "bob"): (0, 100)}

    def test_requests_are_known_and_never_cut(self, book: Book, ledger: Ledger[Any]) -> None:
        accounts = book.open("3 calls / minute")
        book.spend(accounts, 0)
        book.spend(accounts, 0)
        assert isinstance(ledger.admit(accounts, (0, 0, 0, 2)), Shortage)
        book.spend(accounts, 0)
        assert book.refuse(accounts, 0).balance.used == 3

    # Settling -------------------------------------------------------------------------------

    @pytest.mark.parametrize("used", [40, 100, 340, 0])
    def test_settling_charges_what_was_used_in_the_place_of_the_hold(
        self, book: Book, used: int
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.admit(accounts, 60)
        book.settle(book.admit(accounts, 100), used)
        assert book.amounts == {(PER_MINUTE,): (used, 60)}

    def test_what_cost_nothing_gives_back_the_request_too(
        self, book: Book, ledger: Ledger[Any]
    ) -> None:
        accounts = book.open(PER_MINUTE, "1 calls / minute")
        ledger.settle(book.admit(accounts, 100), NO_AMOUNTS, book.total)
        assert book.amounts == {}
        book.admit(accounts, 500)

    def test_an_overshoot_is_charged_and_closes_the_account(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.settle(book.admit(accounts, 100), 700)
        assert book.refuse(accounts, 1).balance.used == 700

    def test_equal_holds_are_settled_one_by_one(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        first, second = book.admit(accounts, 100), book.admit(accounts, 100)
        book.settle(first, 30)
        assert book.amounts == {(PER_MINUTE,): (30, 100)}
        book.settle(second, 50)
        assert book.amounts == {(PER_MINUTE,): (80, 0)}

    @pytest.mark.parametrize("used", [40, 340, 0])
    def test_a_correction_replaces_what_was_settled(
        self, book: Book, ledger: Ledger[Any], used: int
    ) -> None:
        accounts = book.open(PER_MINUTE)
        hold = book.admit(accounts, 100)
        book.settle(hold, 100)
        ledger.correct(hold, tokens(100), tokens(used), book.total)
        assert book.amounts == ({(PER_MINUTE,): (used, 0)} if used else {})

    def test_a_total_adds_up_what_is_settled(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 101)
        book.charge(accounts, 31)
        total = book.total
        assert (total.calls, total.input_tokens, total.output_tokens) == (2, 65, 67)

    @pytest.mark.parametrize(("used", "grown"), [(140, (1, 70, 70)), (40, (1, 50, 50))])
    def test_a_total_never_falls(
        self, book: Book, ledger: Ledger[Any], used: int, grown: tuple[int, int, int]
    ) -> None:
        hold = book.admit(book.open(PER_MINUTE), 100)
        book.settle(hold, 100)
        ledger.correct(hold, tokens(100), tokens(used), book.total)
        total = book.total
        assert (total.calls, total.input_tokens, total.output_tokens) == grown

    def test_a_call_without_budgets_is_added_to_its_total(
        self, book: Book, ledger: Ledger[Any]
    ) -> None:
        ledger.settle((), tokens(10), book.total)
        assert (book.total.calls, book.total.input_tokens, book.amounts) == (1, 5, {})

    def test_a_charge_is_never_refused(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        for _ in range(3):
            book.charge(accounts, 300)
        assert book.amounts == {(PER_MINUTE,): (900, 0)}

    # Windows --------------------------------------------------------------------------------

    def test_a_new_window_starts_from_zero(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open(PER_MINUTE, DAY)
        book.spend(accounts, 500)
        clock.advance(MINUTE - 1)
        book.refuse(accounts, 1)
        clock.advance(1)
        book.admit(accounts, 400)
        assert book.amounts == {(PER_MINUTE,): (0, 400), (DAY,): (500, 400)}

    def test_a_balance_says_its_window(
        self, book: Book, ledger: Ledger[Any], clock: ManualClock
    ) -> None:
        clock.advance(90)
        book.spend(book.open(PER_MINUTE), 100)
        expected = Balance(key(PER_MINUTE), 100, 0, period_at("minute", clock()))
        assert (ledger.balances(), expected.limit) == ([expected], 500)

    def test_accounts_whose_window_is_over_are_not_shown(
        self, book: Book, clock: ManualClock
    ) -> None:
        book.spend(book.open(PER_MINUTE, DAY), 100)
        clock.advance(MINUTE)
        assert book.amounts == {(DAY,): (100, 0)}

    def test_a_late_call_is_charged_to_the_window_that_admitted_it(
        self, book: Book, ledger: Ledger[Any], clock: ManualClock
    ) -> None:
        accounts = book.open(PER_MINUTE, DAY)
        late, corrected = book.admit(accounts, 100), book.admit(accounts, 100)
        book.settle(corrected, 100)
        clock.advance(MINUTE)
        book.spend(accounts, 50)
        book.settle(late, 80)
        ledger.correct(corrected, tokens(100), tokens(70), book.total)
        assert book.amounts == {(PER_MINUTE,): (50, 0), (DAY,): (200, 0)}

    def test_a_call_in_flight_takes_no_room_in_the_next_window(
        self, book: Book, clock: ManualClock
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.admit(accounts, 500)
        clock.advance(MINUTE)
        book.admit(accounts, 500)
        assert book.amounts == {(PER_MINUTE,): (0, 500)}

    def test_a_clock_set_back_does_not_start_a_window(
        self, book: Book, ledger: Ledger[Any], clock: ManualClock
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 400)
        period = period_at("minute", clock())
        clock.advance(-HOUR)
        book.spend(accounts, 100)
        book.refuse(accounts, 1)
        assert ledger.balances() == [Balance(key(PER_MINUTE), 500, 0, period)]

    def test_a_clock_set_back_does_not_open_an_old_window_again(
        self, book: Book, clock: ManualClock
    ) -> None:
        before, after = book.open(PER_MINUTE), book.open(PER_MINUTE)
        book.spend(before, 250)
        clock.advance(MINUTE)
        book.spend(after, 250)
        book.spend(after, 250)
        period = period_at("minute", clock())
        clock.advance(-1)
        for accounts in (before, after, book.open(PER_MINUTE)):
            assert book.refuse(accounts, 250).balance.period == period

    # Budgets that change --------------------------------------------------------------------

    @pytest.mark.parametrize("name", [None, "all"])
    def test_what_was_spent_stays_when_the_limit_changes(
        self, book: Book, name: str | None
    ) -> None:
        low, high = (Budget(f"{limit} tokens / day", name=name) for limit in (100, 200))
        book.spend(book.open(low), 60)
        book.admit(book.open(low), 40)
        raised = book.open(high)
        book.admit(raised, 70)
        assert (book.amounts, book.refuse(raised, 50).balance.limit) == (
            {(high.label,): (60, 110)},
            200,
        )
        lowered = book.refuse(book.open(low), 50).balance
        assert (lowered.used, lowered.held, lowered.limit) == (60, 110, 100)

    def test_accounts_opened_under_the_old_limit_do_not_bring_it_back(self, book: Book) -> None:
        old = book.open("500 tokens / day")
        book.spend(old, 50)
        new = book.open("100 tokens / day")
        book.spend(new, 50)
        book.charge(old, 0)  # of a call that began under the old limit
        assert book.refuse(new, 50).balance.limit == 100

    def test_a_name_that_changes_its_window_counts_in_the_new_one(
        self, book: Book, ledger: Ledger[Any], clock: ManualClock
    ) -> None:
        book.spend(book.open(Budget("9k tokens / month", name="all")), 5_000)
        by_minute = Budget("500 tokens / minute", name="all")
        book.admit(book.open(by_minute), 100)
        (balance,) = ledger.balances()
        assert (balance.key.budget, balance.period) == (by_minute, period_at("minute", clock()))

    def test_a_name_that_changes_its_unit_counts_in_the_new_one(self, book: Book) -> None:
        book.spend(book.open(Budget("1000 tokens / day", name="all")), 900)
        by_request = book.open(Budget("2 requests / day", name="all"))
        book.spend(by_request, 900)
        assert book.amounts == {("all",): (1, 0)}

    # Processes and threads ------------------------------------------------------------------

    def test_a_summary_says_the_largest_amounts_and_how_many_have_nothing_left(
        self, book: Book, ledger: Ledger[Any]
    ) -> None:
        per_user = Budget("500 tokens / day per user")
        for user, spent in (("ann", 500), ("bob", 120), ("cleo", 30)):
            book.spend(ledger.accounts([Key(per_user, (user,))]), spent)
        book.admit(ledger.accounts([Key(per_user, ("cleo",))]), 200)
        book.open("9 tokens / day")  # never used
        assert ledger.summaries() == [Summary(per_user, 500, 200, 500, 3, 1)]

    def test_a_forked_child_keeps_what_was_spent_and_drops_what_its_parent_holds(
        self, book: Book, ledger: Ledger[Any]
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 100)
        book.admit(accounts, 300)
        ledger.after_fork()
        assert book.amounts == {(PER_MINUTE,): (100, 0)}
        book.admit(accounts, 400)

    @pytest.fixture
    def eager_threads(self) -> Iterator[None]:
        """Threads take turns as often as they can."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        yield
        sys.setswitchinterval(interval)

    @pytest.mark.usefixtures("eager_threads")
    def test_32_threads_never_pass_a_limit(self, book: Book) -> None:
        everybody, each = "2000 tokens / day", "90 tokens / day per user"
        admitted: list[str] = []
        ready = threading.Barrier(32)

        def work(user: str) -> None:
            accounts = book.open(everybody, each, user=user)
            ready.wait()
            for _ in range(20):
                hold = book.ledger.admit(accounts, tokens(10))
                if not isinstance(hold, Shortage):
                    admitted.append(user)
                    book.settle(hold, 10)

        threads = [
            threading.Thread(target=work, args=(f"user{number % 16}",)) for number in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # 16 users ask for 400 tokens each and may have 90: 144 calls, of which 200 would fit
        expected: dict[tuple[str, ...], tuple[int, int]] = {
            (each, f"user{number}"): (90, 0) for number in range(16)
        }
        assert book.amounts == {(everybody,): (1_440, 0), **expected}
        assert (len(admitted), book.total.calls) == (144, 144)

    @pytest.mark.usefixtures("eager_threads")
    def test_threads_with_one_budget_use_it_up_and_no_more(self, book: Book) -> None:
        accounts, ready = book.open("1000 tokens / day", "80 calls / day"), threading.Barrier(32)

        def work() -> None:
            ready.wait()
            for _ in range(5):
                hold = book.ledger.admit(accounts, tokens(10))
                if not isinstance(hold, Shortage):
                    book.settle(hold, 10)

        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert book.amounts == {
            ("1000 tokens / day",): (800, 0),
            ("80 requests / day",): (80, 0),
        }


class Cell:
    """What the model knows of one account in one window."""

    def __init__(self) -> None:
        self.settled = self.held = 0


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of calls, clocks and corrections, against a model of a few lines."""

    make: ClassVar[Callable[[ManualClock], Ledger[Any]]]

    BUDGETS = tuple(
        Budget(text)
        for text in (
            "500 tokens / minute per user",
            "5 requests / minute per user",
            "900 input_tokens / hour",
            "2000 tokens / day",
        )
    )
    USERS = ("ann", "bob")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.seen_ns = self.clock()
        self.ledger = type(self).make(self.clock)
        self.keys = {
            user: [key(budget, user=user) for budget in self.BUDGETS] for user in self.USERS
        }
        # each user calls two models: two plans, the same accounts
        self.accounts = {
            user: [self.ledger.accounts(keys) for _ in range(2)] for user, keys in self.keys.items()
        }
        self.cells: dict[tuple[Key, Period], Cell] = {}
        self.open: list[tuple[Hold, list[tuple[Key, Cell, int]]]] = []
        self.settled: list[tuple[Hold, list[tuple[Key, Cell]], Amounts]] = []
        self.total = Total()

    users = st.sampled_from(USERS)
    models = st.integers(min_value=0, max_value=1)
    amounts = st.integers(min_value=0, max_value=700).map(tokens)
    places = st.integers(min_value=0, max_value=10**6)

    @initialize()
    def let_it_see_the_clock(self) -> None:
        self.charge("ann", 0, NO_AMOUNTS)

    def period(self, of: Key) -> Period:
        return period_at(of.budget.window, self.seen_ns)

    def cell(self, of: Key) -> Cell:
        return self.cells.setdefault((of, self.period(of)), Cell())

    def need(self, of: Key, amounts: Amounts) -> int:
        return amounts[UNITS.index(of.budget.unit)]

    def admissible(self, of: Key, need: Amounts) -> int | None:
        """What is to be held; None: refuse."""
        cell, amount = self.cell(of), min(self.need(of, need), of.budget.limit)
        room = of.budget.limit - cell.settled - cell.held
        if amount <= room:
            return amount
        alone = not cell.held and room > 0 and UNITS.index(of.budget.unit) != REQUESTS
        return room if alone else None

    @rule(user=users, model=models, need=st.sampled_from([0, 10, 100, 250, 700]).map(tokens))
    def admit(self, user: str, model: int, need: Amounts) -> None:
        answer = self.ledger.admit(self.accounts[user][model], need)
        expected = [(of, self.cell(of), self.admissible(of, need)) for of in self.keys[user]]
        short = [of for of, _, amount in expected if amount is None]
        if not short:
            assert not isinstance(answer, Shortage)
            held = [(of, cell, amount or 0) for of, cell, amount in expected]
            self.open.append((answer, held))
            for of, cell, amount in held:
                cell.held += amount
                assert cell.settled + cell.held <= of.budget.limit
            return
        assert isinstance(answer, Shortage)
        last = max(short, key=lambda of: self.period(of).end_ns)
        cell = self.cell(answer.balance.key)
        assert answer.balance.key in short
        assert answer == Shortage(
            Balance(answer.balance.key, cell.settled, cell.held, self.period(last)),
            min(self.need(answer.balance.key, need), answer.balance.limit),
            answer.now_ns,
        )

    @precondition(lambda self: self.open)
    @rule(place=places, used=amounts)
    def settle(self, place: int, used: Amounts) -> None:
        hold, held = self.open.pop(place % len(self.open))
        self.ledger.settle(hold, used, self.total)
        for of, cell, amount in held:
            cell.held -= amount
            cell.settled += self.need(of, used)
        self.settled.append((hold, [(of, cell) for of, cell, _ in held], used))

    @precondition(lambda self: self.settled)
    @rule(place=places, used=amounts)
    def correct(self, place: int, used: Amounts) -> None:
        hold, charged, before = self.settled.pop(place % len(self.settled))
        self.ledger.correct(hold, before, used, self.total)
        for of, cell in charged:
            cell.settled += self.need(of, used) - self.need(of, before)
        self.settled.append((hold, charged, used))

    @rule(user=users, model=models, used=amounts)
    def charge(self, user: str, model: int, used: Amounts) -> None:
        hold = self.ledger.charge(self.accounts[user][model])
        self.ledger.settle(hold, used, self.total)
        charged = [(of, self.cell(of)) for of in self.keys[user]]
        for of, cell in charged:
            cell.settled += self.need(of, used)
        self.settled.append((hold, charged, used))

    @rule(seconds=st.sampled_from([1, 30, MINUTE, HOUR, 24 * HOUR]), user=users, model=models)
    def let_time_pass(self, seconds: int, user: str, model: int) -> None:
        """And let the ledger see it, so that it is clear which windows are over."""
        self.clock.advance(seconds)
        self.seen_ns = max(self.seen_ns, self.clock())
        self.charge(user, model, NO_AMOUNTS)

    @rule(seconds=st.sampled_from([1, MINUTE, HOUR]))
    def set_the_clock_back(self, seconds: int) -> None:
        self.clock.advance(-seconds)

    @invariant()
    def every_account_is_charged_with_what_is_settled_and_held(self) -> None:
        shown = {
            (balance.key, balance.period): (balance.used, balance.held)
            for balance in self.ledger.balances()
            if balance.used or balance.held
        }
        assert shown == {
            (of, period): (cell.settled, cell.held)
            for (of, period), cell in self.cells.items()
            if period == self.period(of) and (cell.settled or cell.held)
        }


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
