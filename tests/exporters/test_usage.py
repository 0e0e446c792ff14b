"""What metrics say of calls, in the terms of the roll-ups, and never twice."""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import otel_atm as atm
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, USED
from tests.exporters.conftest import SHOP, Row, Traced, query

USAGE = "gen_ai.client.token.usage"
#: All that the file knows of tokens, from rows and from metrics of services that have none.
BOTH = """
select sum(total_tokens)::bigint as tokens, sum(calls)::bigint as calls from (
    select total_tokens, calls from usage_1m
    union all
    select total_tokens, calls from metric_usage_1m where not in_events
)
"""


class Service:
    """A program whose metrics, and spans if asked, go into the file."""

    def __init__(self, path: Path, name: str) -> None:
        resource = Resource({**SHOP, "service.name": name})
        reader = PeriodicExportingMetricReader(
            atm.DuckDBMetricExporter(path), export_interval_millis=math.inf
        )
        self.meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._instruments: dict[str, Any] = {}

    def export_spans(self, path: Path) -> None:
        self.tracers.add_span_processor(SimpleSpanProcessor(atm.DuckDBSpanExporter(path)))

    def call(self, *, by: str = "openai", model: str = "gpt-5.1") -> None:
        """One call of 18 tokens, as an instrumentation tells of it."""
        attributes = {**CHAT, "gen_ai.request.model": model}
        span = self.tracers.get_tracer(by).start_span("chat", attributes=attributes)
        span.set_attributes(USED)
        span.end()
        if by not in self._instruments:
            self._instruments[by] = self.meters.get_meter(by).create_histogram(USAGE, "{token}")
        for kind, tokens in (("input", 11), ("output", 7)):
            self._instruments[by].record(tokens, {**attributes, "gen_ai.token.type": kind})

    def close(self) -> None:
        self.meters.force_flush()
        self.meters.shutdown()
        self.tracers.shutdown()


@pytest.fixture
def service(path: Path) -> Service:
    """Called shop; its spans go nowhere."""
    return Service(path, "shop")


def usage(path: Path) -> list[Row]:
    return query(path, "select * exclude (bucket) from metric_usage_1m order by all")


def test_token_histograms_are_calls(service: Service, path: Path) -> None:
    service.call()
    service.call()
    service.close()
    assert usage(path) == [
        {
            "service": "shop",
            "app": "shop",
            "env": "prod",
            "team": None,
            "provider": "openai",
            "model": "gpt-5.1",
            "operation": "chat",
            "decision": None,
            "calls": 2,
            "input_tokens": 22,
            "output_tokens": 14,
            "total_tokens": 36,
            "told_by": "openai",
            "in_events": False,
            "source": "metric",
        }
    ]


def test_what_a_processor_counts_is_taken_too(service: Service, path: Path) -> None:
    processor = atm.TokenSpanProcessor(
        ["1 request / day"], meter_provider=service.meters, ledger="memory", guards=False
    )
    service.tracers.add_span_processor(processor)
    with atm.context(team="ml", app="bot"):
        service.call()
        with pytest.raises(atm.TokenQuotaExceeded):
            service.call()
    service.close()
    rows = [
        {key: row[key] for key in ("app", "team", "decision", "calls", "total_tokens")}
        for row in usage(path)
        if row["told_by"] == "otel_atm"
    ]
    assert rows == [
        {"app": "bot", "team": "ml", "decision": "allowed", "calls": 1, "total_tokens": 18},
        {"app": "bot", "team": "ml", "decision": "refused", "calls": 1, "total_tokens": 0},
    ]


def test_two_instrumentations_of_one_client_are_counted_once(service: Service, path: Path) -> None:
    for _ in range(3):
        service.call(by="openai")
        service.call(by="langchain")
    service.call(by="openai")
    service.call(by="langchain", model="o3")
    service.close()
    assert [(row["told_by"], row["model"], row["calls"]) for row in usage(path)] == [
        ("openai", "gpt-5.1", 4),
        ("langchain", "o3", 1),
    ]


def test_a_service_whose_spans_are_kept_is_not_counted_twice(service: Service, path: Path) -> None:
    service.export_spans(path)
    other = Service(path, "elsewhere")
    for _ in range(2):
        service.call()
    other.call()
    service.close()
    other.close()
    assert {row["service"]: row["in_events"] for row in usage(path)} == {
        "shop": True,
        "elsewhere": False,
    }
    assert query(path, BOTH) == [{"tokens": 54, "calls": 3}]


@pytest.mark.parametrize(
    ("hours", "in_events"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_calls_that_began_within_an_hour_are_the_same_calls(
    service: Service, path: Path, hours: int, in_events: bool
) -> None:
    service.call()
    service.close()
    (spans, exporter) = Traced(ManualClock(), SHOP), atm.DuckDBSpanExporter(path)
    (metric,) = query(path, "select min(time) as time from metric_points")
    spans.clock.set(metric["time"].replace(tzinfo=UTC) + timedelta(hours=hours))
    with spans.span({**CHAT, **USED}):
        pass
    exporter.export(spans.spans())
    exporter.shutdown()
    assert [row["in_events"] for row in usage(path)] == [in_events]


def test_metrics_change_no_row_of_a_call(service: Service, path: Path) -> None:
    service.call()
    service.close()
    assert query(path, "from usage_events") == []
    assert query(path, "from usage_1m") == []


def test_programs_without_a_name_are_one_service(path: Path) -> None:
    service = Service(path, "unknown_service")
    service.export_spans(path)
    service.call()
    service.close()
    (row,) = usage(path)
    assert (row["service"], row["in_events"]) == (None, True)
