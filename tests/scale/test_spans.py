"""What a collector put into ClickHouse tells of calls what the file tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ibis
import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_atm as atm
from otel_atm import semconv
from otel_atm.charts import clickhouse, questions
from otel_atm.testing import ManualClock
from tests.scale.engine import ClickHouse
from tests.scale.exporter import rows_of

Row = dict[str, Any]

#: What spans do not tell, or tell otherwise; docs/scale.md says so.
OTHER = ("source", "price_version", "attributes", "estimated")
PRICES = """
prices:
  - {model: gpt-5.1, input: 2, output: 8, cache_read: 0.5, cache_write: 2.5}
"""
USAGE = {
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.cache_read.input_tokens": 300,
    "gen_ai.usage.cache_creation.input_tokens": 50,
    "gen_ai.usage.reasoning.output_tokens": 40,
}


class Shop:
    """A program with otel-atm, a file, and an exporter; its clock stands still."""

    def __init__(self, path: Path, *budgets: str, prices: Path | None = None) -> None:
        self.path, self.clock, self.sent = path, ManualClock(), InMemorySpanExporter()
        resource = Resource({"service.name": "shop", "deployment.environment.name": "prod"})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.processor = atm.TokenSpanProcessor(
            budgets, "memory", path, clock=self.clock, guards=False, prices=prices
        )
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.sent))

    def start(self, model: str = "gpt-5.1", *, scope: str = "openai", **more: Any) -> trace.Span:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            **more,
        }
        tracer = self.provider.get_tracer(scope)
        return tracer.start_span("chat", attributes=attributes, start_time=self.clock())

    def call(self, model: str = "gpt-5.1", usage: dict[str, Any] = USAGE, **more: Any) -> None:
        span = self.start(model, **more)
        self.end(span, usage)

    def end(self, span: trace.Span, attributes: dict[str, Any]) -> None:
        self.clock.advance(1.25)
        span.set_attributes(attributes)
        span.end(self.clock())

    def rows(self) -> list[Row]:
        """What the file has."""
        self.processor.force_flush()
        with atm.connect(self.path) as db:
            answer = db.sql(
                "select * replace (epoch_us(ts) as ts, attributes::json::varchar as attributes) "
                "from usage_events order by event_id"
            )
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    made = Shop(tmp_path / "tokens.duckdb", "4k tokens / day per user", prices=prices)
    yield made
    made.provider.shutdown()


def collect(database: ClickHouse, shop: Shop) -> list[Row]:
    """Ship the spans; what the view has."""
    database.ask("insert into model_prices values ('gpt-5.1', 2, 8, 0.5, 2.5)")
    lines = "\n".join(map(json.dumps, rows_of(shop.sent.get_finished_spans())))
    columns = "Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, "
    columns += "ResourceAttributes, ScopeName, SpanAttributes, Duration, StatusCode, StatusMessage"
    database.ask(f"insert into otel_traces ({columns}) format JSONEachRow {lines}")
    return database.ask(
        "select * replace (toUnixTimestamp64Micro(ts) as ts) from usage_events_of_spans "
        "order by event_id"
    )


def assert_they_agree(database: ClickHouse, shop: Shop) -> None:
    found, known = collect(database, shop), shop.rows()
    for mine, theirs in zip(found, known, strict=True):
        theirs["cost_usd"] = theirs["cost_usd"] and pytest.approx(theirs["cost_usd"])
        differing = {name for name in theirs if mine[name] != theirs[name]} - {*OTHER}
        assert {name: (mine[name], theirs[name]) for name in differing} == {}
        told = json.loads(theirs["attributes"] or "{}")
        told.pop("requested", None)
        assert json.loads(mine["attributes"]) == told


def test_a_call_is_the_same_row(shop: Shop, database: ClickHouse) -> None:
    with atm.context(user="ann", team="ml", session="s1", tags=["b", "a"], department="finance"):
        shop.call()
        shop.call(usage={**USAGE, "gen_ai.response.time_to_first_chunk": 0.25})
    with atm.context(app="bot", env="test"):
        shop.call("unknown model")
    assert_they_agree(database, shop)


def test_calls_that_are_refused_are_the_same_rows(shop: Shop, database: ClickHouse) -> None:
    with atm.context(user="ann"):
        for _ in range(8):
            with suppress(atm.TokenQuotaExceeded):
                shop.call()
            shop.clock.advance(60)  # so that none of them share a row
    assert {row["decision"] for row in shop.rows()} == {"allowed", "refused"}
    assert_they_agree(database, shop)


def test_refusals_that_repeat_are_counted_alike(shop: Shop, database: ClickHouse) -> None:
    with atm.context(user="ann"):
        for _ in range(4):
            shop.call()
        for _ in range(50):
            with suppress(atm.TokenQuotaExceeded):
                shop.call()
    found, known = collect(database, shop), shop.rows()
    assert len(found) > len(known)  # in the file they share rows
    for rows in (found, known):
        assert sum(row["calls"] for row in rows if row["decision"] == "refused") == 50


def test_a_call_that_two_instrumentations_report_is_one_row(
    shop: Shop, database: ClickHouse
) -> None:
    outer = shop.start(scope="langchain")
    with trace.use_span(outer, end_on_exit=False):
        shop.call()
    shop.end(outer, USAGE)
    assert len({span.attributes["atm.call_id"] for span in shop.sent.get_finished_spans()}) == 1
    assert_they_agree(database, shop)


def test_a_batch_that_is_sent_twice_counts_once(shop: Shop, database: ClickHouse) -> None:
    with atm.context(user="ann"):
        for _ in range(8):
            with suppress(atm.TokenQuotaExceeded):
                shop.call()
    once = collect(database, shop)
    assert collect(database, shop) == once


@pytest.mark.parametrize("error", ["RateLimitError", "builtins.KeyError", "500", "CancelledError"])
def test_a_call_that_failed_has_its_status(shop: Shop, database: ClickHouse, error: str) -> None:
    span = shop.start()
    span.set_status(trace.StatusCode.ERROR)
    shop.end(span, {**USAGE, "error.type": error})
    assert_they_agree(database, shop)


def test_a_call_without_usage_is_there_without_tokens(shop: Shop, database: ClickHouse) -> None:
    shop.call(usage={})
    (found,), (known,) = collect(database, shop), shop.rows()
    assert (found["total_tokens"], found["estimated"]) == (0, False)
    assert (known["total_tokens"] > 0, known["estimated"]) == (True, True)


def test_spans_of_programs_without_otel_atm_are_calls_too_but_not_the_sums_of_agents(
    database: ClickHouse, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "none.duckdb")
    shop.processor.shutdown()  # it writes nothing on spans any more
    sent = InMemorySpanExporter()
    plain = TracerProvider(resource=Resource({"service.name": "go"}), shutdown_on_exit=False)
    plain.add_span_processor(SimpleSpanProcessor(sent))
    shop.provider, shop.sent = plain, sent
    shop.call(**{"user.id": "eve"})
    shop.call(**{"gen_ai.operation.name": "invoke_agent"})
    shop.call(
        usage={"llm.token_count.prompt": 7, "llm.token_count.completion": 3},
        **{"gen_ai.operation.name": "", "openinference.span.kind": "LLM"},
    )
    rows = collect(database, shop)
    told = [(row["user_id"], row["operation"], row["total_tokens"], row["app"]) for row in rows]
    assert sorted(told, key=str) == [("eve", "chat", 1_200, "go"), (None, "chat", 10, "go")]
    assert all(row["decision"] == "allowed" for row in rows)


def test_the_view_reads_every_name_of_tokens_and_models_that_we_read() -> None:
    sql = clickhouse.read("usage_events_of_spans")
    names = [
        *semconv.USAGE_INPUT,
        *semconv.USAGE_OUTPUT,
        *semconv.USAGE_CACHE_READ,
        *semconv.USAGE_CACHE_WRITE,
        *semconv.USAGE_REASONING,
        *(value for name, value in vars(semconv).items() if name.startswith("OI_")),
        *semconv.CALL_OPERATIONS,
        *(name for name, key in semconv.SPAN_SCOPE.items() if key in ("user", "session")),
        *(name for name, key in semconv.RESOURCE_SCOPE.items() if key == "env"),
        semconv.GEN_AI_REQUEST_MODEL,
        semconv.GEN_AI_RESPONSE_MODEL,
        semconv.GEN_AI_PROVIDER_NAME,
        semconv.GEN_AI_SYSTEM,
    ]
    assert [name for name in names if f"'{name}'" not in sql] == []


def test_the_five_questions_have_the_answers_that_the_file_gives(
    shop: Shop, database: ClickHouse
) -> None:
    for number in range(30):
        tags = ["even"] if number % 2 == 0 else ["odd", "third"]
        payer = atm.context(user=f"u{number % 4}", team=f"t{number % 3}", tags=tags)
        with payer, suppress(atm.TokenQuotaExceeded):
            shop.call("gpt-5.1" if number % 5 else "unknown model")
        shop.clock.advance(600)
    collect(database, shop)
    shop.processor.force_flush()
    for ask in (
        questions.tokens_by_hour_and_model,
        questions.top_users,
        questions.latency,
        questions.tokens_by_tag,
        questions.cost_by_team,
    ):
        spans = ask(questions.usage_events("usage_events_of_spans"))
        found = database.ask(ibis.to_sql(spans, dialect="clickhouse"))
        with atm.connect(shop.path) as db:
            known = db.sql(ibis.to_sql(ask(questions.usage_events()), dialect="duckdb"))
            rows = [dict(zip(known.columns, row, strict=True)) for row in known.fetchall()]
        for row in rows:
            row |= {"hour": str(row["hour"])} if "hour" in row else {}
            row |= {k: pytest.approx(v) for k, v in row.items() if isinstance(v, float)}
        assert found == rows
        assert rows
