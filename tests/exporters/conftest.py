"""Programs that export to a DuckDB file, and what the file says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span

import otel_atm as atm
from otel_atm.testing import ManualClock

Row = dict[str, Any]

SHOP = {"service.name": "shop", "deployment.environment.name": "prod"}
#: An agent's span, with the sum of what was used beneath it.
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside names a file, or exporters."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "ATM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a DuckDB file that is not there yet."""
    return tmp_path / "tokens.duckdb"


def query(path: Path, sql: str) -> list[Row]:
    """The rows of a query, as dicts."""
    with atm.connect(path) as db:
        found = db.sql(sql)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def events(path: Path) -> list[Row]:
    """All rows of calls, as they were admitted."""
    return query(path, "from usage_events order by ts, event_id")


def tokens(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Input and output of each."""
    return [(row["input_tokens"], row["output_tokens"]) for row in rows]


class Traced:
    """A tracer provider by a clock that stands still, whose spans a test exports as it likes."""

    def __init__(self, clock: ManualClock, resource: Mapping[str, Any]) -> None:
        self.clock = clock
        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource(resource), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    def start(
        self, attributes: Mapping[str, Any] | None = None, *, by: str = "openai", name: str = "chat"
    ) -> Span:
        """A span that starts now, below the current one."""
        tracer = self.provider.get_tracer(by)
        return tracer.start_span(name, attributes=attributes or {}, start_time=self.clock())

    def end(self, span: Span, attributes: Mapping[str, Any] | None = None) -> None:
        """End it a millisecond later."""
        span.set_attributes(dict(attributes or {}))
        self.clock.advance(0.001)
        span.end(self.clock())

    @contextmanager
    def span(
        self, attributes: Mapping[str, Any] | None = None, *, by: str = "openai", name: str = "chat"
    ) -> Iterator[Span]:
        """A span around a block."""
        span = self.start(attributes, by=by, name=name)
        self.clock.advance(0.001)
        with trace.use_span(span):
            yield span
        self.end(span)

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended since this was asked last, first ended first."""
        spans = self._memory.get_finished_spans()
        self._memory.clear()
        return spans


@pytest.fixture
def traced(clock: ManualClock) -> Iterator[Traced]:
    """Of a service called shop."""
    traced = Traced(clock, SHOP)
    yield traced
    traced.provider.shutdown()


@pytest.fixture
def exporter(path: Path) -> Iterator[atm.DuckDBSpanExporter]:
    """To the file; nothing may fail in it."""
    exporter = atm.DuckDBSpanExporter(path)
    yield exporter
    exporter.shutdown()
    assert exporter.trouble.counts == {}
