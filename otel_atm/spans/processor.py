"""The processor: admits LLM spans when they start, settles them when they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from otel_atm import semconv as sc
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate import Call, Gate, Kind, Plan, Tokens
from otel_atm.spans.attributes import accessors
from otel_atm.spans.attribution import Attribution
from otel_atm.spans.emitters import Emitter, recognise
from otel_atm.spans.endings import WELL, ending_of
from otel_atm.spans.reading import read_text, read_tokens

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
        self._attribution = Attribution(baggage_keys)
        self._read, self._write = accessors()
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
        attributes = self._read(span)
        known = recognise(attributes, _scope_name(span), span.name)
        above = self._spans.get(span.parent.span_id) if span.parent is not None else None
        if known is None:
            if above is not None:  # so that a span below this one still finds the call above
                self._remember(span.context.span_id, above[0], None)
            return
        emitter, operation = known
        kind = Kind(
            self._attribution.scope(span.resource, attributes, parent_context),
            read_text(attributes, emitter.provider),
            read_text(attributes, emitter.model),
            operation,
        )
        plan, context = self._gate.plan(kind), span.context
        call = self._gate.begin(
            plan,
            _SOURCE,
            _scope_name(span),
            above[0] if above is not None else None,
            context.trace_id,
            context.span_id,
        )
        if call.refusal is not None:
            self._refuse(span, call)
        self._remember(context.span_id, call, emitter)
        self._write(span, {**plan.span_attributes, sc.ATM_CALL_ID: call.id})

    def _refuse(self, span: Span, call: Call) -> None:
        refusal = call.refusal
        assert refusal is not None
        span.set_attributes(
            {
                **call.plan.span_attributes,
                sc.ATM_CALL_ID: call.id,
                sc.ATM_DECISION: "refused",
                sc.ATM_BUDGET_NAME: refusal.budget,
                sc.ERROR_TYPE: TokenQuotaExceeded.__name__,
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
        context = span.context
        known = self._spans.pop(context.span_id, None)
        if known is None:
            self._end_unknown(span)
            return
        call, emitter = known
        if emitter is None:
            return
        attributes = self._read(span)
        call = self._tell(call, emitter, span, attributes)
        call.spans.discard(context.span_id)
        if call.spans:
            return  # another emitter still tells of this call; the last one ends it
        self._describe(call, emitter, span, attributes)
        self._close(call, span, attributes)

    def _tell(
        self, call: Call, emitter: Emitter, span: ReadableSpan, attributes: Mapping[str, Any]
    ) -> Call:
        """Take down the usage that a span reports, once for each call; return the call."""
        tokens = read_tokens(emitter, attributes)
        if tokens is None:
            return call
        response_id = attributes.get(sc.GEN_AI_RESPONSE_ID)
        if call.told is None:
            call.told, call.response_id = tokens, response_id
        elif response_id and call.response_id and response_id != call.response_id:
            # Linked by context, yet another answer: a call of its own.
            call.spans.discard(span.context.span_id)
            return self._charge(call.plan, tokens, span)
        return call

    def _describe(
        self, call: Call, emitter: Emitter, span: ReadableSpan, attributes: Mapping[str, Any]
    ) -> None:
        kind = call.plan.kind
        if kind.model is None or kind.provider is None:
            call.plan = self._gate.plan(
                kind._replace(
                    provider=kind.provider or read_text(attributes, emitter.provider),
                    model=kind.model or read_text(attributes, emitter.model),
                )
            )
        if span.end_time and span.start_time:
            call.duration_us = (span.end_time - span.start_time) // 1000
            call.ended_ns = span.end_time
        first_chunk_s = attributes.get(sc.GEN_AI_TIME_TO_FIRST_CHUNK)
        if isinstance(first_chunk_s, float) and first_chunk_s >= 0:
            call.ttft_us = int(first_chunk_s * 1e6)

    def _close(self, call: Call, span: ReadableSpan, attributes: Mapping[str, Any]) -> None:
        failed = span.status.status_code is StatusCode.ERROR or sc.ERROR_TYPE in attributes
        ending = ending_of(attributes, span.events) if failed else WELL
        call.status, call.error_type = ending.status, ending.error_type
        if ending.free and call.told is None:
            self._gate.release(call)
        else:
            self._gate.settle(call, call.told)

    def _end_unknown(self, span: ReadableSpan) -> None:
        """Count a call that shows only at the end of its span that it was one."""
        attributes = self._read(span)
        known = recognise(attributes, _scope_name(span), span.name)
        if known is None or sc.ATM_CALL_ID in attributes:
            return  # no call; or one that was counted: ended twice, refused, or of a parent process
        emitter, operation = known
        tokens = read_tokens(emitter, attributes)
        if tokens is None or (span.parent is not None and span.parent.span_id in self._spans):
            return
        kind = Kind(
            self._attribution.scope(span.resource, attributes, None),
            read_text(attributes, emitter.provider),
            read_text(attributes, emitter.model),
            operation,
        )
        start_ns, end_ns = span.start_time or 0, span.end_time or 0
        if self._gate.is_told(kind, _scope_name(span), tokens, start_ns, end_ns):
            return
        call = self._charge(self._gate.plan(kind), tokens, span)
        self._describe(call, emitter, span, attributes)
        self._close(call, span, attributes)

    def _charge(self, plan: Plan, tokens: Tokens, span: ReadableSpan) -> Call:
        context = span.context
        call = self._gate.charge(
            plan, tokens, _SOURCE, _scope_name(span), context.trace_id, context.span_id
        )
        call.told = tokens
        call.spans.clear()
        return call


def _scope_name(span: ReadableSpan) -> str:
    scope = span.instrumentation_scope
    return scope.name if scope is not None else ""
