"""Alerts in traces."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import trace

from otel_atm import Budget, context
from tests.conftest import CHAT, USED, Metered

SPENT = sum(USED[f"gen_ai.usage.{kind}_tokens"] for kind in ("input", "output"))


def events(bench: Metered) -> list[tuple[str, str, dict[str, object]]]:
    """(name of the span, event, its attributes)."""
    return [
        (span.name, event.name, dict(event.attributes or {}))
        for span in bench.exported
        for event in span.events
    ]


EXPECTED = {
    "atm.budget.name": "daily",
    "level": 0.25,
    "used": SPENT,
    "limit": 4 * SPENT,
    "atm.user": "ann",
}


def budget() -> Budget:
    return Budget(f"{4 * SPENT} tokens / day per user", alert_at=0.25, name="daily")


def test_an_alert_is_an_event_of_the_span_around_the_call(
    metered: Callable[..., Metered],
) -> None:
    bench = metered(budget())
    agent = bench.tracer("app").start_span("agent")
    with context(user="ann"), trace.use_span(agent):
        bench.call()
    agent.end()
    assert events(bench) == [("agent", "atm.budget.alert", EXPECTED)]


def test_else_of_the_next_call(metered: Callable[..., Metered]) -> None:
    bench = metered(budget())
    with context(user="ann"):
        bench.end(bench.start(CHAT, name="first"), USED)
        bench.end(bench.start(CHAT, name="second"), USED)
        bench.end(bench.start(CHAT, name="third"), USED)
    assert events(bench) == [("second", "atm.budget.alert", EXPECTED)]
