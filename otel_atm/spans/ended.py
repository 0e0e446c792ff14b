"""Ended: rows of spans that are only seen once they have ended, as exporters see them.

Nobody can be refused any more, and the context of the calls is gone. Which spans tell of one call
follows from what they say: the id that a processor gave it, descent, and else the rules of
`otel_atm.gate` for spans that tell of a call afterwards. The first that tells makes the row;
what others know better makes another revision of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate import Call, Ending, Gate, Plan, Telling, Tokens, compatible
from otel_atm.semconv import (
    CALL_OPERATIONS,
    EMBEDDINGS,
    ERROR_TYPE,
    GEN_AI_RESPONSE_ID,
    GEN_AI_TIME_TO_FIRST_CHUNK,
)
from otel_atm.spans.attribution import Attribution
from otel_atm.spans.emitters import (
    KINDS,
    NAMED,
    Recognised,
    are_siblings,
    is_late,
    recognise,
    recognise_sum,
)
from otel_atm.spans.endings import ending_of, is_partial
from otel_atm.spans.family import Family
from otel_atm.spans.reading import microseconds, read_text, read_tokens
from otel_atm.spans.sdk import best_access
from otel_atm.spans.told import REFUSED, Told, read_told

_SOURCE: Final = "span"
_REFUSAL: Final = TokenQuotaExceeded.__name__
_MOST_IDS: Final = 4_096
_LATEST_NS: Final = 1 << 63


class _Seen(NamedTuple):
    """A span that has ended, as far as it concerns us.

    Attributes:
        plan: of the call that it tells of.
        tokens: that it reports; None if it reports none.
        partial: whether the provider would report more.
        ending: how the call failed; None if it did not.
        start_ns, end_ns: 0 where there is none that a row can have.
        late: whether it may have been made after the call.
        told: what a processor has written on it; None if none has.
    """

    emitter: str
    plan: Plan
    tokens: Tokens | None
    partial: bool
    ending: Ending | None
    response_id: str | None
    ttft_us: int | None
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    late: bool
    told: Told | None


class EndedSpans:
    """Makes one row of each call, however many spans tell of it, in whatever order.

    Args:
        gate: without budgets; it settles what is told.
        keep: takes a row; the gate's sink, too.
    """

    def __init__(self, gate: Gate, keep: Callable[[Call], None]) -> None:
        self._gate, self._keep = gate, keep
        self._attribution = Attribution(gate)
        access = best_access()
        self._at_start, self._at_end = access.at_start, access.at_end
        self._family = Family()
        self._told: dict[str, Call] = {}  # id that a processor gave → its call

    def take(self, span: ReadableSpan) -> None:
        """Take what a span tells of a call, if it does."""
        attributes, name, _, span_id, parent_id, _ = self._at_start(span)
        if self._family.has_told(span_id):
            return  # it is exported again
        call = None
        if not KINDS.isdisjoint(attributes) or NAMED[name]:
            known = recognise(attributes, name, span.name)
            call = self._sum(span, attributes) if known is None else self._call(span, known)
        self._family.end(span_id, parent_id, call)

    def _call(self, span: ReadableSpan, known: Recognised) -> Call:
        """The call that a span tells of."""
        seen = self._read(span, known)
        call = self._found(seen)
        if call is None:
            call = self._made(seen)
        elif not _is_sum(call):
            self._join(call, seen)
        return call

    def _sum(self, span: ReadableSpan, attributes: Mapping[str, Any]) -> Call | None:
        """The sum of calls that were made elsewhere; None if it is of calls that were seen."""
        known = recognise_sum(attributes)
        if known is None or read_tokens(known.emitter, attributes) is None:
            return None
        seen, family, recent = self._read(span, known), self._family, self._gate.recent
        if family.beneath(seen.span_id) or family.above(seen.parent_id) is not None:
            return None
        if recent.any_of(seen.plan.kind.scope, seen.start_ns, seen.end_ns):
            return None
        return self._made(seen)

    def _read(self, span: ReadableSpan, known: Recognised) -> _Seen:
        attributes, name, trace_id, span_id, parent_id, resource = self._at_start(span)
        _, _, failed, start_ns, end_ns = self._at_end(span)
        emitter, told = known.emitter, read_told(attributes)
        plan = self._attribution.plan_of(known, attributes, resource)
        if told is not None:
            kind = plan.kind
            plan = self._gate.plan(kind._replace(scope=kind.scope | told.scope))
        tokens = read_tokens(emitter, attributes)
        failed = failed or ERROR_TYPE in attributes
        partial = (
            tokens is not None
            and known.operation != EMBEDDINGS
            and is_partial(attributes, emitter, name, failed=failed)
        )
        return _Seen(
            name,
            plan,
            tokens,
            partial,
            ending_of(attributes, span.events, name) if failed else None,
            read_text(attributes, (GEN_AI_RESPONSE_ID,)),
            microseconds(attributes.get(GEN_AI_TIME_TO_FIRST_CHUNK)),
            trace_id,
            span_id,
            parent_id,
            _time(start_ns),
            _time(end_ns),
            is_late(name, span.name),
            told,
        )

    def _found(self, seen: _Seen) -> Call | None:
        """The call, if another span has told of it."""
        if seen.told is not None and seen.told.call_id in self._told:
            call = self._told[seen.told.call_id]
            return None if _is_another(call, seen) else call
        beneath = self._family.beneath(seen.span_id)
        alike = [call for call in beneath if self._may_be(call, seen)]
        if alike:
            return max(alike, key=lambda call: call.told == seen.tokens)
        above = self._family.above(seen.parent_id)
        if above is not None and (_is_sum(above) or self._may_be(above, seen)):
            return above
        return self._recent(seen) or self._sibling(seen)

    def _may_be(self, call: Call, seen: _Seen) -> bool:
        return (
            seen.emitter not in call.emitters
            and compatible(call.plan.kind, seen.plan.kind)
            and not _is_another(call, seen)
            and not (seen.told is not None and call.id in self._told)  # they have two ids
        )

    def _recent(self, seen: _Seen) -> Call | None:
        """The call that has ended lately, and used the same."""
        if seen.tokens is None or seen.told is not None:
            return None
        return self._gate.recent.find(
            Telling(
                seen.plan.kind,
                seen.emitter,
                seen.tokens,
                seen.start_ns,
                seen.end_ns,
                seen.late,
                seen.response_id,
            )
        )

    def _sibling(self, seen: _Seen) -> Call | None:
        """The call of a span beside this one, in the midst of which this one lies."""
        for call in reversed(self._family.beneath(seen.parent_id)):
            if (
                self._may_be(call, seen)
                and are_siblings(call.emitters[-1], seen.emitter)
                and (seen.tokens is None or call.told in (None, seen.tokens))
                and call.started_ns <= seen.start_ns <= call.ended_ns
            ):
                return call
        return None

    def _made(self, seen: _Seen) -> Call:
        """A call, with its row."""
        start_ns, told = seen.start_ns or self._gate.now_ns(), seen.told
        call = Call.of(
            event_id_of(start_ns, seen.trace_id, seen.span_id),
            seen.plan,
            (),
            start_ns,
            _SOURCE,
            seen.emitter,
            seen.trace_id,
            seen.span_id,
        )
        if told is not None and told.call_id not in self._told:
            call.id, call.outcome = told.call_id, told.outcome
            self._remember(call)
        if seen.start_ns and seen.end_ns:
            call.started_ns, call.ended_ns = seen.start_ns, seen.end_ns
        call.told, call.response_id, call.ttft_us = seen.tokens, seen.response_id, seen.ttft_us
        self._gate.keep(call)
        self._settle(call, seen)
        return call

    def _settle(self, call: Call, seen: _Seen) -> None:
        status, error_type, free = seen.ending or ("ok", None, False)
        if error_type is not None and error_type.rpartition(".")[2] == _REFUSAL:
            # Some are only refused when they are about to be sent, after their span has begun.
            call.outcome = call.outcome._replace(decision=REFUSED, attempts=0)
        if call.outcome.decision == REFUSED or (free and seen.tokens is None):
            self._gate.release(call, status, error_type)
        else:
            self._gate.settle(call, seen.tokens, status, error_type, estimated=seen.partial)

    def _join(self, call: Call, seen: _Seen) -> None:
        """Take what another span of a call knows better: what it used, who pays."""
        if seen.emitter not in call.emitters:
            call.emitters += (seen.emitter,)
        before, after = call.plan.kind, seen.plan.kind
        kind = before._replace(
            scope=after.scope | before.scope,
            provider=before.provider or after.provider,
            model=before.model or after.model,
        )
        news = kind != before
        if news:
            call.plan = self._gate.plan(kind)
        call.response_id = call.response_id or seen.response_id
        if self._tells_more(call, seen) and seen.tokens is not None:
            call.told = seen.tokens
            self._gate.tell(call, seen.tokens)
        elif news:
            call.outcome = call.outcome._replace(revision=call.outcome.revision + 1)
            self._keep(call)

    def _tells_more(self, call: Call, seen: _Seen) -> bool:
        """Whether what a span reports is to be taken for what was charged before."""
        if call.outcome.decision == REFUSED:
            return False
        return call.told is None or (call.outcome.estimated and not seen.partial)

    def _remember(self, call: Call) -> None:
        if len(self._told) >= _MOST_IDS:
            for oldest in list(islice(self._told, _MOST_IDS // 8)):
                del self._told[oldest]
        self._told[call.id] = call


def event_id_of(time_ns: int, trace_id: int, span_id: int) -> str:
    """The id of the row that a span makes: a UUIDv7 (RFC 9562 §5.7) that is always the same.

    Args:
        time_ns: when the span started, since 1970.
        trace_id: the span's.
        span_id: the span's.
    """
    hashed = blake2b(b"%032x%016x" % (trace_id, span_id), digest_size=10).digest()
    rand = int.from_bytes(hashed)
    text = f"{time_ns // 1_000_000 & (1 << 48) - 1:012x}"
    rand_a, rand_b, node = rand & 0xFFF, rand >> 12 & 0x3FFF | 0x8000, rand >> 26 & (1 << 48) - 1
    return f"{text[:8]}-{text[8:]}-7{rand_a:03x}-{rand_b:04x}-{node:012x}"


def _is_sum(call: Call) -> bool:
    return call.plan.kind.operation not in CALL_OPERATIONS


def _is_another(call: Call, seen: _Seen) -> bool:
    """Whether a span tells of another answer."""
    return bool(seen.response_id and call.response_id and seen.response_id != call.response_id)


def _time(time_ns: object) -> int:
    """If a row can have it: from 1970 to 2262; else 0."""
    return time_ns if isinstance(time_ns, int) and 0 < time_ns < _LATEST_NS else 0
