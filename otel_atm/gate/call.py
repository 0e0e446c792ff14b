"""Call: one call to a model, from its admission to its row."""

from __future__ import annotations

from typing import Final

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import ATTRIBUTE_LENGTH, MOST_KEYS, TEXT_LENGTH, UsageEvent
from otel_atm.gate.outcome import PLAIN, Ending, Outcome
from otel_atm.gate.plan import Plan, compatible
from otel_atm.ledger import Hold
from otel_atm.price import Tokens, usd
from otel_atm.scope import COLUMN_KEYS
from otel_atm.semconv import ERROR_TYPE
from otel_atm.window import SECOND_NS

NO_TOKENS: Final[Tokens] = (0, 0, 0, 0, 0)
#: Within this time a client tries what its span was refused.
_TRIED_NS: Final = 5 * SECOND_NS
_YEAR_NS: Final = 366 * 86_400 * 1_000_000_000


class Call:
    """One call: what was held for it, who told of it, how it ended.

    Not frozen, and made without a full row: this is the hot path. What a call mostly does not have
    is not set on it, but read from the class. Made by `of`, or in `Gate.begin`. A sink takes what
    it needs from here, or asks for `event()`.

    Attributes:
        id: the event's id.
        hold: under its accounts; empty when no budget matches, and for a refused call.
        opened_ns: its admission; nanoseconds since the Unix epoch.
        source: the door that saw it.
        emitters: the instrumentations whose spans describe it; each tells its usage once.
        trace_id, span_id: of the span that opened it; 0 without one.
        spans: ids of its open spans, once there is more than one; None before.
        estimate: what it is charged with when nobody tells; None: as its plan says.
        told: what an emitter reports it to have used; None before.
        partial: whether that is less than the provider would report, since an answer broke off.
        ending: how it failed, as the first of its spans tells, but for one that knows that it was
            not free; None when it did not fail.
        response_id: the provider's, where the emitter that told its usage gives it.
        tokens: what it was charged with, in the end.
        outcome: what became of it.
        refusal: the error to raise; None for an allowed call.
        open: whether it has not ended yet.
        after: a refused call that this one may be another span of; None for nearly all.
        sent: whether a guard has seen it on its way: then the wire settles it, and spans describe.
        seen_ns: when something of it was last seen, e.g. a chunk of its answer; 0: only its start.
        started_ns, ended_ns: of the span that ended it; 0 and -1 while unknown.
        ttft_us: None while unknown.
    """

    id: str
    plan: Plan
    opened_ns: int
    emitters: tuple[str, ...]
    trace_id: int
    span_id: int
    source: str
    hold: Hold = ()
    spans: set[int] | None = None
    estimate: Tokens | None = None
    told: Tokens | None = None
    partial: bool = False
    ending: Ending | None = None
    response_id: str | None = None
    tokens: Tokens = NO_TOKENS
    outcome: Outcome = PLAIN
    refusal: TokenQuotaExceeded | None = None
    open: bool = True
    after: Call | None = None
    sent: bool = False
    seen_ns: int = 0
    started_ns: int = 0
    ended_ns: int = -1
    ttft_us: int | None = None

    # No `__init__`: calling one takes as long as all that `Gate.begin` sets on a call.

    @classmethod
    def of(
        cls,
        event_id: str,
        plan: Plan,
        hold: Hold,
        opened_ns: int,
        source: str,
        emitter: str,
        trace_id: int,
        span_id: int,
    ) -> Call:
        """A call with these attributes."""
        call = cls()
        call.id = event_id
        call.plan = plan
        call.hold = hold
        call.opened_ns = opened_ns
        call.source = source
        call.emitters = (emitter,)
        call.trace_id = trace_id
        call.span_id = span_id
        return call

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

    def is_tried_after(self, refused: Call) -> bool:
        """Whether this may be the call that was refused just now, told of by another door."""
        return (
            refused.refusal is not None
            and not refused.sent
            and self.opened_ns - refused.opened_ns <= _TRIED_NS
            and compatible(refused.plan.kind, self.plan.kind)
        )

    @property
    def duration_us(self) -> int | None:
        """Of the span that ended it; None when unknown, or no duration that a call can have."""
        duration_ns = self.ended_ns - self.started_ns
        return duration_ns // 1_000 if 0 <= duration_ns < _YEAR_NS else None

    @property
    def cost(self) -> int | None:
        """What it cost, in pico-USD; None when no price is known of its model."""
        price = self.plan.price
        if price is None or self.tokens == NO_TOKENS:
            return None if price is None else 0  # not even what a request costs
        return price.cost(self.tokens, self.opened_ns)

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

    def attributes(self) -> dict[str, str | float]:
        """The allow-list, and the payer's custom keys."""
        custom = [item for item in self.plan.kind.scope.items() if item[0] not in COLUMN_KEYS]
        found: dict[str, str | float] = {
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
        tokens, outcome, cost = self.tokens, self.outcome, self.cost
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
            cost_usd=None if cost is None else usd(cost),
            price_version=self.plan.price.version if self.plan.price else None,
            estimated=outcome.estimated,
            source=self.source,
            tags=self.tags(),
            attributes=self.attributes(),
            revision=outcome.revision,
        )
