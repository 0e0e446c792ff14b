"""Wire: calls where they are sent. It owns the count; spans open calls and describe them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_atm.gate.call import Call
from otel_atm.gate.gate import Gate
from otel_atm.gate.outcome import PLAIN
from otel_atm.gate.plan import Kind, Plan, compatible
from otel_atm.price import Tokens
from otel_atm.window import SECOND_NS

#: Makes the plan of a call that no span covers: provider, model, operation.
PlanOf = Callable[[str | None, str | None, str], Plan]
_SOURCE: Final = "guard"
#: Within this time a client tries what its span was refused.
_TRIED_NS: Final = 5 * SECOND_NS


class Wire:
    """Finds or opens the call of a request, and ends it.

    Args:
        gate: that the calls pass.
        plan_of: makes the plan of a call that no span covers.
    """

    def __init__(self, gate: Gate, plan_of: PlanOf) -> None:
        self._gate, self._plan_of = gate, plan_of

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
        call = self._opened(kind, span_id)
        gate = self._gate
        if call is None:
            plan = self._plan_of(*kind)
            call = gate.prepare(plan, _SOURCE, emitter, trace_id)
        else:
            known = call.plan.kind
            provider, model = known.provider or kind[0], known.model or kind[1]
            plan = gate.plan(known._replace(provider=provider, model=model))
            gate.ledger.settle(call.hold, gate.nothing)  # the request says better what to hold
            call.plan, call.hold, call.outcome = plan, (), PLAIN
            call.spans = call.spans or {call.span_id}
        call.sent = True
        return self._admit(call, read, most_output)

    def now_ns(self) -> int:
        """The time."""
        return self._gate.now_ns()

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
        """Settle a call with what its answer said.

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
        if not call.started_ns:
            call.started_ns, call.ended_ns = call.opened_ns, self._gate.now_ns()
        if attempts != 1:
            call.outcome = call.outcome._replace(attempts=attempts)
        if free and tokens is None:
            self._gate.release(call, status, error_type)
        else:
            self._gate.settle(call, tokens, status, error_type, estimated=estimated)

    def _opened(self, kind: tuple[str | None, str | None, str], span_id: int) -> Call | None:
        """The open call that a span tells of and no request explains yet."""
        above = self._gate.spans.get(span_id)
        for call in (above and above[0], self._gate.latest()):
            if (
                call is not None
                and call.open
                and not call.sent
                and self._gate.is_open(call)
                and compatible(call.plan.kind, Kind(call.plan.kind.scope, *kind))
            ):
                return call
        return None

    def _refused_before(self, call: Call) -> Call | None:
        """The call that a span was refused for just now, in whose place this one was tried."""
        before = call.after or self._gate.latest()
        if (
            before is None
            or before.refusal is None
            or before.sent
            or call.opened_ns - before.opened_ns > _TRIED_NS
            or not compatible(before.plan.kind, call.plan.kind)
        ):
            return None
        before.sent = True  # once
        return before

    def _admit(self, call: Call, read: int, most_output: int | None) -> Call:
        gate = self._gate
        claim, call.estimate = gate.requested(call.plan, read, most_output, call.trace_id)
        refusal = gate.let_in(call, claim, gate.now_ns())
        if refusal is not None:
            gate.drop(call)
            return self._refused_before(call) or gate.refuse(call, refusal)
        gate.keep(call)
        return call
