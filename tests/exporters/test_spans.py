"""The span exporter: what spans that have ended say of calls, one row for each call."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.trace import Status, StatusCode

import otel_atm as atm
from otel_atm.spans.ended import event_id_of
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, USED
from tests.exporters.conftest import AGENT, Traced, events, query, tokens

OPEN_INFERENCE = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5.1"}
OI_USED = {"llm.token_count.prompt": 11, "llm.token_count.completion": 7}
Exporter = atm.DuckDBSpanExporter


class TestACall:
    def test_is_a_row_with_what_its_span_says(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**CHAT, "user.id": "ann", "session.id": "s1"}) as span:
            span.set_attributes({**USED, "gen_ai.usage.cache_read.input_tokens": 4})
            span.set_attribute("gen_ai.response.time_to_first_chunk", 0.0005)
        assert exporter.export(traced.spans()) is SpanExportResult.SUCCESS
        (row,) = events(path)
        identity = span.get_span_context()
        assert {
            key: row[key] for key in row.keys() - {"event_id", "cost_usd", "price_version"}
        } == {
            "ts": datetime(2026, 1, 1),
            "trace_id": f"{identity.trace_id:032x}",
            "span_id": f"{identity.span_id:016x}",
            "duration_us": 2_000,
            "ttft_us": 500,
            "service": "shop",
            "app": "shop",
            "env": "prod",
            "team": None,
            "user_id": "ann",
            "session_id": "s1",
            "provider": "openai",
            "model": "gpt-5.1",
            "operation": "chat",
            "status": "ok",
            "decision": "allowed",
            "budget": None,
            "calls": 1,
            "attempts": 1,
            "input_tokens": 11,
            "output_tokens": 7,
            "cache_read_tokens": 4,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "total_tokens": 18,
            "estimated": False,
            "source": "span",
            "tags": [],
            "attributes": {},
            "revision": 0,
        }
        assert row["cost_usd"] == pytest.approx((7 * 1.25 + 4 * 0.125 + 7 * 10) / 1e6)

    def test_has_the_same_id_however_often_it_is_exported(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**CHAT, **USED}):
            pass
        spans = traced.spans()
        exporter.export(spans)
        exporter.export(spans)
        again = Exporter(path)
        again.export(spans)
        again.shutdown()
        assert tokens(events(path)) == [(11, 7)]

    def test_is_kept_among_many(self, traced: Traced, exporter: Exporter, path: Path) -> None:
        for number in range(3_000):  # more than are remembered
            used = {"gen_ai.usage.input_tokens": number + 1, "gen_ai.usage.output_tokens": 7}
            with traced.span({**CHAT, **used}, by="langchain"), traced.span({**CHAT, **used}):
                pass
        spans = traced.spans()
        for batch in (spans[:2], spans, spans[-4:]):
            exporter.export(batch)
        assert len(events(path)) == 3_000

    def test_that_failed_is_charged_as_its_ending_says(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        for error in ("RateLimitError", "APITimeoutError"):
            with traced.span({**CHAT, "error.type": error}) as span:
                span.set_status(Status(StatusCode.ERROR))
        exporter.export(traced.spans())
        free, charged = events(path)
        assert (free["status"], free["total_tokens"], free["estimated"]) == ("error", 0, False)
        assert (charged["status"], charged["total_tokens"], charged["estimated"]) == (
            "error",
            1000,
            True,
        )
        assert charged["attributes"] == {"error.type": "APITimeoutError"}

    def test_without_usage_is_estimated(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span(CHAT):
            pass
        exporter.export(traced.spans())
        (row,) = events(path)
        assert (row["status"], row["total_tokens"], row["estimated"]) == ("ok", 1000, True)

    @pytest.mark.parametrize("start_ns", [None, 0, -5, 1 << 63])
    def test_whose_span_has_no_time_is_of_now(
        self, traced: Traced, exporter: Exporter, path: Path, start_ns: int | None
    ) -> None:
        with traced.span({**CHAT, **USED}):
            pass
        (span,) = traced.spans()
        span._start_time = start_ns
        exporter.export([span])
        (row,) = events(path)
        assert row["duration_us"] is None
        assert row["ts"].year > 2000

    def test_is_not_what_no_emitter_says_is_one(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({"http.request.method": "POST"}, name="POST"):
            pass
        with traced.span({"gen_ai.operation.name": "execute_tool"}, name="tool"):
            pass
        exporter.export(traced.spans())
        assert exporter.force_flush()
        assert not path.exists()


class TestSpansOfOneCall:
    @pytest.mark.parametrize("together", [True, False], ids=["one batch", "a batch each"])
    @pytest.mark.parametrize(
        "parents_first", [True, False], ids=["parents first", "children first"]
    )
    def test_are_one_row(
        self,
        traced: Traced,
        exporter: Exporter,
        path: Path,
        together: bool,
        parents_first: bool,
    ) -> None:
        with (
            traced.span({**AGENT, **USED}, by="agents"),
            traced.span({**OPEN_INFERENCE, **OI_USED, "user.id": "ann"}, by="openinference.x"),
            traced.span({}, by="httpx", name="POST"),
            traced.span({**CHAT, **USED}, by="opentelemetry.instrumentation.genai.openai"),
            traced.span({**CHAT, **USED}, by="com.anthropic.sdk"),
        ):
            pass
        spans = traced.spans()
        if parents_first:
            spans = spans[::-1]
        for batch in [spans] if together else [[span] for span in spans]:
            exporter.export(batch)
        (row,) = events(path)
        assert tokens([row]) == [(11, 7)]
        if not parents_first:
            assert (row["user_id"], row["provider"]) == ("ann", "openai")

    def test_are_one_row_though_they_count_differently(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with (
            traced.span({**CHAT, "gen_ai.usage.input_tokens": 5}, by="langchain"),
            traced.span({**CHAT, **USED}),
        ):
            pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)]

    def test_tell_what_the_first_did_not(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        outer = {**CHAT, **USED, "user.id": "ann"}
        with traced.span(outer, by="langchain"), traced.span({"gen_ai.operation.name": "chat"}):
            pass
        inner, outer_span = traced.spans()
        exporter.export([inner])
        (row,) = events(path)
        assert (row["model"], row["estimated"]) == (None, True)
        exporter.export([outer_span])
        (row,) = events(path)
        assert (row["model"], row["provider"], row["user_id"]) == ("gpt-5.1", "openai", "ann")
        assert (row["total_tokens"], row["estimated"], row["revision"]) == (18, False, 1)
        (minutes,) = query(path, "select sum(total_tokens) as tokens from usage_1m")
        assert minutes == {"tokens": 18}

    def test_made_after_the_call_in_another_trace_are_its_row(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**CHAT, **USED}):
            pass
        traced.clock.advance(0.5)
        with traced.span({**CHAT, **USED}, by="litellm"):
            pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)]

    def test_beside_each_other_are_its_row(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({}, name="request"):
            first = traced.start({**CHAT, **USED}, by="opentelemetry.instrumentation.anthropic")
            traced.clock.advance(0.01)
            second = traced.start({**CHAT, **USED}, by="com.anthropic.sdk")
            traced.end(first)
            traced.end(second)
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)]

    def test_that_answer_differently_are_two_rows(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with (
            traced.span({**CHAT, **USED, "gen_ai.response.id": "a"}, by="langchain"),
            traced.span({**CHAT, **USED, "gen_ai.response.id": "b"}),
        ):
            pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)] * 2


class TestCallsOfOneEmitter:
    def test_are_a_row_each_however_alike(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**AGENT, **USED}, by="agents"):
            for _ in range(5):
                with traced.span({**CHAT, **USED}, by="langchain"), traced.span({**CHAT, **USED}):
                    pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)] * 5

    def test_are_told_of_by_an_agent_alone_where_they_are_made_elsewhere(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**AGENT, **USED, "gen_ai.request.model": "gpt-5.1"}, by="agents"):
            pass
        exporter.export(traced.spans())
        (row,) = events(path)
        assert (row["operation"], row["total_tokens"]) == ("invoke_agent", 18)
        assert row["attributes"] == {"agent": "clerk"}

    def test_nested_agents_tell_of_them_once(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with (
            traced.span({**AGENT, **USED}, by="agents"),
            traced.span({**AGENT, **USED}, by="agents"),
        ):
            pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)]


class TestAProcessor:
    def test_that_keeps_the_file_makes_the_rows(
        self, traced: Traced, exporter: Exporter, path: Path, clock: ManualClock
    ) -> None:
        processor = atm.TokenSpanProcessor(store=path, ledger="memory", clock=clock, guards=False)
        traced.provider.add_span_processor(processor)
        with atm.context(user="ann"), traced.span(CHAT) as span:
            span.set_attributes(USED)
        late = {**CHAT, "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2}
        with traced.span(late, by="litellm"):  # it gets a row, but no id
            pass
        assert exporter.export(traced.spans()) is SpanExportResult.SUCCESS
        processor.shutdown()
        assert [(row["user_id"], row["total_tokens"]) for row in events(path)] == [
            ("ann", 18),
            (None, 5),
        ]

    def test_that_keeps_another_file_leaves_the_rows_to_the_exporter(
        self, traced: Traced, exporter: Exporter, path: Path, clock: ManualClock
    ) -> None:
        elsewhere = path.with_name("other.duckdb")
        processor = atm.TokenSpanProcessor(
            ["1 request / day"],
            store=elsewhere,
            ledger="memory",
            clock=clock,
            guards=False,
        )
        traced.provider.add_span_processor(processor)
        with atm.context(user="ann", team="ml", department="finance", tags=["a", "b"]):
            with traced.span(CHAT) as span:
                span.set_attributes({**USED, "user.id": "somebody else"})
            with pytest.raises(atm.TokenQuotaExceeded):
                traced.start(CHAT)
        exporter.export(traced.spans())
        processor.shutdown()
        apart = {"ts", "duration_us", "ttft_us", "attributes", "revision"}
        ours, its = events(path), events(elsewhere)
        assert len(ours) == 2
        assert [[row[name] for name in row.keys() - apart] for row in ours] == [
            [row[name] for name in row.keys() - apart] for row in its
        ]
        assert [row["attributes"] for row in ours] == [
            {"department": "finance"},
            {"department": "finance", "error.type": "TokenQuotaExceeded"},
        ]

    def test_of_which_one_id_stands_on_two_spans_has_one_row(
        self, traced: Traced, exporter: Exporter, path: Path, clock: ManualClock
    ) -> None:
        processor = atm.TokenSpanProcessor(ledger="memory", clock=clock, guards=False)
        traced.provider.add_span_processor(processor)
        with traced.span(CHAT, by="langchain"), traced.span(CHAT) as inner:
            inner.set_attributes(USED)
        exporter.export(traced.spans())
        processor.shutdown()
        (row,) = events(path)
        assert row["total_tokens"] == 18

    @pytest.mark.parametrize(
        "said",
        [
            {"atm.call_id": 7},
            {"atm.call_id": "not an id"},
            {"atm.call_id": event_id_of(1, 2, 3), "atm.user_id": "x", "atm.decision": "odd"},
            {"atm.call_id": event_id_of(1, 2, 3), "atm.tags": "text", "atm.decision": 5},
            {"atm.call_id": event_id_of(1, 2, 3), "atm.decision": "warned", "atm.budget.name": 5},
        ],
    )
    def test_that_is_not_ours_costs_no_row(
        self, traced: Traced, exporter: Exporter, path: Path, said: Mapping[str, Any]
    ) -> None:
        with traced.span({**CHAT, **USED, **said}):
            pass
        exporter.export(traced.spans())
        assert tokens(events(path)) == [(11, 7)]

    def test_refusing_in_a_guard_is_a_refusal_too(
        self, traced: Traced, exporter: Exporter, path: Path
    ) -> None:
        with traced.span({**CHAT, "error.type": "otel_atm.errors.TokenQuotaExceeded"}) as span:
            span.set_status(Status(StatusCode.ERROR))
        exporter.export(traced.spans())
        (row,) = events(path)
        assert (row["status"], row["decision"], row["total_tokens"], row["attempts"]) == (
            "error",
            "refused",
            0,
            0,
        )


class TestUnderTheSdk:
    def test_a_batch_processor_delivers(self, path: Path) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = Exporter(path)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("openai")
        for _ in range(700):  # more than a batch
            tracer.start_span("chat", attributes={**CHAT, **USED}).end()
        assert provider.force_flush()
        assert exporter.force_flush()
        provider.shutdown()
        assert len(events(path)) == 700

    def test_threads_may_export_at_once(self, path: Path) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(Exporter(path)))

        def call() -> None:
            tracer = provider.get_tracer("openai")
            for _ in range(50):
                with (
                    tracer.start_as_current_span("run", attributes={**AGENT, **USED}),
                    tracer.start_as_current_span("chat", attributes={**CHAT, **USED}),
                ):
                    pass

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        provider.shutdown()
        assert len(events(path)) == 200

    def test_the_context_of_who_ends_a_span_pays_for_nothing(
        self, exporter: Exporter, path: Path
    ) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        span = provider.get_tracer("openai").start_span("chat", attributes={**CHAT, **USED})
        with atm.context(user="somebody else"):
            span.end()
        (row,) = events(path)
        assert row["user_id"] is None


class TestFailure:
    def test_is_said_when_nothing_could_be_kept(self, traced: Traced, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        exporter = Exporter(tmp_path / "file" / "tokens.duckdb")  # beneath a file
        with traced.span({**CHAT, **USED}):
            pass
        spans = traced.spans()
        assert exporter.export(spans) is SpanExportResult.FAILURE
        assert exporter.export([]) is SpanExportResult.SUCCESS
        assert not exporter.force_flush(1)
        exporter.shutdown()
        assert exporter.trouble.dropped == {"spool_write": 1}

    def test_of_one_span_costs_no_other(self, traced: Traced, path: Path) -> None:
        exporter = Exporter(path)
        with traced.span({**CHAT, **USED}):
            pass
        spans: list[Any] = [object(), *traced.spans()]
        assert exporter.export(spans) is SpanExportResult.SUCCESS
        assert tokens(events(path)) == [(11, 7)]
        assert exporter.trouble.counts == {"export": 1}
        exporter.shutdown()


@pytest.mark.parametrize("given", [5, b"path", ["a"]])
def test_a_path_that_is_none_is_an_error_that_quotes_it(given: Any) -> None:
    for face in (atm.DuckDBSpanExporter, atm.DuckDBMetricExporter):
        with pytest.raises(atm.ConfigurationError) as raised:
            face(given)
        assert str(raised.value).startswith(f"path={given!r}: expected the path")


def test_variables_name_the_file_and_the_prices(
    traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices:\n  - model: gpt-5.1\n    input: 1\n    output: 2\n", "utf-8")
    monkeypatch.setenv("ATM_DB", str(tmp_path / "named.duckdb"))
    monkeypatch.setenv("ATM_PRICES", str(prices))
    exporter = atm.DuckDBSpanExporter()
    with traced.span({**CHAT, **USED}):
        pass
    exporter.export(traced.spans())
    exporter.shutdown()
    (row,) = events(tmp_path / "named.duckdb")
    assert row["cost_usd"] == pytest.approx(25e-6)


def test_a_variable_that_names_no_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATM_DB", "none")
    with pytest.raises(atm.ConfigurationError, match="ATM_DB='none'"):
        atm.DuckDBSpanExporter()


def test_ids_are_uuids_by_time() -> None:
    early, late = event_id_of(1_000_000, 2, 3), event_id_of(1_795_000_000_000_000_000, 2, 3)
    assert early < late
    assert early[14] == "7"
    assert early[19] in "89ab"
    assert len({event_id_of(1, 2, 3), event_id_of(1, 2, 4), event_id_of(1, 3, 3)}) == 3


@pytest.mark.parametrize("by", ["openai", "opentelemetry.instrumentation.openai.v1"])
def test_a_call_without_usage_is_not_the_next_one_that_has_it(
    traced: Traced, exporter: Exporter, path: Path, by: str
) -> None:
    with traced.span(CHAT, by=by, name="openai.chat"):
        pass
    with traced.span(CHAT, by=by, name="openai.chat") as span:
        span.set_attributes(USED)
    exporter.export(traced.spans())
    exporter.shutdown()
    assert sorted(row["estimated"] for row in events(path)) == [False, True]
