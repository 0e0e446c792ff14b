"""Which budgets a call falls under, and what it asks of them."""

from __future__ import annotations

from typing import Any

import pytest

from otel_atm import Scope, UsageEvent
from otel_atm.budget import Budget, read_budgets
from otel_atm.gate import Call, Gate, Kind, Tokens
from otel_atm.gate.estimate import ENOUGH, KEPT
from otel_atm.ledger import MemoryLedger
from otel_atm.pricing import Prices
from otel_atm.testing import ManualClock


class Desk:
    def __init__(
        self, clock: ManualClock, *budgets: Budget | str, prices: Prices | None = None
    ) -> None:
        self.rows: list[UsageEvent] = []
        self.ledger = MemoryLedger()
        self.clock = clock
        self.gate = Gate(
            read_budgets(budgets),
            self.ledger,
            clock=clock,
            prices=prices,
            sinks=[lambda call: self.rows.append(call.event())],
        )

    def begin(
        self,
        *,
        model: str | None = "gpt-4o-mini",
        trace_id: int = 0,
        most_output: object = None,
        tags: tuple[str, ...] = (),
        **who: Any,
    ) -> Call:
        plan = self.gate.plan(Kind(Scope(tags=tags, **who), "openai", model, "chat"))
        return self.gate.begin(plan, "span", "openai", trace_id=trace_id, most_output=most_output)

    def spend(self, tokens: Tokens, **who: Any) -> Call:
        call = self.begin(**who)
        if call.refusal is None:
            self.gate.settle(call, tokens)
        return call

    @property
    def amounts(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """(budget, payer…) → (used, held)."""
        return {
            (balance.key.budget.label, *balance.key.values): (balance.used, balance.held)
            for balance in self.ledger.balances(self.clock())
        }


class TestMatching:
    def test_a_hierarchy_is_held_under_all_its_levels(self, clock: ManualClock) -> None:
        desk = Desk(
            clock,
            "1M tokens / month per org",
            "100k tokens / day per org, team",
            "10k tokens / hour per user",
            "5k tokens / session",
        )
        desk.spend((5, 5, 0, 0, 0), org="acme", team="ml", user="ann", session="s1")
        assert list(desk.amounts) == [
            ("1000000 tokens / month per org", "acme"),
            ("100000 tokens / day per org, team", "acme", "ml"),
            ("10000 tokens / hour per user", "ann"),
            ("5000 tokens / session", "s1"),
        ]

    def test_values_globs_presence_and_tags_choose(self, clock: ManualClock) -> None:
        budgets = {
            "exact": "9k tokens / day where env=prod",
            "glob": "9k tokens / day where user=bot-*",
            "presence": "9k tokens / day where project=*",
            "tag": "9k tokens / day where tags=eu-*",
            "model": "9k tokens / day where model=gpt-4*",
        }
        desk = Desk(clock, *[Budget(text, name=name) for name, text in budgets.items()])
        for found, who in {
            ("exact", "glob", "model"): {"env": "prod", "user": "bot-7"},
            ("presence", "tag"): {"project": "x", "tags": ("eu-west",), "model": "o3"},
            (): {"env": "Prod", "user": "bob", "model": None},
        }.items():
            call = desk.begin(**who)
            assert tuple(account.page.book.budget.name for account, _, _ in call.hold) == found


class TestAMissingKey:
    def test_is_shared_by_default(self, clock: ManualClock) -> None:
        desk = Desk(clock, "5k tokens / day per user")
        desk.spend((5, 5, 0, 0, 0))
        assert desk.amounts == {("5000 tokens / day per user", ""): (10, 0)}
        assert desk.gate.oversight.missing == {"5000 tokens / day per user": 1}

    def test_may_be_skipped(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget("5k tokens / day per user", missing="skip"))
        assert desk.spend((5, 5, 0, 0, 0)).hold == ()

    def test_may_block(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget("5k tokens / day per user, team", missing="block"))
        refusal = desk.spend((5, 5, 0, 0, 0), user="ann").refusal
        assert refusal is not None
        assert (refusal.retry_after_s, refusal.reason) == (None, "the call has no team")
        assert str(refusal) == (
            "this call was refused: the call has no team [budget: 5000 tokens / day per user, team]"
        )
        assert desk.spend((5, 5, 0, 0, 0), user="ann", team="ml").refusal is None


class TestTraceAndSession:
    def test_each_trace_has_its_own_budget(self, clock: ManualClock) -> None:
        desk = Desk(clock, "1500 tokens / trace per user")
        for trace_id in (1, 2):
            desk.spend((500, 600, 0, 0, 0), user="ann", trace_id=trace_id)
        refusal = desk.spend((1, 500, 0, 0, 0), user="ann", trace_id=1).refusal
        assert refusal is None  # the last one alone, with what is left
        refusal = desk.spend((1, 1, 0, 0, 0), user="ann", trace_id=1).refusal
        assert refusal is not None
        assert (refusal.scope, refusal.retry_after_s, refusal.resets_at) == (
            {"user": "ann", "trace": f"{1:032x}"},
            None,
            None,
        )
        assert desk.spend((1, 1, 0, 0, 0), user="ann", trace_id=2).refusal is None

    def test_each_session_has_its_own_budget(self, clock: ManualClock) -> None:
        desk = Desk(clock, "1000 tokens / session")
        desk.spend((500, 500, 0, 0, 0), session="s1")
        assert desk.spend((1, 1, 0, 0, 0), session="s1").refusal is not None
        assert desk.spend((1, 1, 0, 0, 0), session="s2").refusal is None


class TestMoney:
    def test_a_budget_in_usd_counts_what_calls_cost(self, clock: ManualClock) -> None:
        desk = Desk(clock, "1 USD / day", prices=Prices())
        desk.spend((1_000_000, 0, 0, 0, 0))  # gpt-4o-mini: 0.15 USD a million
        (status,) = desk.gate.oversight.statuses()
        assert (status.used, status.held, status.unit) == (0.15, 0, "usd")
        assert (desk.rows[0].cost_usd, desk.rows[0].price_version) == (
            0.15,
            desk.gate.plan(Kind(Scope(), "openai", "gpt-4o-mini", "chat")).price.version,  # type: ignore[union-attr]
        )

    def test_cached_input_at_its_price(self, clock: ManualClock) -> None:
        desk = Desk(clock, "1 USD / day", prices=Prices())
        desk.spend((1_000_000, 0, 1_000_000, 0, 0))
        assert desk.gate.oversight.statuses()[0].used == 0.075

    def test_holds_money_too(self, clock: ManualClock) -> None:
        desk = Desk(clock, "0.001 USD / day", prices=Prices())
        desk.begin()
        assert desk.gate.oversight.statuses()[0].held == 0.000375  # 500 tokens in, 500 out

    def test_an_unknown_price_blocks(self, clock: ManualClock) -> None:
        desk = Desk(clock, "1 USD / day", prices=Prices())
        refusal = desk.spend((1, 1, 0, 0, 0), model="our-own").refusal
        assert refusal is not None
        assert refusal.reason == "no price is known of the model 'our-own'"

    def test_unless_the_budget_says_otherwise(self, clock: ManualClock) -> None:
        free = Budget("1 USD / day", on_unknown_price="allow", name="free")
        flat = Budget("1 USD / day", on_unknown_price=2.5, name="flat")
        desk = Desk(clock, free, flat, prices=Prices())
        desk.spend((100_000, 100_000, 0, 0, 0), model="our-own")
        assert [(status.name, status.used) for status in desk.gate.oversight.statuses()] == [
            ("flat", 0.5)
        ]
        assert desk.rows[0].cost_usd is None


class TestWeights:
    def test_count_each_kind_of_token_as_much_as_they_say(self, clock: ManualClock) -> None:
        free_cache = Budget("9k tokens / day", weights={"cache_read": 0}, name="free cache")
        dear = Budget("9k tokens / day", weights={"output": 5}, name="dear output")
        plain = Budget("9k tokens / day", name="plain")
        desk = Desk(clock, free_cache, dear, plain)
        desk.spend((100, 20, 60, 0, 5))
        assert {status.name: status.used for status in desk.gate.oversight.statuses()} == {
            "free cache": 60,
            "dear output": 180,  # 100 + 15 · 5 + 5 of reasoning
            "plain": 120,
        }


class TestEstimates:
    BUDGET = "100k tokens / day"

    def held(self, desk: Desk, **how: Any) -> int:
        call = desk.begin(**how)
        (held,) = [amount for _, _, amount in call.hold]
        desk.gate.release(call)
        return held

    def test_start_with_the_default(self, clock: ManualClock) -> None:
        assert self.held(Desk(clock, self.BUDGET)) == 1000

    def test_are_learned_from_recent_calls_as_a_high_quantile(self, clock: ManualClock) -> None:
        desk = Desk(clock, self.BUDGET)
        for number in range(1, 101):
            desk.spend((number, 10, 0, 0, 0))
        assert 90 <= self.held(desk) <= 110

    def test_take_16_calls_and_hold_for_new_payers_of_the_model(self, clock: ManualClock) -> None:
        desk = Desk(clock, self.BUDGET + " per user")
        for _ in range(ENOUGH):
            assert self.held(desk, user="ann") == 1000
            desk.spend((70, 30, 0, 0, 0), user="ann")
        assert self.held(desk, user="ann") == 100
        assert self.held(desk, user="bob") == 100
        assert self.held(desk, user="bob", model="other") == 1000

    def test_forget_what_was_long_ago(self, clock: ManualClock) -> None:
        desk = Desk(clock, self.BUDGET)
        for _ in range(KEPT):
            desk.spend((700, 0, 0, 0, 0))
        for _ in range(2 * KEPT):
            desk.spend((70, 0, 0, 0, 0))
        assert self.held(desk) == 70
        assert (
            len(desk.gate.plan(Kind(Scope(), "openai", "gpt-4o-mini", "chat")).recent)
            <= KEPT + ENOUGH
        )

    def test_learn_nothing_from_what_was_only_estimated(self, clock: ManualClock) -> None:
        desk = Desk(clock, self.BUDGET)
        for _ in range(64):
            desk.gate.settle(desk.begin(), (1, 1, 0, 0, 0), estimated=True)
        assert self.held(desk) == 1000

    @pytest.mark.parametrize(
        ("most", "held"), [(20, 520), (9_000, 1_000), (0, 1_000), ("20", 1_000)]
    )
    def test_an_answer_is_no_longer_than_the_request_lets_it_be(
        self, clock: ManualClock, most: object, held: int
    ) -> None:
        assert self.held(Desk(clock, self.BUDGET), most_output=most) == held

    def test_strict_holds_the_most_that_the_request_allows(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget("9k tokens / day", mode="strict"))
        assert self.held(desk, most_output=4_000) == 4_500
        refusal = desk.begin(most_output=9_000).refusal
        assert refusal is not None
        assert (refusal.requested, refusal.retry_after_s) == (9_500, None)

    def test_strict_lets_nobody_in_with_less(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget("1500 tokens / day", mode="strict"))
        desk.spend((500, 100, 0, 0, 0))
        assert desk.begin().refusal is not None
