"""What the tests share: a clock that stands still, and a tracer provider that is metered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, Tracer

from otel_atm import scope
from otel_atm.budget import Budget, read_budgets
from otel_atm.event import UsageEvent
from otel_atm.gate import Gate, gate, turns
from otel_atm.guards import install
from otel_atm.ledger import MemoryLedger
from otel_atm.scope import NOBODY, current_scope
from otel_atm.spans.processor import GateProcessor
from otel_atm.testing import ManualClock

settings.register_profile("tests", deadline=None)  # the machine decides how long an example takes
settings.load_profile("tests")


@pytest.fixture
def clock() -> ManualClock:
    """2026-01-01 00:00 UTC, a Thursday, until a test moves it."""
    return ManualClock()


@pytest.fixture(autouse=True)
def no_guards_are_left_behind() -> Iterator[None]:
    """What a test's processor guards is not the next one's."""
    yield
    door = install.current()
    if door is not None:
        install.uninstall(door)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No test leaves a payer or a span to the next one; a call of its own is the last in here."""
    gate._latest.set(None)
    turns._place.set(None)
    yield
    left = current_scope()
    scope._current.set(NOBODY)  # so that only the test which left it fails
    assert left == NOBODY
    assert trace.get_current_span() is trace.INVALID_SPAN


class Metered:
    """A tracer provider whose LLM spans pass a gate, by a clock that stands still.

    Attributes:
        rows: what came out of the gate.
        trouble: what may have failed when the test is over: reason → how often.
    """

    def __init__(
        self,
        clock: ManualClock,
        budgets: Iterable[Budget | str] = (),
        *,
        resource: Mapping[str, Any] | None = None,
        limits: SpanLimits | None = None,
        baggage_keys: Iterable[str] = (),
    ) -> None:
        self.clock = clock
        self.rows: list[UsageEvent] = []
        self.trouble: dict[str, int] = {}
        self.ledger = MemoryLedger()
        self.gate = Gate(
            read_budgets(budgets),
            self.ledger,
            clock=clock,
            sinks=[lambda call: self.rows.append(call.event())],
        )
        self.processor = GateProcessor(self.gate, baggage_keys=baggage_keys)
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            resource=Resource(resource or {}), span_limits=limits, shutdown_on_exit=False
        )
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def tracer(self, emitter: str = "openai") -> Tracer:
        """Of an instrumentation."""
        return self.provider.get_tracer(emitter)

    def start(
        self, attributes: Mapping[str, Any], *, emitter: str = "openai", name: str = "chat"
    ) -> Span:
        """A span that starts now, below the current one."""
        tracer = self.tracer(emitter)
        return tracer.start_span(name, attributes=dict(attributes), start_time=self.clock())

    def end(self, span: Span, attributes: Mapping[str, Any] | None = None) -> None:
        """End it now, with these attributes."""
        span.set_attributes(dict(attributes or {}))
        span.end(self.clock())

    @contextmanager
    def span(
        self, attributes: Mapping[str, Any], *, emitter: str = "openai", name: str = "chat"
    ) -> Iterator[Span]:
        """A span around a block, with what an instrumentation says of an error in it."""
        span = self.start(attributes, emitter=emitter, name=name)
        try:
            with trace.use_span(span):
                yield span
        finally:
            self.end(span)

    def call(self, *, emitter: str = "openai", **more: Any) -> None:
        """One call of an instrumentation that starts, reports its usage and ends."""
        self.end(self.start({**CHAT, **more}, emitter=emitter), USED)

    @property
    def exported(self) -> tuple[ReadableSpan, ...]:
        """Spans that left the process, first ended first."""
        return self.exporter.get_finished_spans()

    @property
    def used(self) -> list[int]:
        """Settled, of each account."""
        return [balance.used for balance in self.ledger.balances(self.clock())]

    @property
    def held(self) -> list[int]:
        """Held, of each account."""
        return [balance.held for balance in self.ledger.balances(self.clock())]


#: What an instrumentation says when a call starts.
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
}
#: What it says when the answer is there: 18 tokens.
USED = {"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7}


@pytest.fixture
def metered(clock: ManualClock) -> Iterator[Callable[..., Metered]]:
    """Makes metered tracer providers; nothing but what a test expects may fail inside them."""
    made: list[Metered] = []

    def make(*budgets: Budget | str, **settings: Any) -> Metered:
        made.append(Metered(clock, budgets, **settings))
        return made[-1]

    yield make
    for each in made:
        assert each.gate.trouble.counts == each.trouble
        each.provider.shutdown()


@pytest.fixture
def bench(metered: Callable[..., Metered]) -> Metered:
    """A metered tracer provider without budgets."""
    return metered()
