"""The wire: requests find the calls that spans told of, and make their own where none did."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.budget import Budget
from otel_atm.gate import Aggregate, Call, Telling, Tokens
from otel_atm.gate.wire import Wire
from otel_atm.scope import Scope, context, current_scope
from otel_atm.testing import ManualClock
from tests.gate.test_gate import Bench, kind

USED: Tokens = (11, 7, 4, 2, 3)
PER_USER = "1000 tokens / minute per user"
FRAMEWORK = "openinference.instrumentation.langchain"


class Guarded(Bench):
    """A gate whose calls pass guards."""

    def __init__(self, clock: ManualClock, *budgets: Budget | str) -> None:
        super().__init__(clock, *budgets or [PER_USER])
        self.gate.guarded = True
        self.gate.coverage._known = lambda emitter: emitter.startswith("openinference.")
        self.wire = Wire(self.gate, self._plan)

    def _plan(self, provider: str | None, model: str | None, operation: str) -> Any:
        who = dict(current_scope().items())
        return self.gate.plan(
            kind(provider=provider or "", model=model, operation=operation, **who)
        )

    def span(self, span_id: int, **facts: Any) -> Call:
        """A span of a framework starts."""
        call = self.begin(**{"emitter": FRAMEWORK, "user": "ann"} | facts)
        self.gate.spans[span_id] = call, None
        return call

    def request(
        self, span_id: int = 0, *, user: str | None = "ann", model: str = "gpt-5.1", **facts: Any
    ) -> Call:
        """A client is about to send."""
        operation = facts.get("operation", "chat")
        with context(user=user):
            return self.wire.take(
                ("openai", model, operation),
                10,
                facts.get("most_output", 20),
                emitter="httpx",
                trace_id=0xABC,
                span_id=span_id,
            )

    def answer(self, call: Call, tokens: Tokens | None = USED) -> None:
        self.wire.end(call, tokens, "ok", None, estimated=False, free=False, attempts=1)


@pytest.fixture
def bench(clock: ManualClock) -> Guarded:
    return Guarded(clock)


def elsewhere(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Where nothing of this context is known."""
    return Context().run(lambda: function(*args, **kwargs))


class TestARequest:
    def test_beneath_a_span_is_of_its_call(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1)
        assert elsewhere(bench.request, 1) is call

    def test_after_a_span_of_this_context_is_of_its_call(self, bench: Guarded) -> None:
        def both() -> None:
            assert bench.span(1) is bench.request()

        copy_context().run(both)

    def test_that_has_lost_its_context_is_of_the_oldest_call_of_its_payer(
        self, bench: Guarded
    ) -> None:
        calls = [elsewhere(bench.span, number) for number in (1, 2)]
        assert [elsewhere(bench.request) for _ in calls] == calls

    @pytest.mark.parametrize(
        "different",
        [{"user": "bob"}, {"model": "o9"}, {"operation": "embeddings"}],
        ids=["another payer", "another model", "another operation"],
    )
    def test_is_not_of_a_call_that_differs(self, bench: Guarded, different: dict[str, Any]) -> None:
        call = elsewhere(bench.span, 1)
        assert elsewhere(bench.request, **different) is not call

    def test_comes_within_ten_seconds_of_its_span(self, bench: Guarded, clock: ManualClock) -> None:
        call = elsewhere(bench.span, 1)
        clock.advance(11)
        assert elsewhere(bench.request) is not call

    def test_takes_no_call_of_an_emitter_whose_clients_have_no_guards(self, bench: Guarded) -> None:
        by_hand = elsewhere(bench.span, 1, emitter="my app")
        assert elsewhere(bench.request) is not by_hand

    def test_is_a_call_of_its_own_after_the_first_beneath_a_span(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1)
        first, second = elsewhere(bench.request, 1), elsewhere(bench.request, 1)
        assert first is call is not second
        bench.answer(first)
        bench.answer(second)
        assert [row.total_tokens for row in bench.rows] == [18, 18]

    def test_of_an_embedding_beneath_a_chat_is_a_call_of_its_own(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1)
        assert elsewhere(bench.request, 1, operation="embeddings") is not call
        assert elsewhere(bench.request, 1) is call

    def test_beneath_a_span_with_an_alias_is_of_the_model_that_it_names(
        self, bench: Guarded
    ) -> None:
        call = elsewhere(bench.span, 1, model="fast")
        assert elsewhere(bench.request, 1, model="gpt-5.1-mini") is call
        assert call.plan.kind.model == "gpt-5.1-mini"

    def test_says_who_pays_where_its_span_did_not_know(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1, user=None, team="ml")
        elsewhere(bench.request, 1, user="ann")
        assert call.plan.kind.scope == Scope(user="ann", team="ml")

    def test_of_something_else_frees_the_call_of_its_span(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1)
        bench.wire.pass_over(1)
        assert (call.open, bench.rows, bench.amounts) == (False, [], {"ann": (0, 0)})

    def test_makes_it_known_that_there_are_calls_beneath_an_agent(self, bench: Guarded) -> None:
        workflow = Aggregate(None)
        agent = Aggregate(workflow)
        bench.gate.spans[7] = agent, None
        elsewhere(bench.request, 7)
        assert agent.saw_calls
        assert workflow.saw_calls


class TestASpan:
    def test_holds_next_to_nothing_until_its_request_is_known(self, bench: Guarded) -> None:
        call = elsewhere(bench.span, 1)
        assert bench.amounts == {"ann": (0, 16)}
        elsewhere(bench.request, 1)
        assert bench.amounts == {"ann": (0, 30)}
        bench.answer(call)
        assert bench.amounts == {"ann": (18, 0)}

    def test_of_an_unknown_emitter_holds_all_until_guards_have_seen_its_calls(
        self, bench: Guarded
    ) -> None:
        def held() -> int:
            call = elsewhere(bench.span, 1, emitter="new")
            held = bench.amounts["ann"][1]
            elsewhere(bench.request, 1)
            bench.answer(call)
            return held

        assert [held(), held()] == [100, 16]

    def test_of_an_emitter_that_tells_what_no_guard_saw_holds_all_again(
        self, bench: Guarded
    ) -> None:
        bench.gate.coverage.miss(FRAMEWORK)
        elsewhere(bench.span, 1)
        assert bench.amounts == {"ann": (0, 100)}


class TestCoverage:
    def test_remembers_a_bounded_number(self, bench: Guarded) -> None:
        coverage = bench.gate.coverage
        for number in range(10_000):
            coverage.see(f"emitter {number}", f"model {number}")
            coverage.miss(f"other {number}")
        assert len(coverage._seen) <= 4_096 >= len(coverage._follows)
        assert coverage.has_seen("emitter 9999", "model 9999")


class TestUnsent:
    def test_remembers_a_bounded_number_of_payers_and_calls(self, bench: Guarded) -> None:
        unsent = bench.gate.unsent
        for number in range(9_000):
            bench.gate.drop(elsewhere(bench.span, 1, user=f"user {number}"))
        assert len(unsent._by_payer) <= 4_096
        for _ in range(600):
            elsewhere(bench.span, 1)
        assert len(unsent._by_payer[Scope(user="ann")]) <= 256


class TestRecent:
    def telling(self, bench: Bench, **different: Any) -> Telling:
        now_ns = bench.clock()
        facts: dict[str, Any] = {
            "kind": kind(),
            "emitter": "litellm",
            "tokens": USED,
            "start_ns": now_ns - 1_000_000_000,
            "end_ns": now_ns + 1_000_000_000,
        }
        return Telling(**{**facts, **different})

    def test_knows_a_late_span_for_five_seconds(self, bench: Guarded, clock: ManualClock) -> None:
        call = bench.begin(user="ann")
        call.ended_ns = clock()
        bench.gate.settle(call, USED)
        clock.advance(4)
        times = {"start_ns": clock(), "end_ns": clock()}
        assert bench.gate.recent.find(self.telling(bench, **times)) is None
        assert bench.gate.recent.find(self.telling(bench, **times, late=True)) is call
        clock.advance(2)
        late = self.telling(bench, start_ns=clock(), end_ns=clock(), late=True, emitter="logfire")
        assert bench.gate.recent.find(late) is None

    def test_tells_calls_apart_by_the_ids_of_their_answers(self, bench: Guarded) -> None:
        call = bench.begin(user="ann")
        call.response_id = "one"
        bench.gate.settle(call, USED)
        assert bench.gate.recent.find(self.telling(bench, response_id="two")) is None
        assert bench.gate.recent.find(self.telling(bench, response_id="one")) is call

    def test_forgets_the_oldest(self, bench: Guarded) -> None:
        recent = bench.gate.recent
        for _ in range(6):
            for number in range(500):
                bench.spend((number + 1, 1, 0, 0, 0), user=f"user {number}")
            recent.find(self.telling(bench, tokens=(9_999, 1, 0, 0, 0)))
        assert len(recent._kept) == 2_048
        assert sum(map(len, recent._alike.values())) == 2_048

    @given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab")), max_size=40))
    def test_each_emitter_tells_of_each_call_once(self, told: list[tuple[int, str]]) -> None:
        bench = Guarded(ManualClock())
        calls = [1, 1, 2, 2, 2, 3]
        for given_tokens in calls:
            bench.spend((given_tokens, 1, 0, 0, 0), user="ann")
        found = [
            (tokens, emitter)
            for tokens, emitter in told
            if bench.gate.recent.find(
                self.telling(bench, tokens=(tokens, 1, 0, 0, 0), emitter=emitter)
            )
        ]
        for key in set(told):
            assert found.count(key) == min(told.count(key), calls.count(key[0]))

    def test_knows_whether_a_payer_had_a_call_at_that_time(
        self, bench: Guarded, clock: ManualClock
    ) -> None:
        bench.spend(USED, user="ann")
        now_ns = clock()
        times = now_ns - 1, now_ns + 1
        recent = bench.gate.recent
        assert recent.any_of(Scope(user="ann"), *times)
        assert not recent.any_of(Scope(user="bob"), *times)
        assert not recent.any_of(Scope(user="ann"), now_ns + 10**9, now_ns + 2 * 10**9)


class TestARefusal:
    @pytest.fixture
    def tight(self, clock: ManualClock) -> Guarded:
        """20 tokens are left: a floor fits, a request does not."""
        bench = Guarded(clock, Budget("120 tokens / minute per user", mode="strict"))
        bench.spend((60, 40, 0, 0, 0), user="ann")
        bench.rows.clear()
        return bench

    def refused(self, bench: Guarded) -> list[tuple[str, int]]:
        bench.gate.storm.write_all()
        return [(row.decision, row.calls) for row in bench.rows]

    def test_by_the_guard_is_one_row(self, tight: Guarded) -> None:
        elsewhere(tight.span, 1)
        assert elsewhere(tight.request, 1, most_output=100).refusal is not None
        assert self.refused(tight) == [("refused", 1)]
        assert tight.amounts == {"ann": (100, 0)}

    def test_that_the_emitter_passes_over_is_the_row_of_its_span(self, bench: Guarded) -> None:
        bench.spend((600, 400, 0, 0, 0), user="ann")
        bench.rows.clear()

        def both() -> None:
            assert bench.span(1).refusal is not None
            assert bench.request(1).refusal is not None

        elsewhere(both)
        assert self.refused(bench) == [("refused", 1)]

    def test_of_a_call_without_a_span_does_not_stand_for_one_with_a_span(
        self, bench: Guarded
    ) -> None:
        bench.spend((600, 400, 0, 0, 0), user="ann")
        bench.rows.clear()
        assert elsewhere(bench.request, operation="embeddings").refusal is not None

        def both() -> None:  # the span is not made current
            assert bench.span(1).refusal is not None
            assert bench.request().refusal is not None

        elsewhere(both)
        assert self.refused(bench) == [("refused", 1), ("refused", 1)]

    def test_that_two_emitters_tell_of_is_one_row(self, bench: Guarded) -> None:
        bench.spend((600, 400, 0, 0, 0), user="ann")
        bench.rows.clear()

        def both() -> None:
            first = bench.span(1)
            assert bench.span(2, emitter="openinference.instrumentation.openai") is first

        elsewhere(both)
        assert self.refused(bench) == [("refused", 1)]

    def test_of_another_try_is_another(self, tight: Guarded) -> None:
        def tries() -> None:
            tight.gate.stop("operator", stopped=True)
            assert tight.span(1).refusal is not None
            tight.gate.stop("operator", stopped=False)
            tight.span(2)
            assert tight.request(2, most_output=100).refusal is not None

        elsewhere(tries)
        assert self.refused(tight) == [("refused", 1), ("refused", 1)]

    def test_says_what_such_calls_use(self, bench: Guarded) -> None:
        bench.spend((600, 400, 0, 0, 0), user="ann")
        refusal = elsewhere(bench.span, 1).refusal
        assert refusal is not None
        assert refusal.requested == 100
