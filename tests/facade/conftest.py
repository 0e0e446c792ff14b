"""A process that is set up in agent-atm's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_atm as atm
from otel_atm.testing import ManualClock

#: No test gets near it; its standing is what was charged in all.
PLENTY = atm.Budget("1000M tokens / month", name="plenty")
CALLS = atm.Budget("1M requests / month", name="calls")


class Told:
    """A program that tells of its calls by itself.

    Attributes:
        trouble: what may have failed when the test is over: reason → how often.
    """

    def __init__(self, folder: Path, clock: ManualClock, **settings: Any) -> None:
        self.path, self.clock = folder / "tokens.duckdb", clock
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.trouble: dict[str, int] = {}
        settings.setdefault("budgets", [PLENTY, CALLS])
        if "data_manager" not in settings:
            settings = {"ledger": "memory", "store": self.path, **settings}
        self.handle = atm.init(
            provider=self.provider,
            clock=clock,
            meter_provider=MeterProvider([self.reader], shutdown_on_exit=False),
            guards=settings.pop("guards", False),
            **settings,
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def rows(self, columns: str = "*") -> list[Any]:
        """Of the file, oldest first: tuples of these columns, or the values of the only one."""
        assert self.handle.force_flush()
        with atm.connect(self.path) as db:
            found = db.sql(f"select {columns} from usage_events order by event_id").fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    @property
    def used(self) -> dict[str, float]:
        """What each budget has counted."""
        return {status.name: status.used for status in self.handle.budgets()}

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended."""
        return self.exporter.get_finished_spans()

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        found = self.reader.get_metrics_data()
        return sum(
            point.value  # type: ignore[union-attr]
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        )


@pytest.fixture
def program(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Told]]:
    """Sets a program up; nothing but what a test expects may fail inside it."""
    made: list[Told] = []

    def make(**settings: Any) -> Told:
        made.append(Told(tmp_path, clock, **settings))
        return made[-1]

    yield make
    for each in made:
        each.handle.shutdown()
        each.provider.shutdown()
    for each in made:
        assert each.handle._processor.trouble.counts == each.trouble


@pytest.fixture
def told(program: Callable[..., Told]) -> Told:
    """A program with two budgets that nobody gets near."""
    return program()
