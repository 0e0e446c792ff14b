"""The processor: admits LLM spans when they start, settles them when they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate import Call, Gate, Plan, Tokens
from otel_atm.semconv import (
    ATM_BUDGET_NAME,
    ATM_CALL_ID,
    ATM_DECISION,
    ERROR_TYPE,
    GEN_AI_RESPONSE_ID,
    GEN_AI_TIME_TO_FIRST_CHUNK,
)
from otel_atm.spans.attribution import Attribution
from otel_atm.spans.emitters import Emitter, recognise
from otel_atm.spans.endings import ending_of
from otel_atm.spans.reading import read_text, read_tokens
from otel_atm.spans.sdk import best_access

_SOURCE: Final = "span"


class GateProcessor(SpanProcessor):
    """Leads LLM spans through a gate. Of all that can fail here, only a refusal comes out.

    Args:
        gate: admits and settles.
        baggage_keys: scope keys that may come from baggage.
    """

    #: The most open spans that are remembered; past it the oldest are forgotten, and their calls
    #: are written off when their time to live is over.
    MAX_SPANS: Final = 20_000

    def __init__(self, gate: Gate, *, baggage_keys: Iterable[str] = ()) -> None:
        self._gate = gate
        self._attribution = Attribution(gate, baggage_keys)
        self._look, self._write = best_access()
        # id of an open span → the call it tells of, or that a span above it tells of; and how
        self._spans: dict[int, tuple[Call, Emitter | None]] = {}
        self.retired = False  # True: ignore every span from now on

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Admit an LLM span.

        Raises:
            TokenQuotaExceeded: a budget refuses the call; the span has ended with status ERROR.
        """
        if self.retired:
            return
        try:
            self._start(span, parent_context)
        except TokenQuotaExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._gate.trouble.note("on_start", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Settle an LLM span; never raises."""
        if self.retired:
            return
        try:
            self._end(span)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._gate.trouble.note("on_end", error)

    def shutdown(self) -> None:
        """Write off the calls that nobody ended yet. Budgets go on holding afterwards."""
        self._gate.expire(everything=True)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing waits in here; see `otel_atm.TokenSpanProcessor.force_flush`."""
        return True

    def forget_spans(self) -> None:
        """Open spans are somebody else's: in a forked child, the parent's."""
        self._spans = {}

    def _start(self, span: Span, parent_context: Context | None) -> None:
        attributes, scope_name, context, parent = self._look(span)
        known = recognise(attributes, scope_name, span.name)
        above = self._spans.get(parent.span_id) if parent is not None else None
        if known is None:
            if above is not None:  # so that a span below this one still finds the call above
                self._remember(context.span_id, above[0], None)
            return
        plan = self._attribution.plan(known, span, attributes, parent_context)
        span_id = context.span_id
        call = self._gate.begin(
            plan, _SOURCE, scope_name, above and above[0], context.trace_id, span_id
        )
        if call.refusal is not None:
            self._refuse(span, call, call.refusal)
        self._remember(span_id, call, known.emitter)
        self._write(span, {**plan.span_attributes, ATM_CALL_ID: call.id})

    def _refuse(self, span: Span, call: Call, refusal: TokenQuotaExceeded) -> NoReturn:
        span.set_attributes(
            {
                **call.plan.span_attributes,
                ATM_CALL_ID: call.id,
                ATM_DECISION: "refused",
                ATM_BUDGET_NAME: refusal.budget,
                ERROR_TYPE: TokenQuotaExceeded.__name__,
            }
        )
        span.set_status(Status(StatusCode.ERROR, str(refusal)))
        span.end()  # exported like any other; processors that saw its start see its end
        raise refusal

    def _remember(self, span_id: int, call: Call, emitter: Emitter | None) -> None:
        spans = self._spans
        if len(spans) >= self.MAX_SPANS:
            for oldest in list(islice(spans, self.MAX_SPANS // 10)):
                spans.pop(oldest, None)
        spans[span_id] = call, emitter

    def _end(self, span: ReadableSpan) -> None:
        span_id = span.context.span_id
        known = self._spans.pop(span_id, None)
        if known is None:
            self._end_unknown(span)
            return
        call, emitter = known
        if emitter is None:
            return
        attributes = self._look(span)[0]
        tokens = read_tokens(emitter, attributes)
        if tokens is not None:
            call = self._tell(call, span, attributes, tokens)
        if call.leave(span_id):  # otherwise another emitter still tells of it
            self._close(call, emitter, span, attributes)

    def _tell(
        self, call: Call, span: ReadableSpan, attributes: Mapping[str, Any], tokens: Tokens
    ) -> Call:
        """Take down the usage that a span reports, once for each call; return the call."""
        response_id = attributes.get(GEN_AI_RESPONSE_ID)
        if call.told is None:
            call.told, call.response_id = tokens, response_id
        elif response_id and call.response_id and response_id != call.response_id:
            # Linked by context, yet another answer: a call of its own.
            if call.leave(span.context.span_id):
                self._gate.settle(call, call.told)
            return self._charge(call.plan, tokens, span)
        return call

    def _close(
        self, call: Call, emitter: Emitter, span: ReadableSpan, attributes: Mapping[str, Any]
    ) -> None:
        """Say how a call ended, as the last of its spans tells, and settle it."""
        kind = call.plan.kind
        if kind.model is None or kind.provider is None:
            call.plan = self._gate.plan(
                kind._replace(
                    provider=kind.provider or read_text(attributes, emitter.provider),
                    model=kind.model or read_text(attributes, emitter.model),
                )
            )
        end_ns, start_ns = span.end_time, span.start_time
        if end_ns and start_ns:
            call.duration_us, call.ended_ns = (end_ns - start_ns) // 1000, end_ns
        first_chunk_s = attributes.get(GEN_AI_TIME_TO_FIRST_CHUNK)
        if first_chunk_s is not None:
            call.ttft_us = _microseconds(first_chunk_s)
        free = False
        if span.status.status_code is StatusCode.ERROR or ERROR_TYPE in attributes:
            call.status, call.error_type, free = ending_of(attributes, span.events)
        elif call.revision or call.status != "ok":
            call.status, call.error_type = "ok", None  # it was written off as lost
        if free and call.told is None:
            self._gate.release(call)
        else:
            self._gate.settle(call, call.told)

    def _end_unknown(self, span: ReadableSpan) -> None:
        """Count a call that shows only at the end of its span that it was one."""
        attributes, name, _, parent = self._look(span)
        known = recognise(attributes, name, span.name)
        if known is None or ATM_CALL_ID in attributes:
            return  # no call; or one that was counted: ended twice, refused, or of a parent process
        tokens = read_tokens(known.emitter, attributes)
        if tokens is None or (parent is not None and parent.span_id in self._spans):
            return
        plan = self._attribution.plan(known, span, attributes, None)
        if not self._gate.is_told(
            plan.kind, name, tokens, span.start_time or 0, span.end_time or 0
        ):
            call = self._charge(plan, tokens, span)
            self._close(call, known.emitter, span, attributes)

    def _charge(self, plan: Plan, tokens: Tokens, span: ReadableSpan) -> Call:
        _, name, context, _ = self._look(span)
        call = self._gate.charge(plan, tokens, _SOURCE, name, context.trace_id, context.span_id)
        call.told = tokens
        return call


def _microseconds(seconds: object) -> int | None:
    return int(seconds * 1e6) if isinstance(seconds, float) and seconds >= 0 else None
