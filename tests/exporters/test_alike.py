"""The exporter makes of ended spans what a processor makes of the same spans as they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

from otel_atm import context
from otel_atm.event import UsageEvent
from otel_atm.gate import Call, Gate
from otel_atm.ledger import MemoryLedger
from otel_atm.spans.ended import EndedSpans
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, Metered

Program = list[Any]

EMITTERS = ("agents", "langchain", "opentelemetry.instrumentation.genai.openai")


def calls(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Any]:
    """A call told of by one, two or three instrumentations, a plain span, or an agent."""
    return st.one_of(
        st.tuples(st.just("call"), st.integers(1, 3), st.sampled_from(["ann", "bob", None])),
        st.tuples(st.just("failed"), st.integers(1, 3), st.none()),
        st.tuples(st.just("plain"), inner, st.none()),
        st.tuples(st.just("agent"), inner, st.none()),
    )


PROGRAMS = st.recursive(
    st.just([]), lambda inner: st.lists(calls(inner), max_size=4), max_leaves=12
)


class Runner:
    """Runs a program on a metered provider; each call uses another amount."""

    def __init__(self, bench: Metered, *, agents_tell: bool = True) -> None:
        self.bench, self.agents_tell, self.amount = bench, agents_tell, 0

    def run(self, program: Program) -> int:
        """What it used."""
        return sum(self.step(*each) for each in program)

    def step(self, kind: str, what: Any, user: str | None) -> int:
        if kind in ("call", "failed"):
            self.amount += 2
            with context(user=user):
                self.call(kind, what)
            return self.amount if kind == "call" else 0
        attributes = {"gen_ai.operation.name": "invoke_agent"} if kind == "agent" else {}
        with self.bench.span(attributes, emitter="agents", name=kind) as span:
            used = self.run(what)
            if kind == "agent" and used and self.agents_tell:
                span.set_attributes(spent(used))
        return used

    def call(self, kind: str, depth: int) -> None:
        with self.bench.span(CHAT, emitter=EMITTERS[depth - 1]) as span:
            self.bench.clock.advance(0.01)
            if depth > 1:
                self.call(kind, depth - 1)
            if kind == "call":
                span.set_attributes(spent(self.amount))
            else:
                span.set_attribute("error.type", "RateLimitError")


def spent(amount: int) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": amount - 1, "gen_ai.usage.output_tokens": 1}


class Kept:
    """What ended spans make: of each row the last revision."""

    def __init__(self) -> None:
        self.events: dict[str, UsageEvent] = {}
        gate = Gate((), MemoryLedger(), sinks=[self.keep])
        self.ended = EndedSpans(gate, self.keep)

    def keep(self, call: Call) -> None:
        event = call.event()
        before = self.events.get(event.event_id)
        assert before is None or event.revision > before.revision
        self.events[event.event_id] = event

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            self.ended.take(span)


def without_ours(span: ReadableSpan) -> ReadableSpan:
    """As it is where no processor has seen it."""
    attributes = {key: value for key, value in (span.attributes or {}).items() if key[:4] != "atm."}
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        attributes,
        span.events,
        span.links,
        span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def told(events: Sequence[UsageEvent]) -> list[tuple[Any, ...]]:
    return sorted(
        (event.total_tokens, event.status, event.decision, event.model, event.estimated)
        for event in events
    )


@pytest.mark.parametrize("ours", [True, False], ids=["with ids", "without"])
@given(program=PROGRAMS)
def test_whatever_a_program_does(ours: bool, program: Program) -> None:
    bench = Metered(ManualClock())
    Runner(bench).run(program)
    bench.provider.shutdown()
    rows, kept = bench.rows, Kept()
    spans = bench.exported if ours else [without_ours(span) for span in bench.exported]
    kept.take(spans)
    made = list(kept.events.values())
    assert told(made) == told(rows)
    if ours:
        assert {(event.event_id, event.user_id) for event in made} == {
            (row.event_id, row.user_id) for row in rows
        }


@given(program=PROGRAMS, random=st.randoms(use_true_random=False))
def test_in_whatever_order_spans_come(program: Program, random: Any) -> None:
    bench = Metered(ManualClock())
    Runner(bench, agents_tell=False).run(program)
    bench.provider.shutdown()
    spans, kept = list(bench.exported), Kept()
    random.shuffle(spans)
    kept.take(spans)
    assert told(list(kept.events.values())) == told(bench.rows)
