"""Stated: calls that an application tells of by itself, first what it asks and then the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.outcome import Outcome
from otel_atm.gate.plan import Kind, Plan, compatible, same_model
from otel_atm.gate.turns import MOST_LOOKED_AT, Turns
from otel_atm.price import Tokens
from otel_atm.scope import COLUMN_KEYS, Scope
from otel_atm.window import SECOND_NS

if TYPE_CHECKING:
    from otel_atm.gate.gate import Gate

_SOURCE: Final = "facade"
#: The most requests that wait for their answer; past it the oldest wait no longer.
_MOST: Final = 10_000
#: For how long a call that a door sees elsewhere may be that of a request.
_SOON_NS: Final = 60 * SECOND_NS


class Stated:
    """Requests that were told, until their answers are told.

    A request has its row, and is charged, at once; its answer is the row's next revision. If a
    door sees the same call being sent, the request gives way: it becomes a row of 0 calls and 0
    tokens, and whatever the door sees is the call.

    Args:
        gate: that the calls pass.
        ttl_ns: for how long a request waits for its answer.

    Attributes:
        waiting: requests that wait, by id, the oldest first; their answers charge them.
        on_leave: called with each that waits no longer, and has no answer.
    """

    def __init__(self, gate: Gate, ttl_ns: int) -> None:
        self._gate, self._ttl_ns = gate, ttl_ns
        self._lock = threading.RLock()
        self.on_leave: Callable[[Call], None] = lambda _: None
        self.waiting: dict[str, Call] = {}
        self._seen: dict[str, Call] = {}  # that gave way, and have no answer yet
        self._turns = Turns()  # all of both
        self._answered: dict[str, None] = {}  # ids of doors' calls whose answers were told

    def ask(self, plan: Plan, tokens: Tokens, *, estimated: bool, trace_id: int = 0) -> Call:
        """Admit and charge a request; with a `refusal`, nothing was charged, and its row says so.

        Args:
            plan: of the call's kind.
            tokens: what is asked for: it fits or is refused.
            estimated: whether these are ours.
            trace_id: of the span around it; 0 without one.
        """
        gate = self._gate
        self.give_up()
        claim = gate.stated(plan, tokens, whole=True, trace_id=trace_id)
        call = gate.open(plan, claim, tokens, trace_id, source=_SOURCE)
        if call.refusal is not None:
            return gate.refuse(call, call.refusal)
        if estimated:
            call.outcome = call.outcome._replace(estimated=True)
        gate.charge_now(call, tokens)
        with self._lock:
            self._pass_over_failed()
            self.waiting[call.id] = call
            self._turns.add(call)
        return call

    def find(
        self, scope: Scope, model: str | None, said: str | None, tokens: Tokens, sides: range
    ) -> tuple[Call | None, bool]:
        """Whose answer this payer tells: the oldest request's that it fits.

        That of this context, if it may be it; else that of the call that a door saw last in this
        context; else that of the same payer and model, wherever it was told.

        Args:
            scope: the payer's.
            model: that was named.
            said: the model that the answer names.
            tokens: of the answer.
            sides: which of `tokens` are known for certain: those of the call, if it is its answer.

        Returns:
            The request, which waits no longer, for `answer`; and whether a door has seen the call,
            which tells of it: then there is nothing to do.
        """
        self.give_up()

        def fits(call: Call) -> bool:
            return _may_answer(call.plan.kind, scope, model)

        def named(call: Call) -> bool:
            kind = call.plan.kind
            return fits(call) and None not in (kind.model, said) and same_model(kind.model, said)

        with self._lock:
            call = self._turns.here(named, fits)
            if call is None and self._is_seen(scope, model, tokens, sides):
                return None, True
            if call is None:
                call = self._turns.of(scope, named, fits)
            if call is None:
                return None, False
            seen = call.id in self._seen
            self._leave(call)
            return (None, True) if seen else (call, False)

    def answer(self, call: Call, plan: Plan, tokens: Tokens, *, estimated: bool) -> None:
        """Charge what a request that `find` has found used in the end; its row's next revision."""
        gate, before = self._gate, call.tokens
        call.plan = plan
        call.started_ns, call.ended_ns = call.opened_ns, gate.now_ns()
        call.outcome = call.outcome._replace(
            estimated=estimated, revision=call.outcome.revision + 1
        )
        gate.recharge(call, before, tokens)
        gate.count(call)
        gate.emit(call)

    def add(self, plan: Plan, tokens: Tokens, *, estimated: bool, trace_id: int = 0) -> Call:
        """Charge an answer whose request nobody told of: a row of 0 calls."""
        gate = self._gate
        call = gate.charge(plan, _SOURCE, "", trace_id)
        call.outcome = Outcome(calls=0, attempts=0, estimated=estimated)
        gate.charge_now(call, tokens, requests=0)
        gate.count(call)
        return call

    def give_way(self, plan: Plan, emitter: str) -> Plan:
        """What a door that opens a call knows of it, if it was told of before.

        The oldest request that waits in this context, and is alike, gives way; if there is none,
        the oldest of the same payer and model that was told within a minute.

        Args:
            plan: as the door knows it.
            emitter: the instrumentation or client that the call is of.

        Returns:
            With who pays and the labels that were told; the request is no call any more.
        """
        kind = plan.kind
        with self._lock:
            told = None if self._is_twin(kind, emitter) else self._whose(kind)
            if told is None:
                return plan
            place = self._turns.place()
            place.taken, place.before = told, self._gate.latest()
            del self.waiting[told.id]
            self._seen[told.id] = told
        gate, before = self._gate, told.tokens
        told.outcome = told.outcome._replace(
            calls=0, attempts=0, estimated=False, revision=told.outcome.revision + 1
        )
        gate.recharge(told, before, NO_TOKENS, requests=0)
        gate.emit(told)
        self.on_leave(told)
        return gate.plan(Kind(kind.scope | told.plan.kind.scope, *kind[1:]))

    def _whose(self, kind: Kind) -> Call | None:
        """The request of a call that a door sees now; needs the lock."""
        waiting, gate = self.waiting, self._gate

        def alike(call: Call) -> bool:
            return call.id in waiting and compatible(call.plan.kind, kind)

        def paid(call: Call) -> bool:
            return alike(call) and _may_answer(call.plan.kind, kind.scope, kind.model)

        told = self._turns.here(paid, alike)
        # A request on its way whose span was seen elsewhere is the call of that span.
        if told is None and kind.model and not gate.unsent.find(kind, gate.now_ns):
            soon_ns = gate.now_ns() - _SOON_NS
            told = self._turns.of(
                kind.scope,
                lambda call: (
                    call.opened_ns > soon_ns and bool(call.plan.kind.model) and alike(call)
                ),
                most=MOST_LOOKED_AT,
            )
            if told is not None:
                self._turns.share(told)
        return told

    def _is_twin(self, kind: Kind, emitter: str) -> bool:
        """Whether this door tells, too, of the call for which a request here gave way last."""
        place, call = self._turns.place(), self._gate.latest()
        return (
            call is not None
            and place.taken is not None
            and place.before is not call
            and call.open
            and not call.sent
            and emitter not in call.emitters
            and compatible(call.plan.kind, kind)
        )

    def _pass_over_failed(self) -> None:
        """Who tells of the next request tells no answer of one whose call has failed before."""
        place, call = self._turns.place(), self._gate.latest()
        told = place.taken
        if told is None or call is None or call is place.before or told.id not in self._seen:
            return
        if not call.open and call.outcome.status != "ok":
            self._leave(told)

    def _is_seen(self, scope: Scope, model: str | None, tokens: Tokens, sides: range) -> bool:
        """Whether the call that a door saw last in this context has this answer."""
        call = self._gate.latest()
        if call is None or not self._may_be_of(call, scope, model):
            return False
        alike = all(tokens[side] == call.tokens[side] for side in sides)
        if not (alike or self._gate.is_open(call)):
            return False
        if call.id in self._answered:
            return False
        _remember(self._answered, call.id)
        return True

    def _may_be_of(self, call: Call, scope: Scope, model: str | None) -> bool:
        recent = call.opened_ns > self._gate.now_ns() - self._ttl_ns
        return recent and call.refusal is None and _may_answer(call.plan.kind, scope, model)

    def give_up(self, *, everything: bool = False) -> None:
        """Wait no longer for answers that are overdue, or for any."""
        oldest_ns = self._gate.now_ns() - self._ttl_ns
        with self._lock:
            overdue = [
                call
                for calls in (self._seen, self.waiting)
                for call in self._first(calls, oldest_ns, everything=everything)
            ]
            waited = [call for call in overdue if call.id in self.waiting]
            for call in overdue:
                self._leave(call)
        for call in waited:
            self._gate.count(call)
            self.on_leave(call)

    def _first(self, calls: dict[str, Call], oldest_ns: int, *, everything: bool) -> list[Call]:
        """Those that have waited for too long, or are too many."""
        surplus = len(calls) if everything else max(0, len(calls) - _MOST)
        first = list(islice(calls.values(), surplus))
        for call in islice(calls.values(), surplus, None):
            if call.opened_ns > oldest_ns:
                break
            first.append(call)
        return first

    def forget(self) -> None:
        """In a forked child: these are the parent's."""
        self._lock = threading.RLock()
        self.waiting.clear()
        self._seen.clear()
        self._turns.clear()
        self._answered.clear()

    def _leave(self, call: Call) -> None:
        """It waits no longer; needs the lock."""
        self.waiting.pop(call.id, None)
        self._seen.pop(call.id, None)
        self._turns.remove(call)


def _remember(ids: dict[str, None], call_id: str) -> None:
    if len(ids) >= _MOST:
        ids.clear()
    ids[call_id] = None


def _may_answer(asked: Kind, scope: Scope, model: str | None) -> bool:
    """Whether one who says no other payer than the request did tells its answer."""
    said = [(key, scope.get(key)) for key in COLUMN_KEYS if key in scope]
    return same_model(asked.model, model) and all(
        asked.scope.get(key) == value for key, value in said
    )
