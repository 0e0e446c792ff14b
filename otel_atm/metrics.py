"""Metrics: what OpenTelemetry collects of us, read from plain integers when it asks.

Adding to a counter costs more than half a span; these cost nothing until a reader collects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from otel_atm import semconv as sc
from otel_atm._version import __version__
from otel_atm.gate import Gate, Labels
from otel_atm.ledger import Summary
from otel_atm.price import usd

#: What `atm.budget.scopes` tells apart.
STATES = ("ok", "alert", "exhausted")

#: Instruments are read one after the other; those of one collection show the same moment.
_FRESH_S: Final = 0.1


class Spooling(Protocol):
    """What keeps events for a while before they are stored."""

    def spooled_bytes(self) -> int:
        """What waits."""
        ...

    def drain_delay_s(self) -> float:
        """For how long."""
        ...


class Metrics:
    """Registers the observable instruments of one gate and its store.

    Args:
        gate: whose totals, budgets and trouble are shown.
        store: whose spool is shown; None without one. May be replaced.
        meter_provider: None: the global one, also if it is set later.
    """

    def __init__(
        self, gate: Gate, store: Spooling | None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._gate, self.store = gate, store
        self._summary: tuple[float, dict[str, Summary]] = (0.0, {})
        self._closed = False
        meter = get_meter(sc.METER_NAME, __version__, meter_provider)
        for name, unit, description, observe in self._counters():
            meter.create_observable_counter(name, [self._open(observe)], unit, description)
        for name, unit, description, observe in self._gauges():
            meter.create_observable_gauge(name, [self._open(observe)], unit, description)

    def close(self) -> None:
        """Observe nothing any more: a meter cannot forget its instruments."""
        self._closed = True

    def _open(self, observe: _Observe) -> Callable[[CallbackOptions], list[Observation]]:
        def callback(_: CallbackOptions) -> list[Observation]:
            try:
                return [] if self._closed else list(observe())
            except Exception as error:  # noqa: BLE001 - the SDK would log its text
                self._gate.trouble.note("metrics", error)
                return []

        return callback

    def _counters(self) -> list[_Instrument]:
        return [
            ("atm.tokens", "{token}", "Tokens of LLM calls", self._tokens),
            ("atm.cost", "{USD}", "Cost of LLM calls whose price is known", self._cost),
            ("atm.calls", "{call}", "LLM calls, allowed and refused", self._calls),
            ("atm.events.dropped", "{event}", "Events that could not be kept", self._dropped),
            ("atm.call.unmetered", "{call}", "Calls whose tokens are estimated", self._unmetered),
            (
                "atm.call.unbacked",
                "{call}",
                "Calls let in while the ledger could not be asked",
                self._unbacked,
            ),
            ("atm.budget.alerts", "{alert}", "Alerts told, by budget and level", self._alerts),
            (
                "atm.budget.overshoot",
                "1",
                "Settled past the limits, in the budget's unit",
                self._overshoot,
            ),
        ]

    def _gauges(self) -> list[_Instrument]:
        return [
            ("atm.budget.limit", "1", "Limit, in the budget's unit", self._limit),
            ("atm.budget.used", "1", "Settled; the largest of all payers", self._used),
            ("atm.budget.held", "1", "Held for calls in flight; the largest", self._held),
            (
                "atm.budget.utilization",
                "1",
                "(used + held) / limit; the largest",
                self._utilization,
            ),
            ("atm.budget.scopes", "{scope}", "Payers of a budget, by state", self._scopes),
            ("atm.spool.bytes", "By", "Events that wait for the drain", self._spool_bytes),
            ("atm.drain.delay", "s", "Since the last drain while any wait", self._drain_delay),
        ]

    def _tokens(self) -> Iterator[Observation]:
        self._gate.tally.add_up_all()
        for known, total in self._gate.totals.all():
            labels = _labels(known)
            yield Observation(total.input_tokens, {**labels, sc.GEN_AI_TOKEN_TYPE: "input"})
            yield Observation(total.output_tokens, {**labels, sc.GEN_AI_TOKEN_TYPE: "output"})

    def _cost(self) -> Iterator[Observation]:
        self._gate.tally.add_up_all()
        for known, total in self._gate.totals.all():
            yield Observation(usd(total.cost), _labels(known))

    def _calls(self) -> Iterator[Observation]:
        self._gate.tally.add_up_all()
        for known, total in self._gate.totals.all():
            yield Observation(total.calls, _labels(known))

    def _dropped(self) -> Iterator[Observation]:
        for reason, events in list(self._gate.trouble.dropped.items()):
            yield Observation(events, {"reason": reason})

    def _unmetered(self) -> Iterator[Observation]:
        yield Observation(self._gate.totals.unmetered)

    def _unbacked(self) -> Iterator[Observation]:
        yield Observation(self._gate.ledger.unbacked)

    def _alerts(self) -> Iterator[Observation]:
        for (label, level), count in list(self._gate.alerts.counts.items()):
            yield Observation(count, {sc.ATM_BUDGET_NAME: label, "level": level})

    def _overshoot(self) -> Iterator[Observation]:
        return self._of_budgets(lambda summary: summary.budget.shown(summary.overshoot))

    def _limit(self) -> Iterator[Observation]:
        for budget in self._gate.budgets:
            yield Observation(budget.limit, {sc.ATM_BUDGET_NAME: budget.label})

    def _used(self) -> Iterator[Observation]:
        return self._of_budgets(lambda summary: summary.budget.shown(summary.used))

    def _held(self) -> Iterator[Observation]:
        return self._of_budgets(lambda summary: summary.budget.shown(summary.held))

    def _utilization(self) -> Iterator[Observation]:
        return self._of_budgets(lambda summary: summary.spent / summary.budget.cap)

    def _of_budgets(self, measure: Callable[[Summary], float]) -> Iterator[Observation]:
        for label, summary in self._summaries().items():
            yield Observation(measure(summary), {sc.ATM_BUDGET_NAME: label})

    def _scopes(self) -> Iterator[Observation]:
        for label, summary in self._summaries().items():
            fine = summary.payers - summary.alerted - summary.exhausted
            numbers = fine, summary.alerted, summary.exhausted
            for state, number in zip(STATES, numbers, strict=True):
                yield Observation(number, {sc.ATM_BUDGET_NAME: label, "state": state})

    def _summaries(self) -> dict[str, Summary]:
        """Each budget's, worked out once for all instruments of a collection."""
        made_at, summaries = self._summary
        if time.monotonic() - made_at > _FRESH_S:
            # Of budgets that there are; a ledger remembers others. An unused one has zeros.
            unused = [Summary(budget) for budget in self._gate.budgets]
            summaries = {summary.budget.label: summary for summary in unused}
            for summary in self._gate.oversight.summaries():
                if summary.budget.label in summaries:
                    summaries[summary.budget.label] = summary
            self._summary = time.monotonic(), summaries
        return summaries

    def _spool_bytes(self) -> Iterator[Observation]:
        if self.store is not None:
            yield Observation(self.store.spooled_bytes())

    def _drain_delay(self) -> Iterator[Observation]:
        if self.store is not None:
            yield Observation(self.store.drain_delay_s())


_Observe = Callable[[], Iterator[Observation]]
_Instrument = tuple[str, str, str, _Observe]


def _labels(labels: Labels | None) -> dict[str, Any]:
    if labels is None:
        return {"otel.metric.overflow": True}  # as the SDK marks what is past a cardinality limit
    named = {
        sc.GEN_AI_PROVIDER_NAME: labels.provider,
        sc.GEN_AI_REQUEST_MODEL: labels.model,
        "atm.app": labels.app,
        "atm.env": labels.env,
        "atm.team": labels.team,
        sc.ATM_DECISION: labels.decision,
    }
    return {key: value for key, value in named.items() if value is not None}
