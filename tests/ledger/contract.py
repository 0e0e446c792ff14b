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
    Amounts,
    Balance,
    Crossing,
    Hold,
    Key,
    Ledger,
    Line,
    LooseHold,
    Shortage,
    Summary,
)
from otel_atm.testing import ManualClock
from otel_atm.window import Period

MINUTE, HOUR, DAY_S = 60, 3_600, 86_400
NOTHING: Amounts = (0, 0, 0, 0, 0)
SECOND_NS = 1_000_000_000


@cache
def tokens(amount: int) -> Amounts:
    """Of a call, half of them input, at a micro-USD a token."""
    return amount, amount // 2, amount - amount // 2, 1, amount


def key(budget: Budget | str, **who: str) -> Key:
    """What an account is kept for."""
    read = Budget(budget) if isinstance(budget, str) else budget
    return Key(read, tuple(who.get(name, "") for name in read.by))


def line(of: Key, amounts: Amounts, *, exact: bool = False) -> Line:
    """As a gate asks for an estimate: cut to the limit, but for requests, which are known."""
    unit = UNITS.index(of.budget.unit)
    if exact or of.budget.unit == "requests":
        return Line(of, unit, amounts[unit], exact=True)
    return Line(of, unit, min(amounts[unit], of.budget.cap))


class Book:
    """A ledger in the words of a test."""

    def __init__(self, ledger: Ledger[Any], clock: ManualClock) -> None:
        self.ledger, self.clock = ledger, clock
        self._claims: dict[Any, Any] = {}

    def open(self, *budgets: Budget | str, **who: str) -> tuple[Key, ...]:
        """The accounts of a payer under these budgets."""
        return tuple(key(budget, **who) for budget in budgets)

    def claim(self, keys: tuple[Key, ...], amount: int, *, exact: bool = False) -> Any:
        """Made once, and used again."""
        known = keys, amount, exact
        if known not in self._claims:
            lines = [line(of, tokens(amount), exact=exact) for of in keys]
            self._claims[known] = self.ledger.claim(lines)
        return self._claims[known]

    def ask(self, keys: tuple[Key, ...], amount: int, *, exact: bool = False) -> Hold | Shortage:
        """Admit, or not."""
        return self.ledger.admit(self.claim(keys, amount, exact=exact), self.clock())

    def admit(self, keys: tuple[Key, ...], amount: int, *, exact: bool = False) -> Hold:
        """Hold tokens; the test needs it to succeed."""
        answer = self.ask(keys, amount, exact=exact)
        assert not isinstance(answer, Shortage)
        return answer

    def refuse(self, keys: tuple[Key, ...], amount: int, *, exact: bool = False) -> Shortage:
        """Ask for tokens; the test needs it to fail."""
        answer = self.ask(keys, amount, exact=exact)
        assert isinstance(answer, Shortage)
        return answer

    def settle(self, hold: Hold, amount: int) -> list[Crossing]:
        """Charge tokens in the place of a hold."""
        return list(self.ledger.settle(hold, tokens(amount)))

    def charge(self, keys: tuple[Key, ...], amount: int) -> None:
        """Charge tokens that are spent already."""
        self.settle(self.ledger.charge(self.claim(keys, 0), self.clock()), amount)

    def spend(self, keys: tuple[Key, ...], amount: int) -> list[Crossing]:
        """One whole call."""
        return self.settle(self.admit(keys, amount), amount)

    @property
    def amounts(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """(budget's name or text, payer's values…) → (used, held), where there is any."""
        return {
            (balance.key.budget.label, *balance.key.values): (balance.used, balance.held)
            for balance in self.ledger.balances(self.clock())
            if balance.used or balance.held
        }


DAY = "1000 tokens / day"
PER_MINUTE = "500 tokens / minute"
PER_USER = "500 tokens / minute per user"


def period_of(budget: Budget | str, now_ns: int) -> Period:
    """The window of a calendar budget."""
    return key(budget).budget.clock.period_at(now_ns)


class LedgerContract:
    """Subclass it with a fixture `ledger` that makes one of the kind, with `clock`."""

    @pytest.fixture
    def book(self, ledger: Ledger[Any], clock: ManualClock) -> Book:
        return Book(ledger, clock)

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
            zip(
                [(key(unit).budget.label,) for unit in units],
                [(33, 0), (16, 0), (17, 0), (1, 0), (33, 0)],
                strict=True,
            )
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
                limit=500,
                period=period_of("1 tokens / minute", clock()),
            ),
            requested=100,
            now_ns=clock(),
            retry_ns=period_of("1 tokens / minute", clock()).end_ns,
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

    def test_what_is_known_is_never_cut(self, book: Book, ledger: Ledger[Any]) -> None:
        accounts = book.open("3 calls / minute")
        book.spend(accounts, 0)
        book.spend(accounts, 0)
        two = ledger.claim([line(accounts[0], (0, 0, 0, 2, 0))])
        assert isinstance(ledger.admit(two, book.clock()), Shortage)
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
        ledger.settle(book.admit(accounts, 100), NOTHING)
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
        ledger.correct(hold, tokens(100), tokens(used))
        assert book.amounts == ({(PER_MINUTE,): (used, 0)} if used else {})

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
        period = period_of("1 tokens / minute", clock())
        assert ledger.balances(clock()) == [Balance(key(PER_MINUTE), 100, 0, 500, period)]

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
        ledger.correct(corrected, tokens(100), tokens(70))
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
        period = period_of("1 tokens / minute", clock())
        clock.advance(-HOUR)
        book.spend(accounts, 100)
        book.refuse(accounts, 1)
        assert ledger.balances(clock()) == [Balance(key(PER_MINUTE), 500, 0, 500, period)]

    def test_a_clock_set_back_does_not_open_an_old_window_again(
        self, book: Book, clock: ManualClock
    ) -> None:
        before, after = book.open(PER_MINUTE), book.open(PER_MINUTE)
        book.spend(before, 250)
        clock.advance(MINUTE)
        book.spend(after, 250)
        book.spend(after, 250)
        period = period_of("1 tokens / minute", clock())
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
        book.ledger.use([high])
        raised = book.open(high)
        book.admit(raised, 70)
        assert (book.amounts, book.refuse(raised, 50).balance.limit) == (
            {(high.label,): (60, 110)},
            200,
        )
        book.ledger.use([low])
        lowered = book.refuse(book.open(low), 50).balance
        assert (lowered.used, lowered.held, lowered.limit) == (60, 110, 100)

    def test_claims_made_under_the_old_limit_do_not_bring_it_back(self, book: Book) -> None:
        old, new = book.open("500 tokens / day"), book.open("100 tokens / day")
        book.spend(old, 50)
        book.ledger.use([new[0].budget])
        book.spend(new, 50)
        book.charge(old, 0)  # of a call that began under the old limit
        book.claim(old, 70)
        assert book.refuse(new, 50).balance.limit == 100

    def test_a_name_that_changes_its_window_counts_in_the_new_one(
        self, book: Book, ledger: Ledger[Any], clock: ManualClock
    ) -> None:
        by_month = book.open(Budget("9k tokens / month", name="all"))
        late = book.admit(by_month, 5_000)
        by_minute = Budget("500 tokens / minute", name="all")
        ledger.use([by_minute])
        book.admit(book.open(by_minute), 100)
        book.settle(late, 4_000)
        book.spend(by_month, 8_000)  # of a kind of calls that still has the old plan
        (balance,) = ledger.balances(clock())
        assert (balance.key.budget, balance.held, balance.period) == (
            by_minute,
            100,
            period_of(by_minute, clock()),
        )

    def test_a_name_that_changes_back_counts_on_where_it_was(
        self, book: Book, clock: ManualClock
    ) -> None:
        for_ever = book.open(Budget("1000 tokens / lifetime", name="all"))
        book.ledger.use([for_ever[0].budget])
        book.spend(for_ever, 900)
        by_day = Budget("1000 tokens / day", name="all")
        book.ledger.use([by_day])
        book.spend(book.open(by_day), 50)
        book.ledger.use([for_ever[0].budget])
        assert book.amounts == {("all",): (900, 0)}
        assert book.refuse(for_ever, 200, exact=True).balance.used == 900

    def test_a_name_that_changes_its_unit_counts_in_the_new_one(self, book: Book) -> None:
        book.spend(book.open(Budget("1000 tokens / day", name="all")), 900)
        by_request = book.open(Budget("2 requests / day", name="all"))
        book.ledger.use([by_request[0].budget])
        book.spend(by_request, 900)
        assert book.amounts == {("all",): (1, 0)}

    # Rolling windows ------------------------------------------------------------------------

    ROLLING = "300 tokens / rolling minute"

    def test_a_rolling_window_has_no_edge_to_spend_twice_at(
        self, book: Book, clock: ManualClock
    ) -> None:
        accounts = book.open(self.ROLLING)
        clock.advance(59)
        book.spend(accounts, 300)
        for seconds in (1, 29, 29):
            clock.advance(seconds)
            book.refuse(accounts, 1)
        clock.advance(4)  # and a slot more, since slots count as a whole
        book.spend(accounts, 300)

    def test_it_gives_back_what_was_spent_first_first(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open(self.ROLLING)
        book.spend(accounts, 100)
        clock.advance(30)
        book.spend(accounts, 200)
        shortage = book.refuse(accounts, 50)
        assert (shortage.balance.used, shortage.retry_ns) == (300, ManualClock()() + 62 * SECOND_NS)
        clock.advance(32)
        book.admit(accounts, 100)
        assert book.amounts == {(key(self.ROLLING).budget.label,): (200, 100)}

    def test_a_call_that_ends_late_counts_when_it_was_admitted(
        self, book: Book, clock: ManualClock
    ) -> None:
        accounts = book.open(self.ROLLING)
        early, later = book.admit(accounts, 100), book.admit(accounts, 100)
        clock.advance(40)
        book.spend(accounts, 50)
        book.settle(early, 20)
        assert book.amounts == {(key(self.ROLLING).budget.label,): (70, 100)}
        book.admit(accounts, 130)
        clock.advance(30)
        book.settle(later, 300)  # long gone
        assert book.amounts == {(key(self.ROLLING).budget.label,): (50, 130)}

    def test_its_payers_are_forgotten_when_nothing_of_them_counts(
        self, book: Book, clock: ManualClock
    ) -> None:
        per_user = Budget(self.ROLLING + " per user")
        for number in range(50):
            book.spend(book.open(per_user, user=f"user{number}"), 1)
        for _ in range(6):
            clock.advance(MINUTE)
            book.spend(book.open(per_user, user="ann"), 1)
        assert len(book.ledger.balances(clock())) < 5

    # Windows that are no time ---------------------------------------------------------------

    def test_a_lifetime_never_ends(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open("100 tokens / lifetime")
        book.spend(accounts, 100)
        clock.advance(400 * DAY_S)
        assert book.refuse(accounts, 1).retry_ns is None

    def test_each_call_has_a_budget_per_call_for_itself(self, book: Book) -> None:
        accounts = book.open("100 tokens / call")
        book.admit(accounts, 80)
        book.admit(accounts, 100)
        shortage = book.refuse(accounts, 101, exact=True)
        assert (shortage.balance.used, shortage.balance.held, shortage.retry_ns) == (0, 0, None)

    # Known amounts --------------------------------------------------------------------------

    def test_a_known_amount_fits_or_is_refused(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 450)
        assert book.refuse(accounts, 51, exact=True).retry_ns is not None
        book.admit(accounts, 50, exact=True)

    def test_more_than_the_limit_never_fits(self, book: Book) -> None:
        assert book.refuse(book.open(PER_MINUTE), 501, exact=True).retry_ns is None

    # Exchanging -----------------------------------------------------------------------------

    def test_a_hold_is_exchanged_for_a_claim(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE, DAY, "9 requests / hour")
        hold = book.admit(accounts, 16)
        more = book.ledger.exchange(hold, book.claim(accounts, 300), book.clock())
        if more is None:  # this process has no credit for it yet
            book.ledger.settle(hold, NOTHING)
            more = book.admit(accounts, 300)
        assert book.amounts == {
            (PER_MINUTE,): (0, 300),
            (DAY,): (0, 300),
            ("9 requests / hour",): (0, 1),
        }
        less = book.ledger.exchange(more, book.claim(accounts, 16), book.clock())
        assert less is not None
        book.settle(less, 20)
        assert book.amounts == {
            (PER_MINUTE,): (20, 0),
            (DAY,): (20, 0),
            ("9 requests / hour",): (1, 0),
        }

    @pytest.mark.parametrize("budgets", [(DAY, PER_MINUTE), (PER_MINUTE, DAY)])
    def test_without_room_it_stays(self, book: Book, budgets: tuple[str, str]) -> None:
        accounts = book.open(*budgets)
        book.admit(accounts, 400)
        hold = book.admit(accounts, 10)
        before = book.amounts
        assert book.ledger.exchange(hold, book.claim(accounts, 101), book.clock()) is None
        assert book.amounts == before
        book.settle(hold, 0)
        assert book.amounts == {(PER_MINUTE,): (0, 400), (DAY,): (0, 400)}

    def test_and_once_another_window_has_begun(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open(DAY, PER_MINUTE)
        hold, claim = book.admit(accounts, 16), book.claim(accounts, 300)
        clock.advance(MINUTE)
        assert book.ledger.exchange(hold, claim, clock()) is None
        assert book.amounts == {(DAY,): (0, 16)}

    def test_and_where_a_claim_is_on_other_accounts(self, book: Book) -> None:
        hold = book.admit(book.open(DAY, PER_USER, user="ann"), 16)
        for others in (
            book.open(DAY, PER_USER, user="bob"),
            book.open(DAY, PER_MINUTE),
            book.open(DAY),
            book.open(DAY, PER_USER, PER_MINUTE, user="ann"),
        ):
            assert book.ledger.exchange(hold, book.claim(others, 300), book.clock()) is None
            assert book.amounts == {(DAY,): (0, 16), (PER_USER, "ann"): (0, 16)}

    # Amending -------------------------------------------------------------------------------

    def test_a_hold_is_raised_where_there_is_room(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE, DAY)
        hold = book.admit(accounts, 100)
        raised = book.ledger.amend(hold, [500, 500], book.clock())
        assert not isinstance(raised, Shortage)
        assert book.amounts == {(PER_MINUTE,): (0, 500), (DAY,): (0, 500)}
        book.settle(raised, 120)
        assert book.amounts == {(PER_MINUTE,): (120, 0), (DAY,): (120, 0)}

    def test_all_or_nothing(self, book: Book) -> None:
        accounts = book.open(DAY, PER_MINUTE)
        hold = book.admit(accounts, 100)
        book.admit(accounts, 200)
        shortage = book.ledger.amend(hold, [301, 301], book.clock())
        assert isinstance(shortage, Shortage)
        assert (shortage.balance.key, shortage.requested) == (key(PER_MINUTE), 301)
        assert book.amounts == {(PER_MINUTE,): (0, 300), (DAY,): (0, 300)}
        book.settle(hold, 100)

    def test_a_hold_is_lowered(self, book: Book) -> None:
        accounts = book.open(PER_MINUTE)
        hold = book.admit(accounts, 400)
        lowered = book.ledger.amend(hold, [10], book.clock())
        assert not isinstance(lowered, Shortage)
        book.admit(accounts, 490)
        book.settle(lowered, 0)

    # Budgets that do not block --------------------------------------------------------------

    @pytest.mark.parametrize("action", ["warn", "shadow"])
    def test_a_soft_budget_lets_in_and_says_that_it_is_past_its_limit(
        self, book: Book, action: str
    ) -> None:
        soft = book.open(Budget("100 tokens / day", action=action))
        assert not isinstance(book.admit(soft, 100), LooseHold)
        hold = book.admit(soft, 30)
        assert isinstance(hold, LooseHold)
        assert [(one.used, one.held, one.limit) for one in hold.over] == [(0, 100, 100)]
        book.settle(hold, 40)
        assert list(book.amounts.values()) == [(40, 100)]

    def test_degrading_ends_at_its_floor(self, book: Book) -> None:
        budget = Budget("100 tokens / day", action="degrade", degrade_to="small", block_at=1.5)
        accounts = book.open(budget)
        assert not isinstance(book.admit(accounts, 100), LooseHold)
        assert isinstance(book.admit(accounts, 50), LooseHold)
        assert book.refuse(accounts, 1).balance.held == 150

    def test_a_soft_budget_does_not_soften_the_others(self, book: Book) -> None:
        accounts = book.open(Budget("100 tokens / day", action="warn"), "120 tokens / hour")
        book.admit(accounts, 100)
        assert book.refuse(accounts, 100).balance.key.budget.label == "120 tokens / hour"
        assert list(book.amounts.values()) == [(0, 100), (0, 100)]

    # Alerts ---------------------------------------------------------------------------------

    ALERTING = Budget("100 tokens / day per user", alert_at=[0.5, 0.8, 1.0])

    def levels(self, crossings: list[Crossing]) -> list[float]:
        return [crossing.level for crossing in crossings]

    def test_an_alert_is_told_once_when_so_much_is_settled(self, book: Book) -> None:
        ann = book.open(self.ALERTING, user="ann")
        assert [self.levels(book.spend(ann, amount)) for amount in (49, 1, 10, 19, 20, 1)] == [
            [],
            [0.5],
            [],
            [],
            [0.8],
            [1.0],
        ]

    def test_several_at_once_and_each_payer_by_itself(self, book: Book) -> None:
        ann, bob = (book.open(self.ALERTING, user=user) for user in ("ann", "bob"))
        (first, second) = book.spend(ann, 85)
        assert (first.level, second.level) == (0.5, 0.8)
        assert (second.balance.key, second.balance.used) == (key(self.ALERTING, user="ann"), 85)
        assert self.levels(book.spend(bob, 60)) == [0.5]

    def test_again_in_the_next_window(self, book: Book, clock: ManualClock) -> None:
        ann = book.open(self.ALERTING, user="ann")
        book.spend(ann, 60)
        clock.advance(DAY_S)
        assert self.levels(book.spend(ann, 60)) == [0.5]

    def test_what_is_held_alarms_nobody(self, book: Book) -> None:
        ann = book.open(self.ALERTING, user="ann")
        hold = book.admit(ann, 100)
        assert book.settle(hold, 10) == []

    def test_once_in_a_rolling_window(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open(Budget("100 tokens / rolling minute", alert_at=0.5))
        assert self.levels(book.spend(accounts, 60)) == [0.5]
        clock.advance(30)
        assert book.spend(accounts, 20) == []
        clock.advance(40)
        assert self.levels(book.spend(accounts, 70)) == [0.5]

    # Overshoot ------------------------------------------------------------------------------

    def test_what_is_settled_past_a_limit_is_added_up(self, book: Book, clock: ManualClock) -> None:
        for user, used in (("ann", 530), ("bob", 400), ("cleo", 600)):
            book.settle(book.admit(book.open(PER_USER, user=user), 100), used)
        assert [one.overshoot for one in book.ledger.summaries(clock())] == [130]
        clock.advance(MINUTE)
        book.settle(book.admit(book.open(PER_USER, user="ann"), 100), 501)
        assert [one.overshoot for one in book.ledger.summaries(clock())] == [131]

    # Operators ------------------------------------------------------------------------------

    def test_a_grant_lasts_for_the_window(self, book: Book, clock: ManualClock) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 500)
        book.ledger.grant(accounts[0], 100, clock())
        book.spend(accounts, 90)
        assert book.refuse(accounts, 20, exact=True).balance.limit == 600
        clock.advance(MINUTE)
        assert book.refuse(accounts, 501, exact=True).balance.limit == 500

    def test_in_a_rolling_window_it_lasts_as_long_as_what_is_spent_now(
        self, book: Book, clock: ManualClock
    ) -> None:
        accounts = book.open(self.ROLLING)
        book.spend(accounts, 300)
        book.ledger.grant(accounts[0], 100, clock())
        clock.advance(30)
        book.spend(accounts, 100)
        assert book.refuse(accounts, 1).balance.limit == 400
        clock.advance(2 * MINUTE)
        assert book.refuse(accounts, 301, exact=True).balance.limit == 300

    def test_a_reset_starts_the_window_again_and_old_calls_stay_with_the_old_count(
        self, book: Book, clock: ManualClock
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 300)
        late = book.admit(accounts, 200)
        book.ledger.reset(accounts[0], clock())
        book.spend(accounts, 400)
        book.settle(late, 200)
        assert book.amounts == {(PER_MINUTE,): (400, 0)}

    def test_who_is_exempt_is_counted_and_never_refused_until_it_ends(
        self, book: Book, clock: ManualClock
    ) -> None:
        ann, bob = (book.open(PER_USER, user=user) for user in ("ann", "bob"))
        book.ledger.exempt(ann[0], clock() + 90 * SECOND_NS, clock())
        book.spend(ann, 500)
        book.spend(ann, 400)
        book.spend(bob, 500)
        book.refuse(bob, 1)
        clock.advance(60)  # another window
        book.spend(ann, 500)
        book.spend(ann, 400)
        clock.advance(31)
        assert book.refuse(ann, 1).balance.used == 900

    def test_an_exemption_can_be_ended(self, book: Book, clock: ManualClock) -> None:
        ann = book.open(PER_USER, user="ann")
        book.ledger.exempt(ann[0], clock() + 90 * SECOND_NS, clock())
        book.spend(ann, 400)
        book.ledger.exempt(ann[0], 0, clock())
        book.refuse(ann, 101, exact=True)

    # Processes and threads ------------------------------------------------------------------

    def test_a_summary_says_the_largest_amounts_and_how_many_have_nothing_left(
        self, book: Book, ledger: Ledger[Any]
    ) -> None:
        per_user = Budget("500 tokens / day per user")
        for user, spent in (("ann", 500), ("bob", 120), ("cleo", 30)):
            book.spend(book.open(per_user, user=user), spent)
        book.admit(book.open(per_user, user="cleo"), 200)
        expected = Summary(per_user, used=500, held=200, spent=500, payers=3, exhausted=1)
        assert ledger.summaries(book.clock()) == [expected]

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
                hold = book.ask(accounts, 10)
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
        assert len(admitted) == 144

    @pytest.mark.usefixtures("eager_threads")
    def test_threads_with_one_budget_use_it_up_and_no_more(self, book: Book) -> None:
        accounts, ready = book.open("1000 tokens / day", "80 calls / day"), threading.Barrier(32)

        def work() -> None:
            ready.wait()
            for _ in range(5):
                hold = book.ask(accounts, 10)
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

    make: ClassVar[Callable[[], Ledger[Any]]]

    BUDGETS = tuple(
        Budget(text, tz=tz)
        for text, tz in (
            ("500 tokens / minute per user", "UTC"),
            ("5 requests / minute per user", "UTC"),
            ("900 input_tokens / hour", "Asia/Kolkata"),
            ("0.002 USD / day", "America/New_York"),
            ("9000 tokens / lifetime", "UTC"),
        )
    )
    USERS = ("ann", "bob")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.seen_ns = self.clock()
        self.ledger = type(self).make()
        self.claims: dict[Any, Any] = {}
        self.keys = {
            user: [key(budget, user=user) for budget in self.BUDGETS] for user in self.USERS
        }
        self.cells: dict[tuple[Key, Period], Cell] = {}
        self.open: list[tuple[Hold, list[tuple[Key, Cell, int]]]] = []
        self.settled: list[tuple[Hold, list[tuple[Key, Cell]], Amounts]] = []

    users = st.sampled_from(USERS)
    models = st.integers(min_value=0, max_value=1)
    amounts = st.integers(min_value=0, max_value=700).map(tokens)
    places = st.integers(min_value=0, max_value=10**6)

    @initialize()
    def let_it_see_the_clock(self) -> None:
        self.charge("ann", 0, NOTHING)

    def teardown(self) -> None:
        self.ledger.close()

    def claim(self, user: str, model: int, amounts: Amounts) -> Any:
        """Each user calls two models: two claims on the same accounts."""
        known = user, model, amounts
        if known not in self.claims:
            lines = [line(of, amounts) for of in self.keys[user]]
            self.claims[known] = self.ledger.claim(lines)
        return self.claims[known]

    def period(self, of: Key) -> Period:
        return of.budget.clock.period_at(self.seen_ns)

    def cell(self, of: Key) -> Cell:
        return self.cells.setdefault((of, self.period(of)), Cell())

    def need(self, of: Key, amounts: Amounts) -> int:
        return amounts[UNITS.index(of.budget.unit)]

    def admissible(self, of: Key, need: Amounts) -> int | None:
        """What is to be held; None: refuse."""
        cell, amount = self.cell(of), line(of, need).amount
        room = of.budget.cap - cell.settled - cell.held
        if amount <= room:
            return amount
        alone = not cell.held and room > 0 and of.budget.unit != "requests"
        return room if alone else None

    @rule(user=users, model=models, need=st.sampled_from([0, 10, 100, 250, 700]).map(tokens))
    def admit(self, user: str, model: int, need: Amounts) -> None:
        answer = self.ledger.admit(self.claim(user, model, need), self.clock())
        expected = [(of, self.cell(of), self.admissible(of, need)) for of in self.keys[user]]
        short = [of for of, _, amount in expected if amount is None]
        if not short:
            assert not isinstance(answer, Shortage)
            held = [(of, cell, amount or 0) for of, cell, amount in expected]
            self.open.append((answer, held))
            for of, cell, amount in held:
                cell.held += amount
                assert cell.settled + cell.held <= of.budget.cap
            return
        assert isinstance(answer, Shortage)
        last = max(short, key=lambda of: self.period(of).end_ns)
        cell = self.cell(answer.balance.key)
        assert answer.balance.key in short
        assert answer == Shortage(
            Balance(
                answer.balance.key,
                cell.settled,
                cell.held,
                answer.balance.key.budget.cap,
                self.period(last),
            ),
            line(answer.balance.key, need).amount,
            self.clock(),
            answer.retry_ns,
        )
        assert answer.retry_ns in (None, self.period(last).end_ns)

    @precondition(lambda self: self.open)
    @rule(place=places, used=amounts)
    def settle(self, place: int, used: Amounts) -> None:
        hold, held = self.open.pop(place % len(self.open))
        self.ledger.settle(hold, used)
        for of, cell, amount in held:
            cell.held -= amount
            cell.settled += self.need(of, used)
        self.settled.append((hold, [(of, cell) for of, cell, _ in held], used))

    @precondition(lambda self: self.open)
    @rule(place=places, user=users, model=models, need=amounts)
    def exchange(self, place: int, user: str, model: int, need: Amounts) -> None:
        place %= len(self.open)
        hold, held = self.open[place]
        answer = self.ledger.exchange(hold, self.claim(user, model, need), self.clock())
        if answer is None:
            return  # nothing is changed, as the invariant sees
        changed = [
            (of, cell, line(of, need).amount)
            for (of, cell, _), own in zip(held, self.keys[user], strict=True)
            if of == own
        ]
        assert len(changed) == len(held)
        for (_, cell, before), (of, _, after) in zip(held, changed, strict=True):
            cell.held += after - before
            assert after <= before or cell.settled + cell.held <= of.budget.cap
        self.open[place] = answer, changed

    @precondition(lambda self: self.settled)
    @rule(place=places, used=amounts)
    def correct(self, place: int, used: Amounts) -> None:
        hold, charged, before = self.settled.pop(place % len(self.settled))
        self.ledger.correct(hold, before, used)
        for of, cell in charged:
            cell.settled += self.need(of, used) - self.need(of, before)
        self.settled.append((hold, charged, used))

    @rule(user=users, model=models, used=amounts)
    def charge(self, user: str, model: int, used: Amounts) -> None:
        hold = self.ledger.charge(self.claim(user, model, NOTHING), self.clock())
        self.ledger.settle(hold, used)
        charged = [(of, self.cell(of)) for of in self.keys[user]]
        for of, cell in charged:
            cell.settled += self.need(of, used)
        self.settled.append((hold, charged, used))

    @rule(seconds=st.sampled_from([1, 30, MINUTE, HOUR, 24 * HOUR]), user=users, model=models)
    def let_time_pass(self, seconds: int, user: str, model: int) -> None:
        """And let the ledger see it, so that it is clear which windows are over."""
        self.clock.advance(seconds)
        self.seen_ns = max(self.seen_ns, self.clock())
        self.charge(user, model, NOTHING)

    @rule(seconds=st.sampled_from([1, MINUTE, HOUR]))
    def set_the_clock_back(self, seconds: int) -> None:
        self.clock.advance(-seconds)

    @invariant()
    def every_account_is_charged_with_what_is_settled_and_held(self) -> None:
        shown = {
            (balance.key, balance.period): (balance.used, balance.held)
            for balance in self.ledger.balances(self.clock())
            if balance.used or balance.held
        }
        assert shown == {
            (of, period): (cell.settled, cell.held)
            for (of, period), cell in self.cells.items()
            if period == self.period(of) and (cell.settled or cell.held)
        }


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
