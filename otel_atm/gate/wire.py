"""Wire: calls where they are sent. It owns the count; spans open calls and describe them."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Final

from otel_atm.gate.aggregate import Aggregate
from otel_atm.gate.call import Call
from otel_atm.gate.gate import Gate
from otel_atm.gate.outcome import PLAIN
from otel_atm.gate.plan import Kind, Plan, alike, compatible
from otel_atm.price import Tokens

#: Makes the plan of a call that no span covers: provider, model, operation.
PlanOf = Callable[[str | None, str | None, str], Plan]
_SOURCE: Final = "guard"


class Wire:
    """Finds or opens the call of a request, and ends it.

    Args:
        gate: that the calls pass.
        plan_of: makes the plan of a call that no span covers.
        span_clock: nanoseconds since the Unix epoch, as the times of spans are, whatever clock
            the budgets go by.
    """

    def __init__(
        self, gate: Gate, plan_of: PlanOf, *, span_clock: Callable[[], int] = time_ns
    ) -> None:
        self._gate, self._plan_of, self._span_clock = gate, plan_of, span_clock

    def take(
        self,
        kind: tuple[str | None, str | None, str],
        read: int,
        most_output: int | None,
        *,
        emitter: str,
        trace_id: int,
        span_id: int,
    ) -> Call:
        """The call of a request that is about to be sent; with a `refusal` it must not be.

        Args:
            kind: provider, model and operation, as the request has them.
            read: about how many tokens its input has.
            most_output: that its answer may have; None when it does not say.
            emitter: the client.
            trace_id: of the current span; 0 without one.
            span_id: of the current span; 0 without one.
        """
        asked, gate = self._plan_of(*kind), self._gate
        if gate.told.waiting:
            asked = gate.told.give_way(asked, emitter)
        call = self._opened(asked.kind, span_id)
        if call is None:
            call = gate.prepare(asked, _SOURCE, emitter, trace_id)
        else:
            gate.coverage.see(call.emitters[0], asked.kind.model)
            call.plan, call.outcome = self._both(call.plan, asked), PLAIN
        call.sent, call.started_ns = True, self._span_clock()
        return self._admit(call, read, most_output, span_id)

    def now_ns(self) -> int:
        """The time, as spans have it."""
        return self._span_clock()

    def answered(self, call: Call, tokens: Tokens, attempts: int) -> None:
        """Settle a call whose answer has come and told all that it used.

        Args:
            call: from `take`.
            tokens: the provider's last word.
            attempts: requests that were sent.
        """
        if call.open:
            self._note_end(call, attempts)
            self._gate.settle_plain(call, tokens)

    def end(
        self,
        call: Call,
        tokens: Tokens | None,
        status: str,
        error_type: str | None,
        *,
        estimated: bool,
        free: bool,
        attempts: int,
    ) -> None:
        """Settle any other call with what its answer said.

        Args:
            call: from `take`.
            tokens: None: nothing was said.
            status: of the row.
            error_type: a class name or a status code.
            estimated: whether `tokens` are not the provider's last word.
            free: whether the provider charges nothing for it.
            attempts: requests that were sent.
        """
        if not call.open:
            return
        self._note_end(call, attempts)
        if free and tokens is None:
            self._gate.release(call, status, error_type)
        else:
            self._gate.settle(call, tokens, status, error_type, estimated=estimated)

    def pass_over(self, span_id: int) -> None:
        """A client asks something else than a model: the span around that is of no call.

        Some emitters make the same span for whatever a client asks, e.g. for a list of models.

        Args:
            span_id: of the current span; 0 without one.
        """
        known = self._gate.spans.get(span_id)
        call = known[0] if known is not None else self._gate.latest()
        if isinstance(call, Call) and call.open and not call.sent:
            self._gate.drop(call)

    def _note_end(self, call: Call, attempts: int) -> None:
        now_ns = self._gate.sent_ns = self._span_clock()
        if call.ended_ns < 0:
            call.ended_ns = now_ns
        if attempts != 1:
            call.outcome = call.outcome._replace(attempts=attempts)

    def _opened(self, kind: Kind, span_id: int) -> Call | None:
        """The open call that a span tells of and no request explains yet."""
        gate = self._gate
        known = gate.spans.get(span_id)
        above = None
        if known is not None:
            above = known[0]
            if isinstance(above, Aggregate):
                above.note_call()
                above = None
            elif above.open and gate.is_open(above):
                # A second request beneath one span is a call of its own.
                fits = not above.sent and alike(above.plan.kind.operation, kind.operation)
                return above if fits else None
        latest = gate.latest()
        if (
            latest is not None
            and latest.open
            and not latest.sent
            and gate.is_open(latest)
            and compatible(latest.plan.kind, kind)
        ):
            return latest
        lost = gate.unsent.find(kind, gate.now_ns)  # of a span in another context
        return lost if lost is None or gate.is_open(lost) else None

    def _both(self, told: Plan, asked: Plan) -> Plan:
        """The plan of a call that a span tells of, with what its request says."""
        if told is asked:
            return told
        one, other = told.kind, asked.kind
        scope = one.scope
        if not (other.scope.items() <= scope.items() and set(other.scope.tags) <= set(scope.tags)):
            scope = scope | other.scope  # its processor was called where nobody was known
        provider, model = one.provider or other.provider, other.model or one.model
        return self._gate.plan(Kind(scope, provider, model, one.operation))

    def _refused_before(self, call: Call, span_id: int) -> Call | None:
        """The call that a span was refused for just now, in whose place this one was tried."""
        gate = self._gate
        before = call.after or gate.refused.pop(span_id, None) or gate.latest()
        if before is None or not call.is_tried_after(before):
            return None
        before.sent = True  # once
        return before

    def _admit(self, call: Call, read: int, most_output: int | None, span_id: int) -> Call:
        gate = self._gate
        claim, call.estimate = gate.planner.requested(call.plan, read, most_output, call.trace_id)
        refusal = gate.let_in(call, claim, gate.now_ns())
        if refusal is not None:
            gate.drop(call)
            return self._refused_before(call, span_id) or gate.refuse(call, refusal)
        gate.keep(call)
        return call
