"""Call: one call to a model, from its admission to its row."""

from __future__ import annotations

from typing import Final

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import ATTRIBUTE_LENGTH, UsageEvent
from otel_atm.gate.plan import Plan
from otel_atm.ledger import Hold
from otel_atm.scope import COLUMN_KEYS
from otel_atm.semconv import ERROR_TYPE

#: input, output, cache read, cache write, reasoning: as of `otel_atm.Usage`.
Tokens = tuple[int, int, int, int, int]
NO_TOKENS: Final[Tokens] = (0, 0, 0, 0, 0)


class Call:
    """One call: what was held for it, who told of it, how it ended.

    Not frozen, and made without a full row: this is the hot path. A sink takes what it needs from
    here, or asks for `event()`.

    Attributes:
        id: the event's id.
        hold: None when no budget matches, and for a refused call.
        emitters: the instrumentations whose spans describe this call; each tells its usage once.
        spans: ids of its open spans, once there is more than one; None before.
        open: whether it has not ended yet.
        told: what an emitter reports the call to have used; None before.
        tokens: what the call was charged with, in the end.
        estimated: whether `tokens` is ours and not the provider's.
        refusal: the error to raise; None for an allowed call.
    """

    # Defaults that most calls keep; an instance sets what differs.
    hold: Hold | None = None
    spans: set[int] | None = None
    open = True
    refusal: TokenQuotaExceeded | None = None
    told: Tokens | None = None
    tokens = NO_TOKENS
    response_id: str | None = None
    estimated = False
    status = "ok"
    error_type: str | None = None
    duration_us: int | None = None
    ttft_us: int | None = None
    ended_ns = 0
    calls = attempts = 1
    revision = 0

    def __init__(
        self,
        event_id: str,
        plan: Plan,
        opened_ns: int,
        source: str,
        emitter: str,
        trace_id: int,
        span_id: int,
    ) -> None:
        self.id, self.plan, self.opened_ns = event_id, plan, opened_ns
        self.source, self.trace_id, self.span_id = source, trace_id, span_id
        self.emitters: tuple[str, ...] = (emitter,)

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

    @property
    def decision(self) -> str:
        """Of the gate."""
        return "refused" if self.refusal else "allowed"

    @property
    def budget(self) -> str | None:
        """The budget that decided; None when allowed."""
        return self.refusal.budget if self.refusal else None

    @property
    def requested(self) -> int | None:
        """What a refused call asked for, in the budget's unit."""
        return self.refusal.requested if self.refusal else None

    def attributes(self) -> dict[str, str | int]:
        """The allow-list, and the payer's custom keys."""
        custom = {
            key: value[:ATTRIBUTE_LENGTH]
            for key, value in self.plan.kind.scope.items()
            if key not in COLUMN_KEYS
        }
        if self.error_type:
            custom[ERROR_TYPE] = self.error_type
        return {**custom, "requested": self.requested} if self.requested is not None else {**custom}

    def event(self) -> UsageEvent:
        """The row."""
        kind, tokens = self.plan.kind, self.tokens
        who = {key: kind.scope.get(key) for key in ("service", "app", "env", "team")}
        return UsageEvent(
            event_id=self.id,
            ts_us=self.opened_ns // 1000,
            trace_id=f"{self.trace_id:032x}" if self.trace_id else None,
            span_id=f"{self.span_id:016x}" if self.span_id else None,
            duration_us=self.duration_us,
            ttft_us=self.ttft_us,
            **who,
            user_id=kind.scope.get("user"),
            session_id=kind.scope.get("session"),
            provider=kind.provider,
            model=kind.model,
            operation=kind.operation,
            status=self.status,
            decision=self.decision,
            budget=self.budget,
            calls=self.calls,
            attempts=self.attempts,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cache_read_tokens=tokens[2],
            cache_write_tokens=tokens[3],
            reasoning_tokens=tokens[4],
            total_tokens=tokens[0] + tokens[1],
            cost_usd=None,
            price_version=None,
            estimated=self.estimated,
            source=self.source,
            tags=kind.scope.tags,
            attributes=self.attributes(),
            revision=self.revision,
        )
