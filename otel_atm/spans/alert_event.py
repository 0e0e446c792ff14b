"""Alert event: how a span tells that a payer has used a part of a budget."""

from __future__ import annotations

from opentelemetry.trace import Span

from otel_atm.gate import Alert
from otel_atm.semconv import ATM_BUDGET_NAME, ATM_EVENT_ALERT, ATM_PREFIX


def add_event(span: Span, alert: Alert) -> None:
    """Add the event ``atm.budget.alert``; its attributes are those of the metric, and the payer."""
    span.add_event(
        ATM_EVENT_ALERT,
        {
            ATM_BUDGET_NAME: alert.budget,
            "level": alert.level,
            "used": alert.used,
            "limit": alert.limit,
            **{ATM_PREFIX + key: value for key, value in alert.scope.items()},
        },
    )
