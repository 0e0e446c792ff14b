from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, StatusCode

from otel_atm import TokenQuotaExceeded, TokenSpanProcessor, context
from otel_atm.config import Settings
from otel_atm.event import EventIds
from otel_atm.gate import Gate
from otel_atm.gate.recent import Recent
from otel_atm.ledger import MemoryLedger
from otel_atm.spans.attribution import Attribution
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, USED, Metered

TEN = "10 tokens / minute"
TTL_S = 900
SECRET = "the prompt was about Ann"


def told(bench: Metered) -> list[tuple[str, int]]:
    """(status, tokens) of each row."""
    return [(row.status, row.total_tokens) for row in bench.rows]


class TestCall:
    def test_is_one_row_with_what_its_span_says(self, bench: Metered, clock: ManualClock) -> None:
        span = bench.start(CHAT)
        clock.advance(1.5)
        bench.end(span, {**USED, "gen_ai.usage.cache_read.input_tokens": 4})
        (row,) = bench.rows
        identity = span.get_span_context()
        assert (row.trace_id, row.span_id) == (
            f"{identity.trace_id:032x}",
            f"{identity.span_id:016x}",
        )
        assert (row.provider, row.model, row.operation) == ("openai", "gpt-5.1", "chat")
        assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (11, 7, 4)
        assert (row.status, row.decision, row.estimated, row.source) == (
            "ok",
            "allowed",
            False,
            "span",
        )
        assert (row.ts_us, row.duration_us, row.ttft_us) == (
            clock() // 1_000 - 1_500_000,
            1_500_000,
            None,
        )

    def test_is_marked_on_its_span_from_the_start(self, bench: Metered) -> None:
        with context(user="ann", tags=["prod"]):
            span: Any = bench.start(CHAT)
        seen = dict(span.attributes)
        bench.end(span, USED)
        assert seen == {
            **CHAT,
            "atm.user": "ann",
            "atm.tags": ("prod",),
            "atm.decision": "allowed",
            "atm.call_id": bench.rows[0].event_id,
        }

    def test_says_when_its_first_chunk_came(self, bench: Metered) -> None:
        bench.end(bench.start(CHAT), {**USED, "gen_ai.response.time_to_first_chunk": 0.25})
        assert bench.rows[0].ttft_us == 250_000

    def test_learns_model_and_provider_at_its_end(self, bench: Metered) -> None:
        span = bench.start({"gen_ai.operation.name": "chat"})
        ending = {"gen_ai.provider.name": "anthropic", "gen_ai.response.model": "opus"}
        bench.end(span, {**USED, **ending})
        assert [(row.provider, row.model) for row in bench.rows] == [("anthropic", "opus")]

    def test_holds_until_it_ends(self, metered: Callable[..., Metered]) -> None:
        bench = metered("500 tokens / minute")
        span = bench.start(CHAT)
        assert (bench.used, bench.held) == ([0], [500])
        bench.end(span, USED)
        assert (bench.used, bench.held) == ([18], [0])

    def test_whose_usage_is_not_said_is_estimated_and_marked(self, bench: Metered) -> None:
        bench.end(bench.start(CHAT))
        (row,) = bench.rows
        assert (row.input_tokens, row.output_tokens, row.estimated) == (500, 500, True)

    def test_says_nothing_of_what_was_said(self, bench: Metered) -> None:
        said = {
            "gen_ai.input.messages": SECRET,
            "gen_ai.output.messages": SECRET,
            "gen_ai.prompt": SECRET,
            "error.type": SECRET,
        }
        bench.end(bench.start({**CHAT, **said}), USED)
        assert bench.rows[0].attributes == {"error.type": "_OTHER"}
        assert SECRET not in repr(bench.rows)

    def test_of_other_spans_there_is_none(self, bench: Metered) -> None:
        others: list[Mapping[str, Any]] = [
            {},
            {"http.request.method": "POST"},
            {"gen_ai.operation.name": "execute_tool"},
            USED,
        ]
        for attributes in others:
            bench.end(bench.start(attributes), attributes)
        assert bench.rows == []
        assert [dict(span.attributes or {}) for span in bench.exported] == others

    def test_below_a_parent_of_another_process_is_one_too(self, bench: Metered) -> None:
        remote = trace.SpanContext(0xA, 0xB, is_remote=True, trace_flags=trace.TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(remote)):
            bench.call()
        assert [row.trace_id for row in bench.rows] == [f"{0xA:032x}"]


class TestRefusal:
    @pytest.fixture
    def full(self, metered: Callable[..., Metered]) -> Metered:
        """A budget that is used up."""
        bench = metered(TEN)
        bench.call()
        bench.rows.clear()
        bench.exporter.clear()
        return bench

    def test_comes_out_where_the_span_starts(self, full: Metered) -> None:
        with pytest.raises(TokenQuotaExceeded) as raised:
            full.start(CHAT)
        assert str(raised.value) == (
            "this call asked for 10 tokens, 0 of 10 left this minute; resets in 1 min "
            "[budget: 10 tokens / minute]"
        )

    def test_keeps_the_block_from_being_entered(self, full: Metered) -> None:
        entered = False
        with (
            pytest.raises(TokenQuotaExceeded),
            full.tracer().start_as_current_span("chat", attributes=CHAT),
        ):
            entered = True
        assert not entered

    def test_is_exported_once_as_an_error(self, full: Metered) -> None:
        with context(user="ann"), pytest.raises(TokenQuotaExceeded) as raised:
            full.start(CHAT)
        (span,) = full.exported
        (row,) = full.rows
        assert dict(span.attributes or {}) == {
            **CHAT,
            "atm.user": "ann",
            "atm.decision": "refused",
            "atm.call_id": row.event_id,
            "atm.budget.name": TEN,
            "error.type": "TokenQuotaExceeded",
        }
        assert (span.status.status_code, span.status.description) == (
            StatusCode.ERROR,
            str(raised.value),
        )

    def test_is_one_row_without_tokens(self, full: Metered) -> None:
        with pytest.raises(TokenQuotaExceeded):
            full.start(CHAT)
        (row,) = full.rows
        facts = (row.decision, row.status, row.budget, row.calls, row.attempts, row.total_tokens)
        assert facts == ("refused", "error", TEN, 1, 0, 0)
        assert row.attributes == {"error.type": "TokenQuotaExceeded", "requested": 10}

    def test_leaves_the_context_as_it_was(self, full: Metered) -> None:
        with full.span({}, name="request") as outer:
            with (
                pytest.raises(TokenQuotaExceeded),
                full.tracer().start_as_current_span("chat", attributes=CHAT),
            ):
                pass
            assert trace.get_current_span() is outer
            with full.span({}, name="after"):
                pass
        after = {span.name: span.parent for span in full.exported}["after"]
        assert after == outer.get_span_context()

    def test_lets_later_spans_of_the_request_be_metered(self, full: Metered) -> None:
        with pytest.raises(TokenQuotaExceeded):
            full.start(CHAT)
        full.clock.advance(60)
        full.call()
        assert [row.decision for row in full.rows] == ["refused", "allowed"]

    def test_holds_though_another_processor_fails_at_the_end_of_spans(
        self, metered: Callable[..., Metered]
    ) -> None:
        class Broken(SpanProcessor):
            def on_end(self, span: ReadableSpan) -> None:
                raise RuntimeError("a processor of somebody else")

        bench = metered(TEN)
        bench.call()
        bench.provider.add_span_processor(Broken())
        bench.trouble = {"on_start": 1}
        with pytest.raises(TokenQuotaExceeded):
            bench.start(CHAT)

    def test_holds_though_its_span_has_room_for_no_attribute(
        self, metered: Callable[..., Metered]
    ) -> None:
        bench = metered(TEN, limits=SpanLimits(max_span_attributes=3))
        bench.call()
        with pytest.raises(TokenQuotaExceeded):
            bench.start(CHAT)
        assert [row.decision for row in bench.rows] == ["allowed", "refused"]

    def test_comes_out_of_every_task_that_is_over(self, full: Metered) -> None:
        async def work() -> None:
            full.start(CHAT)

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(work() for _ in range(10)), return_exceptions=True)

        kinds = [type(outcome) for outcome in asyncio.run(all_of_them())]
        assert kinds == [TokenQuotaExceeded] * 10


class TestOneCallManySpans:
    NATIVE: Mapping[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5.1"}
    NATIVE_USED: Mapping[str, Any] = {
        "llm.token_count.prompt": 11,
        "llm.token_count.completion": 7,
    }

    def test_an_agent_is_no_call_and_its_totals_are_not_counted_again(self, bench: Metered) -> None:
        with bench.span({"gen_ai.operation.name": "invoke_agent"}) as agent:
            bench.call()
            bench.call()
            agent.set_attributes({key: 2 * count for key, count in USED.items()})
        assert told(bench) == [("ok", 18), ("ok", 18)]

    @pytest.mark.parametrize(
        ("outer_says", "inner_says"),
        [(USED, NATIVE_USED), (USED, {}), ({}, NATIVE_USED)],
        ids=["both tell", "the outer tells", "the inner tells"],
    )
    def test_a_native_span_below_one_of_another_emitter_tells_of_its_call(
        self,
        metered: Callable[..., Metered],
        outer_says: Mapping[str, Any],
        inner_says: Mapping[str, Any],
    ) -> None:
        bench = metered("1000 tokens / minute")
        with bench.span(CHAT, emitter="langchain") as outer:
            inner = bench.start(self.NATIVE, emitter="openinference")
            assert bench.held == [1_000]
            bench.end(inner, inner_says)
            assert bench.rows == []  # the outer one may still tell
            outer.set_attributes(dict(outer_says))
        assert told(bench) == [("ok", 18)]
        assert (bench.used, bench.held) == ([18], [0])

    def test_both_spans_carry_the_id_of_the_one_call(self, bench: Metered) -> None:
        with bench.span(CHAT, emitter="langchain"):
            bench.call(emitter="openai")
        (row,) = bench.rows
        ids = [(span.attributes or {}).get("atm.call_id") for span in bench.exported]
        assert ids == [row.event_id, row.event_id]

    def test_other_spans_may_lie_between(self, bench: Metered) -> None:
        with (
            bench.span(CHAT, emitter="langchain"),
            bench.span({}, emitter="app", name="retry"),
            bench.span({}, emitter="app", name="attempt"),
        ):
            bench.clock.advance(600)  # too long for a guess by time
            bench.call(emitter="openai")
        assert told(bench) == [("ok", 18)]

    def test_an_outer_one_may_end_before_the_inner(self, bench: Metered) -> None:
        outer = bench.start(CHAT, emitter="langchain")
        with trace.use_span(outer):
            inner = bench.start(CHAT, emitter="openai")
        bench.end(outer)
        assert bench.rows == []
        bench.end(inner, USED)
        assert told(bench) == [("ok", 18)]

    def test_the_same_emitter_below_itself_tells_of_another_call(self, bench: Metered) -> None:
        with bench.span(CHAT) as outer:
            bench.call()
            outer.set_attributes({"gen_ai.usage.input_tokens": 5})
        assert told(bench) == [("ok", 18), ("ok", 5)]

    def test_another_model_below_is_another_call(self, bench: Metered) -> None:
        with bench.span(CHAT, emitter="langchain") as outer:
            bench.call(**{"gen_ai.request.model": "o9"}, emitter="openai")
            outer.set_attributes(USED)
        assert [(row.model, row.total_tokens) for row in bench.rows] == [
            ("o9", 18),
            ("gpt-5.1", 18),
        ]

    def test_another_answer_is_another_call(self, bench: Metered) -> None:
        with bench.span(CHAT, emitter="langchain") as outer:
            bench.end(
                bench.start(CHAT, emitter="openai"), {**USED, "gen_ai.response.id": "answer 1"}
            )
            outer.set_attributes({"gen_ai.usage.input_tokens": 5, "gen_ai.response.id": "answer 2"})
        assert sorted(told(bench)) == [("ok", 5), ("ok", 18)]

    def test_an_error_of_the_outer_span_is_an_error_of_the_call(self, bench: Metered) -> None:
        with suppress(KeyError), bench.span(CHAT, emitter="langchain"):
            bench.end(bench.start(CHAT, emitter="openai"), USED)
            raise KeyError
        assert told(bench) == [("error", 18)]


class TestEndings:
    @pytest.mark.parametrize(
        ("error", "row"),
        [
            (type("RateLimitError", (Exception,), {}), ("error", 0, False)),
            (type("APIConnectionError", (Exception,), {}), ("error", 0, False)),
            (type("ReadTimeout", (Exception,), {}), ("error", 1_000, True)),
            (KeyError, ("error", 1_000, True)),
        ],
    )
    def test_an_error_costs_nothing_or_the_estimate(
        self, bench: Metered, error: type[Exception], row: tuple[str, int, bool]
    ) -> None:
        with pytest.raises(error), bench.span(CHAT):
            raise error
        facts = [(row.status, row.total_tokens, row.estimated) for row in bench.rows]
        assert facts == [row]

    def test_a_cancelled_call_is_charged_with_the_estimate(self, bench: Metered) -> None:
        bench.end(bench.start(CHAT), {"error.type": "CancelledError"})
        (row,) = bench.rows
        assert (row.status, row.total_tokens, row.estimated) == ("cancelled", 1_000, True)
        assert row.attributes == {"error.type": "CancelledError"}

    def test_an_error_after_the_usage_was_told_is_charged_with_that(self, bench: Metered) -> None:
        with suppress(KeyError), bench.span(CHAT) as span:
            span.set_attributes(USED)
            raise KeyError
        assert told(bench) == [("error", 18)]

    def test_a_free_error_makes_room_again(self, metered: Callable[..., Metered]) -> None:
        bench = metered("1 calls / minute")
        bench.end(bench.start(CHAT), {"error.type": "503"})
        bench.call()
        assert told(bench) == [("error", 0), ("ok", 18)]

    def test_a_span_that_ends_twice_is_counted_once(self, bench: Metered) -> None:
        bench.call()
        bench.processor.on_end(bench.exported[0])
        assert told(bench) == [("ok", 18)]

    def test_a_span_that_never_ends_is_lost(self, metered: Callable[..., Metered]) -> None:
        bench = metered("5000 tokens / month")
        span = bench.start(CHAT)
        bench.clock.advance(TTL_S)
        bench.gate.expire()
        assert (told(bench), bench.used, bench.held) == ([("lost", 1_000)], [1_000], [0])
        bench.end(span, USED)  # after all
        assert [(row.status, row.total_tokens, row.revision) for row in bench.rows] == [
            ("lost", 1_000, 0),
            ("ok", 18, 1),
        ]
        assert bench.used == [18]

    def test_attributes_that_push_out_ours_do_not_hide_the_call(self, bench: Metered) -> None:
        span = bench.start(CHAT)
        bench.end(span, {**{f"app.key{number}": number for number in range(130)}, **USED})
        (row,) = bench.rows
        assert "atm.call_id" not in (bench.exported[0].attributes or {})
        assert (row.model, row.total_tokens) == ("gpt-5.1", 18)


class TestShutdown:
    def test_writes_off_what_is_in_flight(self, bench: Metered) -> None:
        bench.start(CHAT)
        bench.processor.shutdown()
        assert told(bench) == [("lost", 1_000)]

    def test_does_not_open_the_budgets(self, metered: Callable[..., Metered]) -> None:
        bench = metered(TEN)
        bench.call()
        bench.provider.shutdown()
        with pytest.raises(TokenQuotaExceeded):
            bench.start(CHAT)

    def test_is_not_the_end_of_metering(self, bench: Metered) -> None:
        bench.provider.shutdown()
        bench.call()
        assert told(bench) == [("ok", 18)]

    def test_flushing_finds_nothing_to_wait_for(self, bench: Metered) -> None:
        assert bench.processor.force_flush(0)

    def test_a_processor_that_ignores_spans_ends_only_what_it_admitted(
        self, metered: Callable[..., Metered]
    ) -> None:
        bench = metered(TEN)
        span = bench.start(CHAT)
        bench.processor.ignore_spans()
        bench.call()
        bench.end(bench.start({}), {**CHAT, **USED})
        bench.end(span, USED)
        assert told(bench) == [("ok", 18)]


class TestBounds:
    def test_open_spans_past_the_bound_are_forgotten_and_written_off(
        self, bench: Metered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("otel_atm.spans.processor._MAX_SPANS", 10)
        spans = [bench.start(CHAT) for _ in range(15)]
        for span in reversed(spans):
            bench.end(span, USED)
        bench.clock.advance(TTL_S)
        bench.gate.expire()
        statuses = [row.status for row in bench.rows]
        assert statuses == ["ok"] * 10 + ["lost"] * 5

    def test_many_threads_lose_no_call(self, metered: Callable[..., Metered]) -> None:
        bench = metered("1M tokens / day", "700 calls / day per user")
        refused: list[str] = []
        ready = threading.Barrier(16)

        def work(user: str) -> None:
            ready.wait()
            for _ in range(50):
                try:
                    with context(user=user), bench.span(CHAT) as span:
                        bench.tracer("app").start_span("inside").end()
                        span.set_attributes(USED)
                except TokenQuotaExceeded:
                    refused.append(user)

        threads = [threading.Thread(target=work, args=(user,)) for user in ["ann"] * 15 + ["bob"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == ["ann"] * 50
        assert sorted(bench.used) == [50, 700, 750 * 18]
        assert bench.held == [0, 0, 0]
        bench.gate.storm.write_all()
        assert len({row.event_id for row in bench.rows}) == len(bench.rows)
        assert (sum(row.calls for row in bench.rows), len(bench.exported)) == (800, 1_550)


class TestLateSpans:
    """Spans that say only at their end what they are."""

    def test_are_counted_when_they_end(self, metered: Callable[..., Metered]) -> None:
        bench = metered(TEN)
        span = bench.start({})
        bench.clock.advance(2)
        bench.end(span, {**CHAT, **USED})
        (row,) = bench.rows
        facts = (row.provider, row.model, row.total_tokens, row.duration_us, row.status)
        assert facts == ("openai", "gpt-5.1", 18, 2_000_000, "ok")
        assert bench.used == [18]

    def test_are_never_refused_and_use_up_the_budget_for_others(
        self, metered: Callable[..., Metered]
    ) -> None:
        bench = metered(TEN)
        for _ in range(2):
            bench.end(bench.start({}), {**CHAT, **USED})
        with pytest.raises(TokenQuotaExceeded):
            bench.start(CHAT)
        assert bench.used == [36]

    def test_are_attributed_like_any_other(self, bench: Metered) -> None:
        with context(team="ml"):
            bench.end(bench.start({}), {**CHAT, **USED, "user.id": "ann"})
        assert [(row.team, row.user_id) for row in bench.rows] == [("ml", "ann")]

    def test_that_failed_say_so(self, bench: Metered) -> None:
        bench.end(bench.start({}), {**CHAT, **USED, "error.type": "ReadTimeout"})
        assert told(bench) == [("error", 18)]

    def test_without_usage_are_not_counted(self, bench: Metered) -> None:
        bench.end(bench.start({}), CHAT)
        assert bench.rows == []

    def test_below_an_open_call_are_that_call(self, bench: Metered) -> None:
        with bench.span(CHAT, emitter="langchain") as outer:
            bench.end(bench.start({}, emitter="late"), {**CHAT, **USED})
            outer.set_attributes(USED)
        assert told(bench) == [("ok", 18)]

    def test_around_a_call_that_another_emitter_told_are_that_call(self, bench: Metered) -> None:
        with bench.span({}, emitter="late") as late:
            bench.call(emitter="openai")
            late.set_attributes({**CHAT, **USED})
        assert told(bench) == [("ok", 18)]

    def test_of_two_emitters_around_each_other_are_one_call(self, bench: Metered) -> None:
        with bench.span({}, emitter="late") as outer:
            bench.end(bench.start({}, emitter="later"), {**CHAT, **USED})
            outer.set_attributes({**CHAT, **USED})
        assert told(bench) == [("ok", 18)]

    def test_that_carry_the_id_of_a_call_were_counted_elsewhere(self, bench: Metered) -> None:
        bench.end(bench.start({}), {**CHAT, **USED, "atm.call_id": "of a parent process"})
        assert bench.rows == []


class TestConventions:
    def test_the_names_until_1_37(self, bench: Metered) -> None:
        start = {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "anthropic",
            "gen_ai.request.model": "opus",
        }
        end = {
            "gen_ai.usage.prompt_tokens": 11,
            "gen_ai.usage.completion_tokens": 7,
            "gen_ai.usage.cache_creation_input_tokens": 2,
        }
        bench.end(bench.start(start), end)
        (row,) = bench.rows
        facts = (row.provider, row.model, row.total_tokens, row.cache_write_tokens)
        assert facts == ("anthropic", "opus", 18, 2)

    def test_openinference(self, bench: Metered) -> None:
        start = {
            "openinference.span.kind": "LLM",
            "llm.provider": "openai",
            "llm.model_name": "gpt-5.1",
        }
        end = {
            "llm.token_count.prompt": 11,
            "llm.token_count.completion": 7,
            "llm.token_count.completion_details.reasoning": 3,
        }
        bench.end(bench.start(start), end)
        (row,) = bench.rows
        assert (row.provider, row.model, row.operation) == ("openai", "gpt-5.1", "chat")
        assert (row.input_tokens, row.output_tokens, row.reasoning_tokens) == (11, 7, 3)

    def test_openinference_embeddings(self, bench: Metered) -> None:
        start = {"openinference.span.kind": "EMBEDDING", "embedding.model_name": "ada"}
        bench.end(bench.start(start), {"llm.token_count.prompt": 11})
        (row,) = bench.rows
        assert (row.model, row.operation, row.total_tokens) == ("ada", "embeddings", 11)

    def test_agent_framework_says_at_the_end_what_it_called(
        self, metered: Callable[..., Metered]
    ) -> None:
        bench = metered("1000 tokens / minute")
        span = bench.start({}, emitter="agent_framework", name="chat gpt-5.1")
        assert bench.held == [1_000]
        bench.end(span, {**CHAT, **USED})
        (row,) = bench.rows
        assert (row.provider, row.model, row.total_tokens) == ("openai", "gpt-5.1", 18)

    def test_agent_framework_agents_are_no_calls(self, bench: Metered) -> None:
        agent = {"gen_ai.operation.name": "invoke_agent", **USED}
        with bench.span({}, emitter="agent_framework", name="invoke_agent Ann") as span:
            bench.end(
                bench.start({}, emitter="agent_framework", name="chat gpt-5.1"), {**CHAT, **USED}
            )
            span.set_attributes(agent)
        assert told(bench) == [("ok", 18)]


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET)


class TestBugsOfOurs:
    """Whatever breaks in here, the application does not notice."""

    STEPS = (
        "otel_atm.spans.attribution.recognise",
        "otel_atm.spans.processor.recognise",
        "otel_atm.spans.processor.read_tokens",
        "otel_atm.spans.processor.ending_of",
        (Attribution, "attribute"),
        (Gate, "plan"),
        (Gate, "begin"),
        (Gate, "settle"),
        (Gate, "release"),
        (Gate, "charge"),
        (Recent, "find"),
        (Gate, "expire"),
        (EventIds, "turn"),
        (MemoryLedger, "claim"),
        (MemoryLedger, "admit"),
        (MemoryLedger, "settle"),
        (MemoryLedger, "charge"),
    )

    def everything(self, bench: Metered, attempt: int) -> None:
        """All kinds of calls; each time of a new model, of which nothing is remembered."""
        bench.clock.advance(TTL_S)
        call = {**CHAT, "gen_ai.request.model": f"model{attempt}"}
        bench.end(bench.start(call), USED)
        bench.end(bench.start(call), {**USED, "gen_ai.usage.cache_read.input_tokens": 4})
        bench.end(bench.start(call), {"error.type": "429"})
        bench.end(bench.start({}), {**call, **USED})

    @pytest.mark.parametrize(
        "step", STEPS, ids=lambda step: step if isinstance(step, str) else step[1]
    )
    def test_it_is_counted_and_said_once_without_its_text(
        self,
        metered: Callable[..., Metered],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        step: Any,
    ) -> None:
        bench = metered("1M tokens / day")
        where = (step,) if isinstance(step, str) else step
        monkeypatch.setattr(*where, broken)
        self.everything(bench, 1)
        self.everything(bench, 2)
        assert len(bench.exported) == 8
        counts = bench.gate.trouble.counts
        assert counts.keys() <= {"on_start", "on_end", "expire"}
        assert sum(counts.values()) >= 2
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * len(counts)
        assert "RuntimeError at" in caplog.text
        assert SECRET not in caplog.text
        bench.trouble = dict(counts)

    def test_metering_goes_on_when_it_is_over(
        self, metered: Callable[..., Metered], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = metered("1M tokens / day")
        with monkeypatch.context() as patch:
            patch.setattr(MemoryLedger, "admit", broken)
            bench.call()
        bench.trouble = {"on_start": 1}
        bench.rows.clear()
        bench.call()
        assert told(bench) == [("ok", 18)]

    def test_a_call_that_could_not_be_settled_is_written_off(
        self, metered: Callable[..., Metered], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = metered("1M tokens / month")
        with monkeypatch.context() as patch:
            patch.setattr("otel_atm.spans.processor.read_tokens", broken)
            bench.end(bench.start(CHAT), {**USED, "gen_ai.usage.reasoning_tokens": 1})
        bench.trouble = {"on_end": 1}
        bench.clock.advance(TTL_S)
        bench.gate.expire()
        assert (told(bench), bench.used, bench.held) == ([("lost", 1_000)], [1_000], [0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    """A forked child has its parent's past, and nothing of what its parent has in flight."""

    def in_child(self, work: Callable[[], Any]) -> Any:
        """What `work` gives in a forked child; its exception, as text."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = work()
            except BaseException as error:  # noqa: BLE001 - the parent has to hear of it
                answer = repr(error)
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            answer = json.load(pipe)
        assert os.waitpid(child, 0)[1] == 0
        return answer

    def test_a_child_meters_and_refuses_by_itself(self, clock: ManualClock) -> None:
        ledger, reader = MemoryLedger(), InMemoryMetricReader()
        provider = TracerProvider(shutdown_on_exit=False)
        processor = TokenSpanProcessor(
            ["1100 tokens / minute"],
            ledger,
            meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        )
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("openai")

        def call() -> str:
            try:
                span = tracer.start_span("chat", attributes=CHAT)
            except TokenQuotaExceeded:
                return "refused"
            span.set_attributes({"gen_ai.usage.input_tokens": 600})
            span.end()
            return "allowed"

        def state() -> list[tuple[int, int]]:
            return [(balance.used, balance.held) for balance in ledger.balances(clock())]

        assert call() == "allowed"
        of_parent: Span = tracer.start_span("chat", attributes=CHAT)

        def work() -> Any:
            before = state()
            of_parent.end()
            decisions = [call(), call()]
            return before, decisions, state(), calls_of(reader)

        assert self.in_child(work) == [
            [[600, 0]],
            ["allowed", "refused"],
            [[1_200, 0]],
            {"allowed": 1, "refused": 1},
        ]
        assert state() == [(600, 500)]
        of_parent.end()
        assert state() == [(1_600, 0)]
        assert calls_of(reader) == {"allowed": 2}

    def test_a_childs_ids_are_not_its_parents(self, clock: ManualClock) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(TokenSpanProcessor())

        def ids() -> list[str]:
            spans: list[Any] = [
                provider.get_tracer("openai").start_span("chat", attributes=CHAT) for _ in range(3)
            ]
            return [span.attributes["atm.call_id"][14:] for span in spans]  # but for the time

        assert set(self.in_child(ids)).isdisjoint(ids())


class TestReconfigured:
    @pytest.mark.parametrize("budget", ["9000 tokens / month", "9000 tokens / day"])
    def test_metrics_of_budgets_go_on_when_budgets_change(
        self, budget: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        reader = InMemoryMetricReader()
        meter_provider = MeterProvider([reader], shutdown_on_exit=False)
        processor = TokenSpanProcessor(["5k tokens / month"], meter_provider=meter_provider)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        provider.get_tracer("openai").start_span("chat", attributes=CHAT).end()
        processor.configure(Settings.of([budget], "auto", None, 1_000))
        labels = {
            point.attributes["atm.budget.name"]
            for metric in metrics_of(reader)
            if metric.name.startswith("atm.budget.")
            for point in metric.data.data_points
        }
        assert (labels, caplog.messages) == ({budget}, [])


def metrics_of(reader: InMemoryMetricReader) -> Any:
    data: Any = reader.get_metrics_data()
    return data.resource_metrics[0].scope_metrics[0].metrics


def calls_of(reader: InMemoryMetricReader) -> dict[str, int]:
    """Decision → calls, as metrics say."""
    (calls,) = [metric for metric in metrics_of(reader) if metric.name == "atm.calls"]
    points = calls.data.data_points
    return {point.attributes["atm.decision"]: point.value for point in points if point.value}
