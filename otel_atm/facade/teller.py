"""The teller: takes what an application tells of its requests and answers to the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.trace import Span, Status, StatusCode, Tracer, get_current_span

from otel_atm import semconv as sc
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.facade.counter import Counter, Side, counted
from otel_atm.facade.draft import Draft
from otel_atm.facade.hooks import Hooks
from otel_atm.facade.rows import begin_writing, check_written
from otel_atm.facade.told import PLACES, Told
from otel_atm.gate import Call, Gate, Kind, Tokens
from otel_atm.scope import scope_of
from otel_atm.tokenizers import Tokenizers

_OPERATION: Final = "chat"


class Teller:
    """Leads what it is told through a gate, and makes a span of it.

    Args:
        gate: admits and charges.
        kind_of: (provider, model, operation) → kind of a call in this context.
        tracer: of the spans.
        tokenizers: count texts.
        hooks: change or veto requests.
    """

    def __init__(
        self,
        gate: Gate,
        kind_of: Callable[[str | None, str | None, str], Kind],
        tracer: Callable[[], Tracer],
        tokenizers: Tokenizers,
        hooks: Hooks,
    ) -> None:
        self._gate, self._kind_of, self._tracer = gate, kind_of, tracer
        self._count, self._hooks = Counter(tokenizers, gate.trouble), hooks
        self._spans: dict[str, Span] = {}  # id of a request that waits for its answer → its span
        gate.told.on_leave = self._end_span

    def ask(self, request: object, given: Mapping[str, Any]) -> str:
        """Tell of a request; see `otel_atm.add_user_request`."""
        begin_writing()
        told = Told.of(request, given, "request", self._count)
        plan = self._gate.plan(self._asked(told, "request"))
        trace_id = get_current_span().get_span_context().trace_id
        call = self._gate.told.ask(plan, told.tokens, estimated=told.estimated, trace_id=trace_id)
        self._begin_span(call)
        if call.refusal is not None:
            raise call.refusal
        check_written()
        return call.id

    def answer(self, response: object, given: Mapping[str, Any]) -> str | None:
        """Tell of an answer; see `otel_atm.add_model_response`."""
        begin_writing()
        told = Told.of(response, given, "response", self._count)
        kind = self._asked(told, "response")
        stated, model = self._gate.told, told.model_asked
        call, seen = stated.find(kind.scope, model, model or told.model, told.tokens, told.certain)
        if seen:
            return None
        if call is not None:
            self._settle(call, kind, told)
            check_written()
            return call.id
        trace_id = get_current_span().get_span_context().trace_id
        plan = self._gate.plan(kind)
        added = stated.add(plan, told.tokens, estimated=told.estimated, trace_id=trace_id)
        check_written()
        return added.id

    def _settle(self, call: Call, kind: Kind, told: Told) -> None:
        """The answer of a request that waited for it."""
        asked, tokens, estimated = call.plan.kind, told.tokens, told.estimated
        if not told.whole:  # the answer tells nothing of what was asked
            tokens = (call.tokens[0], *tokens[1:])
            estimated = estimated or call.outcome.estimated
        both = Kind(
            asked.scope | kind.scope,
            asked.provider or kind.provider,
            asked.model or kind.model,
            asked.operation,
        )
        self._gate.told.answer(call, self._gate.plan(both), tokens, estimated=estimated)
        self._end_span(call)

    def _asked(self, told: Told, side: Side) -> Kind:
        """The kind of what is told, after the hooks before it, which may have changed it."""
        kind = self._kind_of(told.provider, told.model, _OPERATION)
        kind = kind._replace(scope=kind.scope | scope_of(told.who))
        place = PLACES[side]
        if not told.known:
            told.put(place, self._gate.plan(kind).estimate[place])
        draft = Draft.asked(side, told.tokens[place], kind)
        draft.estimated = told.estimated
        self._hooks.ask(draft)
        if draft.token_count != told.tokens[place]:
            told.put(place, counted(draft.token_count, "token_count"))
        told.estimated = draft.estimated
        return Kind(draft.scope(), draft.provider, draft.model_id, _OPERATION)

    def _begin_span(self, call: Call) -> None:
        """A span of the request, which ends with its answer; of a refused one, now."""
        try:
            kind = call.plan.kind
            span = self._tracer().start_span(
                f"{kind.operation} {kind.model}" if kind.model else kind.operation
            )
            attributes: dict[str, Any] = {
                sc.GEN_AI_OPERATION_NAME: kind.operation,
                **call.plan.span_attributes,
                sc.ATM_CALL_ID: call.id,
                sc.ATM_DECISION: call.outcome.decision,
            }
            if kind.provider:
                attributes[sc.GEN_AI_PROVIDER_NAME] = kind.provider
            if kind.model:
                attributes[sc.GEN_AI_REQUEST_MODEL] = kind.model
            # Not at its start: to the processor it is no call.
            span.set_attributes(attributes)
            if call.refusal is not None:
                _end_refused(span, call.refusal)
                return
            self._spans[call.id] = span
            if call.id not in self._gate.told.waiting:
                self._end_span(call)  # another thread was faster
        except Exception as error:  # noqa: BLE001 - the call is told of without it
            self._gate.trouble.note("facade_span", error)

    def _end_span(self, call: Call) -> None:
        """End the span of a request that waits no longer, with what it used in the end."""
        try:
            span = self._spans.pop(call.id, None)
            if span is not None:
                if call.outcome.calls:  # else a door's span tells
                    span.set_attributes(_usage(call.tokens))
                span.end()
        except Exception as error:  # noqa: BLE001 - of an exporter, or the user's processor
            self._gate.trouble.note("facade_span", error)


def _end_refused(span: Span, refusal: TokenQuotaExceeded) -> None:
    span.set_attributes({sc.ERROR_TYPE: type(refusal).__name__, sc.ATM_BUDGET_NAME: refusal.budget})
    span.set_status(Status(StatusCode.ERROR, "refused by a token budget"))
    span.end()


def _usage(tokens: Tokens) -> dict[str, int]:
    return {
        sc.USAGE_INPUT[0]: tokens[0],
        sc.USAGE_OUTPUT[0]: tokens[1],
    }
