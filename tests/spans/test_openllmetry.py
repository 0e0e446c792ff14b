"""Spans of OpenLLMetry from before it took the names of GenAI, as its releases made them.

``openllmetry.json`` was recorded in November 2026, content turned off: what each release of
opentelemetry-instrumentation-openai sets at the start and at the end of a span, for calls that
used 11 tokens and made 7.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import UsageEvent
from otel_atm.spans.emitters import OPENLLMETRY, OPENLLMETRY_RESPONSES, recognise
from otel_atm.spans.reading import read_provider
from tests.conftest import CHAT, USED, Metered

Record = dict[str, Any]
SCOPE = "opentelemetry.instrumentation.openai.v1"
RECORDED: list[Record] = json.loads(Path(__file__).with_name("openllmetry.json").read_text("utf-8"))
TOLD = [each for each in RECORDED if "llm.usage.total_tokens" in each["end"]]
SILENT = [each for each in RECORDED if each["status"] != "ERROR" and each not in TOLD]
FAILED = [each for each in RECORDED if each["status"] == "ERROR"]
OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}


def of(records: list[Record]) -> Any:
    ids = [f"{each['version']} {each['case']}" for each in records]
    return pytest.mark.parametrize("record", records, ids=ids)


def start(bench: Metered, record: Record, **more: Any) -> Span:
    return bench.start({**record["start"], **more}, emitter=SCOPE, name=record["name"])


def end(bench: Metered, span: Span, record: Record) -> None:
    span.set_attributes(record["end"])
    if record["exception"]:
        span.add_event("exception", {"exception.type": record["exception"]})
    span.set_status(StatusCode[record["status"]])
    span.end(bench.clock())


def row_of(bench: Metered, record: Record) -> UsageEvent:
    end(bench, start(bench, record), record)
    (row,) = bench.rows
    assert (row.provider, row.model) == ("openai", record["end"]["gen_ai.request.model"])
    assert row.operation == OPERATIONS[record["start"].get("llm.request.type", "chat")]
    return row


def test_what_was_recorded_has_all_kinds_of_calls_and_no_content() -> None:
    assert {each["version"] for each in RECORDED} == {"0.30.1", "0.40.14", "0.45.6"}
    assert {each["case"] for each in TOLD} >= {"chat", "stream usage", "embeddings", "responses"}
    assert {each["case"] for each in SILENT} >= {"stream", "dropped"}
    assert {each["case"] for each in FAILED} == {"error", "error embeddings", "unconnected"}
    names = {name for each in RECORDED for name in (*each["start"], *each["end"])}
    assert not [name for name in names if "prompt." in name or "completion." in name]


@of(TOLD)
def test_a_call_is_one_row_with_exactly_what_it_used(bench: Metered, record: Record) -> None:
    row = row_of(bench, record)
    cached = record["end"].get("gen_ai.usage.cache_read_input_tokens", 0)
    made = 0 if record["case"] == "embeddings" else 7
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (11, made, cached)
    assert (row.status, row.estimated) == ("ok", False)


@of(SILENT)
def test_a_stream_that_tells_nothing_is_estimated(bench: Metered, record: Record) -> None:
    row = row_of(bench, record)
    assert (row.status, row.estimated, row.total_tokens) == ("ok", True, 1000)


@of(FAILED)
def test_a_failed_call_costs_nothing_where_its_span_says_why(
    bench: Metered, record: Record
) -> None:
    row = row_of(bench, record)
    says_why = bool(record["exception"])  # 0.40 tells of no error but in a text
    assert (row.status, row.estimated) == ("error", not says_why)
    assert row.total_tokens == (0 if says_why else 1000)


@of([each for each in RECORDED if each["start"]])
def test_a_call_over_budget_is_refused_before_it_is_sent(
    metered: Callable[..., Metered], record: Record
) -> None:
    bench = metered("1 request / day")
    end(bench, start(bench, RECORDED[0]), RECORDED[0])
    with pytest.raises(TokenQuotaExceeded):
        start(bench, record)
    assert [row.decision for row in bench.rows] == ["allowed", "refused"]


def test_a_response_that_is_told_when_it_is_over_is_not_refused(
    metered: Callable[..., Metered],
) -> None:
    bench = metered("1 request / day")
    (record,) = [each for each in RECORDED if each["case"] == "responses"]
    for _ in range(2):
        end(bench, start(bench, record), record)
    assert [row.total_tokens for row in bench.rows] == [18, 18]
    assert bench.used == [2]


@pytest.mark.parametrize("outer", [True, False])
def test_together_with_another_instrumentation_it_is_one_call(bench: Metered, outer: bool) -> None:
    record = TOLD[0]
    if outer:
        with trace.use_span(start(bench, record)) as span:
            bench.call(emitter="opentelemetry.instrumentation.genai.openai")
        end(bench, span, record)
    else:
        with bench.span(CHAT, emitter="openinference.instrumentation.openai") as around:
            end(bench, start(bench, record), record)
            around.set_attributes(USED)
    (row,) = bench.rows
    assert row.total_tokens == 18


def test_the_names_of_genai_go_before_the_older_ones(bench: Metered) -> None:
    end(bench, start(bench, TOLD[0], **CHAT), TOLD[0])
    (row,) = bench.rows
    assert (row.total_tokens, row.operation) == (18, "chat")


@pytest.mark.parametrize("kind", ["rerank", "unknown"])
def test_what_spends_no_tokens_is_no_call(bench: Metered, kind: str) -> None:
    bench.end(bench.start({"llm.request.type": kind, "gen_ai.system": "Cohere"}))
    assert bench.rows == []


def test_what_is_only_told_at_its_end_is_counted_then(bench: Metered) -> None:
    span = bench.start({}, emitter="opentelemetry.instrumentation.langchain", name="ChatOpenAI")
    bench.end(span, {**TOLD[0]["start"], **TOLD[0]["end"]})
    (row,) = bench.rows
    assert row.total_tokens == 18


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ("OpenAI", "openai"),
        ("Anthropic", "anthropic"),
        ("Cohere", "cohere"),
        ("MistralAI", "mistral_ai"),
        ("mistral_ai", "mistral_ai"),
        ("TogetherAI", "together_ai"),
        ("AWS", "aws.bedrock"),
        ("Azure", "azure.ai.openai"),
        ("OpenRouter", "openrouter"),
        ("Acme", "acme"),
        ("", None),
    ],
)
def test_providers_have_the_names_that_all_rows_have(said: str, provider: str | None) -> None:
    for emitter in (OPENLLMETRY, OPENLLMETRY_RESPONSES):
        assert read_provider(emitter, {"gen_ai.system": said}) == provider


def test_a_response_is_recognised_by_its_name_and_nothing_else_is() -> None:
    total = {"llm.usage.total_tokens": 18}
    known = recognise(total, SCOPE, "openai.response")
    assert known is not None
    assert (known.emitter, known.operation) == (OPENLLMETRY_RESPONSES, "chat")
    assert recognise(total, SCOPE, "openai.assistant.run") is None
    assert recognise(total, "another", "openai.response") is None
