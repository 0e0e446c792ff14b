"""Call: one call to a model, from its admission to its row."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import ATTRIBUTE_LENGTH, MOST_KEYS, TEXT_LENGTH, UsageEvent
from otel_atm.gate.plan import Plan
from otel_atm.ledger import Hold
from otel_atm.scope import COLUMN_KEYS
from otel_atm.semconv import ERROR_TYPE

#: input, output, cache read, cache write, reasoning: as of `otel_atm.Usage`.
Tokens = tuple[int, int, int, int, int]
NO_TOKENS: Final[Tokens] = (0, 0, 0, 0, 0)


class Ending(NamedTuple):
    """How a call failed, as a span tells it.

    Attributes:
        status: of the row.
        error_type: a class name or a code.
        free: whether the provider charges nothing for it.
    """

    status: str
    error_type: str
    free: bool


class Outcome(NamedTuple):
    """What became of a call, but for its tokens; columns of its row (see `UsageEvent`).

    Attributes:
        requested: what a refused call asked for, in the budget's unit.
        would_refuse: the budget that was used up when a call had to be let through all the same.
    """

    status: str = "ok"
    error_type: str | None = None
    estimated: bool = False
    decision: str = "allowed"
    budget: str | None = None
    requested: int | None = None
    calls: int = 1
    attempts: int = 1
    revision: int = 0
    would_refuse: str | None = None


#: Of nearly every call.
PLAIN: Final = Outcome()


class Call:
    """One call: what was held for it, who told of it, how it ended.

    Not frozen, and made without a full row: this is the hot path. A sink takes what it needs from
    here, or asks for `event()`. Made by `open_call`.

    Attributes:
        id: the event's id.
        hold: under its accounts; empty when no budget matches, and for a refused call.
        opened_ns: its admission; nanoseconds since the Unix epoch.
        source: the door that saw it.
        trace_id, span_id: of the span that opened it; 0 without one.
        emitters: the instrumentations whose spans describe it; each tells its usage once.
        spans: ids of its open spans, once there is more than one; None before.
        told: what an emitter reports it to have used; None before.
        partial: whether that is less than the provider would report, since an answer broke off.
        ending: how it failed, as the first of its spans tells, but for one that knows that it was
            not free; None when it did not fail.
        response_id: the provider's, where the emitter that told its usage gives it.
        tokens: what it was charged with, in the end.
        outcome: what became of it.
        refusal: the error to raise; None for an allowed call.
        open: whether it has not ended yet.
        duration_us, ttft_us, ended_ns: None or 0 while unknown.
    """

    __slots__ = (
        "duration_us",
        "emitters",
        "ended_ns",
        "ending",
        "hold",
        "id",
        "open",
        "opened_ns",
        "outcome",
        "partial",
        "plan",
        "refusal",
        "response_id",
        "source",
        "span_id",
        "spans",
        "tokens",
        "told",
        "trace_id",
        "ttft_us",
    )

    id: str
    plan: Plan
    hold: Hold
    opened_ns: int
    source: str
    trace_id: int
    span_id: int
    emitters: tuple[str, ...]
    spans: set[int] | None
    told: Tokens | None
    partial: bool
    ending: Ending | None
    response_id: Any
    tokens: Tokens
    outcome: Outcome
    refusal: TokenQuotaExceeded | None
    open: bool
    duration_us: int | None
    ttft_us: int | None
    ended_ns: int

    def join(self, emitter: str, span_id: int) -> None:
        """Let a span of another emitter describe this call too."""
        self.emitters += (emitter,)
        if self.spans is None:
            self.spans = {self.span_id}
        self.spans.add(span_id)

    def leave(self, span_id: int) -> bool:
        """Whether the span that ends is the last one that describes this call."""
        if self.spans is None:
            return True
        self.spans.discard(span_id)
        return not self.spans

    def texts(self) -> dict[str, str | None]:
        """The columns that say who, where and what."""
        kind, get = self.plan.kind, self.plan.kind.scope.get
        columns = {
            "service": get("service"),
            "app": get("app"),
            "env": get("env"),
            "team": get("team"),
            "user_id": get("user"),
            "session_id": get("session"),
            "provider": kind.provider,
            "model": kind.model,
            "operation": kind.operation,
        }
        return {column: text and text[:TEXT_LENGTH] for column, text in columns.items()}

    def tags(self) -> tuple[str, ...]:
        """The payer's."""
        return tuple(tag[:ATTRIBUTE_LENGTH] for tag in self.plan.kind.scope.tags[:MOST_KEYS])

    def attributes(self) -> dict[str, str | int]:
        """The allow-list, and the payer's custom keys."""
        custom = [item for item in self.plan.kind.scope.items() if item[0] not in COLUMN_KEYS]
        found: dict[str, str | int] = {
            key[:ATTRIBUTE_LENGTH]: value[:ATTRIBUTE_LENGTH] for key, value in custom[:MOST_KEYS]
        }
        if self.outcome.error_type:
            found[ERROR_TYPE] = self.outcome.error_type
        if self.outcome.requested is not None:
            found["requested"] = self.outcome.requested
        if self.outcome.would_refuse is not None:
            found["would_refuse"] = self.outcome.would_refuse[:ATTRIBUTE_LENGTH]
        return found

    def event(self) -> UsageEvent:
        """The row."""
        tokens, outcome = self.tokens, self.outcome
        return UsageEvent(
            event_id=self.id,
            ts_us=self.opened_ns // 1000,
            trace_id=f"{self.trace_id:032x}" if self.trace_id else None,
            span_id=f"{self.span_id:016x}" if self.span_id else None,
            duration_us=self.duration_us,
            ttft_us=self.ttft_us,
            **self.texts(),
            status=outcome.status,
            decision=outcome.decision,
            budget=outcome.budget,
            calls=outcome.calls,
            attempts=outcome.attempts,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cache_read_tokens=tokens[2],
            cache_write_tokens=tokens[3],
            reasoning_tokens=tokens[4],
            total_tokens=tokens[0] + tokens[1],
            cost_usd=None,
            price_version=None,
            estimated=outcome.estimated,
            source=self.source,
            tags=self.tags(),
            attributes=self.attributes(),
            revision=outcome.revision,
        )


_new: Final = object.__new__


def open_call(
    event_id: str,
    plan: Plan,
    hold: Hold,
    opened_ns: int,
    source: str,
    emitter: str,
    trace_id: int,
    span_id: int,
) -> Call:
    """A call that has just been admitted.

    A function, since calling a class whose ``__init__`` is Python's costs twice as much.
    """
    call: Call = _new(Call)
    call.id = event_id
    call.plan = plan
    call.hold = hold
    call.opened_ns = opened_ns
    call.source = source
    call.trace_id = trace_id
    call.span_id = span_id
    call.emitters = (emitter,)
    call.spans = call.told = call.response_id = call.refusal = call.ending = None
    call.duration_us = call.ttft_us = None
    call.ended_ns = 0
    call.tokens = NO_TOKENS
    call.outcome = PLAIN
    call.open, call.partial = True, False
    return call
