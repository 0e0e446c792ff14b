"""The processor: admits LLM spans when they start, settles them when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn
from weakref import WeakMethod

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode, get_current_span

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate import PLAIN, Aggregate, Alert, Call, Gate, Telling, Tokens, compatible
from otel_atm.scope import NOBODY, Scope, current_scope
from otel_atm.semconv import (
    ATM_BUDGET_NAME,
    ATM_CALL_ID,
    ATM_DECISION,
    EMBEDDINGS,
    ERROR_TYPE,
    GEN_AI_REQUEST_MAX_TOKENS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_TIME_TO_FIRST_CHUNK,
)
from otel_atm.spans.alert_event import add_event
from otel_atm.spans.attribution import KIND, MODEL, PROVIDER, TELLING, Attribution, Known
from otel_atm.spans.emitters import KINDS, NAMED, Emitter, is_late, recognise, recognise_sum
from otel_atm.spans.endings import ending_of, is_partial
from otel_atm.spans.reading import microseconds, read_provider, read_text, read_tokens
from otel_atm.spans.sdk import FAST, best_access
from otel_atm.usage import MOST_TOKENS

_SOURCE: Final = "span"
_RESPONSE_ID: Final = (GEN_AI_RESPONSE_ID,)
#: An emitter whose calls guards see, and that tells of one that they did not see, has it from a
#: cache if it took less than this.
_CACHED_NS: Final = 50_000_000
_ERROR: Final = StatusCode.ERROR
#: Where calls come in.
_DOORS: Final = ("on_start", "_end_unknown")
#: The most open spans that are remembered; past it the oldest are forgotten, and their calls are
#: written off when their time to live is over.
_MAX_SPANS: Final = 20_000

#: A span to be admitted: what it is, its attributes, the name of its instrumentation scope, trace
#: id, span id, and what it lies beneath.
_Started = tuple[Known, Mapping[str, Any], str, int, int, Call | Aggregate | None]


class GateProcessor(SpanProcessor):
    """Leads LLM spans through a gate. Of all that can fail here, only a refusal comes out.

    Args:
        gate: admits and settles.
        baggage_keys: scope keys that may come from baggage.
        own: what the process says of itself, before its resource.

    Attributes:
        ignores_spans: whether it admits nothing any more.
        has_rivals: whether `_is_succeeded` is worth asking.
    """

    ignores_spans = has_rivals = False

    def __init__(
        self, gate: Gate, *, baggage_keys: Iterable[str] = (), own: Scope = NOBODY
    ) -> None:
        self._gate = gate
        self._attribution = Attribution(gate, baggage_keys, own)
        access = best_access()
        self._at_start, self._at_end, self._write = access.at_start, access.at_end, access.write
        self._fast, self._planner = access is FAST, gate.planner
        self._spans: dict[int | None, tuple[Any, Emitter | None]] = gate.spans
        self._refused = gate.refused
        self._unsaid: deque[Alert] = deque(maxlen=16)  # that no span tells of yet
        alert = WeakMethod(self._alert)  # a gate may outlive its processor
        gate.alerts.listen(lambda told: (tell := alert()) and tell(told))

    def on_start(  # noqa: C901 - in one piece: each call within costs as much as a quarter of it
        self, span: Span, parent_context: Context | None = None
    ) -> None:
        """Admit an LLM span.

        Raises:
            TokenQuotaExceeded: a budget refuses the call; the span has ended with status ERROR.
        """
        try:
            known, spans = None, self._spans
            try:  # nearly all are like one before, and lie there as `at_start_fast` reads them
                own = span._attributes
                attributes: Mapping[str, Any] = own._dict  # type: ignore[union-attr]
                if KIND in attributes and self._fast and TELLING.isdisjoint(attributes):
                    get = attributes.get
                    words = self._planner.generation, get(KIND), get(PROVIDER), get(MODEL)
                    known = current_scope().memo.get(words)
                    context, parent, above = span._context, span._parent, None
                    trace_id, span_id = context[0], context[1]  # type: ignore[index]
                    if parent is not None:
                        found = spans.get(parent[1])
                        above = found[0] if found else self._refused.get(parent[1])
                    scope_name = span._instrumentation_scope._name  # type: ignore[union-attr]
                    room = own.maxlen if own.max_value_len is None else 0  # type: ignore[union-attr]
            except (AttributeError, TypeError):
                known = None  # made by hand, or in words that are no texts
            if known is None or known[3] is not span._resource:
                found_out = self._recognise(span, parent_context)
                if found_out is None:
                    return
                known, attributes, scope_name, trace_id, span_id, above = found_out
                room = 0
            plan, emitter, width, _ = known
            if above is not None and type(above) is Aggregate:
                above.note_call()
                above = None
            if self._gate.told.waiting:
                plan = self._gate.told.give_way(plan, scope_name)
            most_output = attributes.get(GEN_AI_REQUEST_MAX_TOKENS)
            call = self._gate.begin(
                plan, _SOURCE, scope_name, above, trace_id, span_id, most_output
            )
            if call.refusal is not None:
                self._refuse(span, call, call.refusal)
            if len(spans) < _MAX_SPANS:
                spans[span_id] = call, emitter
            else:
                self._remember(span_id, call, emitter)
            if room is None or len(attributes) + width <= room:  # as `write_fast`
                attributes.update(plan.span_attributes)  # type: ignore[attr-defined]
                attributes[ATM_CALL_ID] = call.id  # type: ignore[index]
            else:
                self._write(span, plan.span_attributes, call.id)
            if call.outcome is not PLAIN or self._unsaid:
                self._say_more(span, call)
        except TokenQuotaExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._gate.trouble.note("on_start", error)

    def on_end(self, span: ReadableSpan) -> None:  # noqa: C901 - as `on_start`
        """Settle an LLM span; never raises."""
        try:
            try:  # as `at_end_fast` does
                attributes: Mapping[str, Any] = span._attributes._dict  # type: ignore[union-attr]
                span_id = span._context[1]  # type: ignore[index]
                failed = span._status._status_code is _ERROR
                start_ns, end_ns, fast = span._start_time, span._end_time, self._fast
            except (AttributeError, TypeError):
                fast = False
            if not fast:
                attributes, span_id, failed, start_ns, end_ns = self._at_end(span)
            known = self._spans.pop(span_id, None)
            if known is None:
                if not KINDS.isdisjoint(attributes):
                    self._end_unknown(span, attributes)
                return
            call, emitter = known
            if emitter is None:
                self._end_between(span, attributes, call)
                return
            if call.sent:  # the wire settles it; a span only describes it
                if call.told is None:
                    over = not call.open and emitter.given in attributes  # nobody asks what it says
                    call.told = call.tokens if over else read_tokens(emitter, attributes)
                return
            if start_ns and end_ns:
                call.started_ns, call.ended_ns = start_ns, end_ns
            get = attributes.get
            given, made = get(emitter.given), get(emitter.made)
            if (
                type(given) is type(made) is int
                and given
                and 0 <= given | made < MOST_TOKENS  # both of them are
                and call.spans is None
                and call.plan.complete
                and call.started_ns > self._gate.sent_ns  # no guard can have seen it
                and not failed
                and emitter.rare.isdisjoint(attributes)
            ):  # as nearly all end: of nothing else there is anything to be read
                self._gate.settle_plain(call, (given, made, 0, 0, 0))
            else:
                self._end(call, emitter, span, attributes, failed)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._gate.trouble.note("on_end", error)

    def shutdown(self) -> None:
        """Write off the calls that nobody ended yet. Budgets go on holding afterwards."""
        try:
            self._gate.expire(everything=True)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._gate.trouble.note("shutdown", error)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing waits in here; see `otel_atm.TokenSpanProcessor.force_flush`."""
        return True

    def ignore_spans(self) -> None:
        """Admit nothing any more, but settle what was admitted.

        A provider cannot forget a processor, and each span of it would cost.
        """
        self.ignores_spans = True
        for door in _DOORS:
            setattr(self, door, _look_away)

    def heed_spans(self) -> None:
        """End `ignore_spans`, for spans that start from now on."""
        self.ignores_spans = False
        for door in _DOORS:
            self.__dict__.pop(door, None)

    def take_from_baggage(self, keys: Iterable[str]) -> None:
        """Take other scope keys from baggage, from now on."""
        self._attribution.take_from_baggage(keys)

    def know(self, resource: Resource) -> None:
        """Calls without a span come from this resource, until a span says otherwise."""
        self._attribution.know(resource)

    def forget_spans(self) -> None:
        """Open spans are somebody else's: in a forked child, the parent's."""
        self._spans.clear()

    def _recognise(self, span: Span, parent_context: Context | None) -> _Started | None:
        """What a span is that is not like one before; None if it is not admitted."""
        attributes, scope_name, trace_id, span_id, parent_id, resource = self._at_start(span)
        if self.has_rivals and self._is_succeeded(span, span_id):
            return None
        if ATM_CALL_ID in attributes and span_id in self._spans:
            return None  # its provider has this processor twice
        found = self._spans.get(parent_id)
        above = found[0] if found else self._refused.get(parent_id)
        if KINDS.isdisjoint(attributes) and not NAMED[scope_name]:
            if above is not None:  # so that a span below this one still finds what is above
                self._remember(span_id, above, None)
            return None
        known = self._attribution.attribute(span, attributes, scope_name, resource, parent_context)
        if known is None or known[1].given in attributes:
            self._note(span_id, above, is_sum=known is None)
            return None
        return known, attributes, scope_name, trace_id, span_id, above

    def _is_succeeded(self, span: Span, span_id: int) -> bool:  # noqa: ARG002 - for who has rivals
        """Whether another processor counts the calls of this span's provider."""
        return False

    def _leave(self, span_id: int) -> None:
        """Give back what is held for an open span; another processor admits it."""
        call, _ = self._spans.pop(span_id, (None, None))
        if isinstance(call, Call):
            self._gate.drop(call)

    def _refuse(self, span: Span, call: Call, refusal: TokenQuotaExceeded) -> NoReturn:
        try:
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
        except Exception as error:  # noqa: BLE001 - e.g. of another processor; the refusal stands
            self._gate.trouble.note("on_start", error)
        raise refusal

    def _say_more(self, span: Span, call: Call) -> None:
        """Set what few calls have: a decision other than "allowed", alerts since the last one."""
        outcome = call.outcome
        if outcome.decision != PLAIN.decision and outcome.budget is not None:
            said = {ATM_DECISION: outcome.decision, ATM_BUDGET_NAME: outcome.budget}
            span.set_attributes(said)
        while self._unsaid:
            add_event(span, self._unsaid.popleft())

    def _alert(self, alert: Alert) -> None:
        """Say an alert on the span around the call, else on the next call's."""
        around = get_current_span()
        if around.is_recording():
            add_event(around, alert)
        else:
            self._unsaid.append(alert)

    def _note(self, span_id: int, above: Any, *, is_sum: bool) -> None:
        """Note a span that is not admitted: the sum of others, or it tells of what is over."""
        if above.__class__ is Call:
            self._remember(span_id, above, None)
        elif is_sum:
            self._remember(span_id, Aggregate(above), None)

    def _remember(self, span_id: int, call: Call | Aggregate, emitter: Emitter | None) -> None:
        spans = self._spans
        if len(spans) >= _MAX_SPANS:
            for oldest in list(islice(spans, _MAX_SPANS // 10)):
                spans.pop(oldest, None)
        spans[span_id] = call, emitter

    def _end(
        self,
        call: Call,
        emitter: Emitter,
        span: ReadableSpan,
        attributes: Mapping[str, Any],
        failed: bool,
    ) -> None:
        failed = failed or ERROR_TYPE in attributes
        scope = span.instrumentation_scope.name if span.instrumentation_scope else ""
        if failed:
            ending = ending_of(attributes, span.events, scope)
            if call.ending is None or (call.ending.free and not ending.free):
                call.ending = ending
        tokens = read_tokens(emitter, attributes)
        if tokens is not None:
            if call.told is None:
                call.told, call.response_id = tokens, read_text(attributes, _RESPONSE_ID)
                call.partial = call.plan.kind.operation != EMBEDDINGS and is_partial(
                    attributes, emitter, scope, failed=failed
                )
            elif self._is_another(call, attributes):
                self._part(call, emitter, span, attributes, tokens)
                return
        if not call.leave(span.context.span_id):
            return  # others still tell of it
        if self._gate.guarded and not self._is_call(call, emitter, scope, attributes):
            self._gate.drop(call)
            return
        self._close(call, emitter, attributes)

    def _is_call(
        self, call: Call, emitter: Emitter, scope: str, attributes: Mapping[str, Any]
    ) -> bool:
        """Whether a span tells of a call that no guard has seen."""
        gate, kind = self._gate, call.plan.kind
        model = read_text(attributes, emitter.model) or kind.model
        if call.told is None:
            return not gate.coverage.has_seen(scope, model)
        telling = Telling(
            kind._replace(model=model), scope, call.told, call.started_ns, call.ended_ns
        )
        return self._find(telling) is None and not self._is_cached(telling, call.response_id)

    def _find(self, telling: Telling) -> Call | None:
        """The call that has ended, and that a span tells of too."""
        call = self._gate.recent.find(telling) or self._underway(telling)
        if call is not None and call.sent:
            self._gate.coverage.see(telling.emitter, telling.kind.model)
        return call

    def _underway(self, telling: Telling) -> Call | None:
        """The call of this context, if its answer still comes: some spans end at its last chunk."""
        call = self._gate.latest()
        if (
            call is None
            or not (call.sent and call.open)
            or telling.emitter in call.emitters
            or not compatible(call.plan.kind, telling.kind)
            or call.started_ns < telling.start_ns
        ):
            return None
        call.emitters += (telling.emitter,)
        call.told = call.told or telling.tokens
        return call

    def _is_cached(self, telling: Telling, response_id: str | None) -> bool:
        """Whether an answer comes from a cache of the framework's.

        An emitter whose calls guards see tells of one that they did not see.
        """
        gate, emitter = self._gate, telling.emitter
        if gate.coverage.has_seen(emitter, telling.kind.model):
            short = telling.end_ns - telling.start_ns < _CACHED_NS
            return short or gate.recent.has_answer(response_id)
        gate.coverage.miss(emitter)
        return False

    def _close(self, call: Call, emitter: Emitter, attributes: Mapping[str, Any]) -> None:
        """Settle a call whose last span has ended."""
        if not call.plan.complete:
            kind = call.plan.kind
            call.plan = self._gate.plan(
                kind._replace(
                    provider=kind.provider or read_provider(emitter, attributes),
                    model=kind.model or read_text(attributes, emitter.model),
                )
            )
        call.ttft_us = microseconds(attributes.get(GEN_AI_TIME_TO_FIRST_CHUNK))
        if call.ending is None:
            self._gate.settle(call, call.told, estimated=call.partial)
            return
        status, error_type, free = call.ending
        if free and call.told is None:
            self._gate.release(call, status, error_type)
        else:
            self._gate.settle(call, call.told, status, error_type, estimated=call.partial)

    def _is_another(self, call: Call, attributes: Mapping[str, Any]) -> bool:
        """Whether a span that was linked by its context tells of another answer."""
        response_id = read_text(attributes, _RESPONSE_ID)
        return bool(response_id and call.response_id and response_id != call.response_id)

    def _part(
        self,
        call: Call,
        emitter: Emitter,
        span: ReadableSpan,
        attributes: Mapping[str, Any],
        tokens: Tokens,
    ) -> None:
        """Make a call of its own of a span that was taken for one of `call`."""
        if call.leave(span.context.span_id):
            self._gate.settle(call, call.told)
        other = self._gate.charge(
            call.plan, _SOURCE, call.emitters[-1], call.trace_id, span.context.span_id
        )
        other.told = tokens
        self._close(other, emitter, attributes)

    def _end_between(
        self, span: ReadableSpan, attributes: Mapping[str, Any], above: Call | Aggregate
    ) -> None:
        """A span ends that was no call when it started, beneath a call or an agent, or an agent."""
        if isinstance(above, Aggregate) and not KINDS.isdisjoint(attributes):
            self._end_unknown(span, attributes, above)

    def _end_unknown(
        self, span: ReadableSpan, attributes: Mapping[str, Any], within: Aggregate | None = None
    ) -> None:
        """Count a call that shows only at the end of its span that it was one."""
        _, name, trace_id, span_id, parent_id, resource = self._at_start(span)
        if ATM_CALL_ID in attributes:
            return  # it was counted: ended twice, refused, or of a parent process
        known = recognise(attributes, name, span.name)
        is_sum = known is None
        if is_sum and within is not None and not within.saw_calls:
            known = recognise_sum(attributes)
        tokens = read_tokens(known.emitter, attributes) if known is not None else None
        above = self._spans.get(parent_id)
        if known is None or tokens is None or (above and above[0].__class__ is Call):
            return
        gate, plan = self._gate, self._attribution.plan_of(known, attributes, resource)
        times = span.start_time or 0, span.end_time or 0
        if is_sum and gate.recent.any_of(plan.kind.scope, *times):
            return
        response_id = read_text(attributes, _RESPONSE_ID)
        late = is_late(name, span.name)
        telling = Telling(plan.kind, name, tokens, *times, late, response_id)
        told = self._find(telling)
        if told is not None:
            if told.outcome.estimated and not told.sent:
                gate.tell(told, tokens)
            return
        if gate.guarded and self._is_cached(telling, response_id):
            return
        if within is not None:
            within.note_call()
        call = gate.charge(gate.told.give_way(plan, name), _SOURCE, name, trace_id, span_id)
        if all(times):
            call.started_ns, call.ended_ns = times
        failed = span.status.status_code is StatusCode.ERROR
        self._end(call, known.emitter, span, attributes, failed)


def _look_away(*_: object, **__: object) -> None:
    """Take no notice of a span."""
