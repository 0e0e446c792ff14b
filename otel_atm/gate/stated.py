"""Stated: calls that an application tells of by itself, first what it asks and then the answer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.outcome import Outcome
from otel_atm.gate.plan import Kind, Plan, compatible, same_model
from otel_atm.price import Tokens
from otel_atm.scope import COLUMN_KEYS, Scope

if TYPE_CHECKING:
    from otel_atm.gate.gate import Gate

_SOURCE: Final = "facade"
#: The most requests that wait for their answer; past it the oldest wait no longer.
_MOST: Final = 10_000

# The request that was told last in this context.
_latest: ContextVar[Call | None] = ContextVar("otel_atm.stated", default=None)


class Stated:
    """Requests that were told, until their answers are told.

    A request has its row, and is charged, at once; its answer is the row's next revision. If a
    door sees the same call being sent, the request gives way: it becomes a row of 0 calls and 0
    tokens, and whatever the door sees is the call.

    Args:
        gate: that the calls pass.
        ttl_ns: for how long a request waits for its answer.

    Attributes:
        waiting: requests that wait, by id, the oldest first.
        on_leave: called with each that waits no longer, and has no answer.
    """

    def __init__(self, gate: Gate, ttl_ns: int) -> None:
        self._gate, self._ttl_ns = gate, ttl_ns
        self._lock = threading.RLock()
        self.waiting: OrderedDict[str, Call] = OrderedDict()
        self.on_leave: Callable[[Call], None] = lambda _: None
        self._of: dict[_Payer, dict[str, Call]] = {}  # the same, by who pays
        self._gone: dict[str, None] = {}  # ids of those that gave way, and have no answer yet
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
            self.waiting[call.id] = call
            self._of.setdefault(_payer(plan.kind.scope), {})[call.id] = call
        _latest.set(call)
        return call

    def find(self, scope: Scope, model: str | None) -> Call | None:
        """The request whose answer this payer tells next; it waits no longer.

        That of this context, if it may be it; else the oldest of the same payer and model.
        """
        self.give_up()
        latest = _latest.get()
        with self._lock:
            mine = latest is not None and _may_answer(latest.plan.kind, scope, model)
            if latest is not None and mine and self._leave(latest):
                return latest
            for call in self._of.get(_payer(scope), {}).values():
                if same_model(call.plan.kind.model, model):
                    self._leave(call)
                    return call
        return None

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

    def give_way(self, plan: Plan) -> Plan:
        """What a door that opens a call knows of it, if it was told of just before.

        Args:
            plan: as the door knows it.

        Returns:
            With who pays and the labels that were told; the request is no call any more.
        """
        told = _latest.get()
        if told is None or told.id not in self.waiting or not compatible(told.plan.kind, plan.kind):
            return plan
        with self._lock:
            if not self._leave(told):
                return plan
            _remember(self._gone, told.id)
        gate, before = self._gate, told.tokens
        told.outcome = told.outcome._replace(
            calls=0, attempts=0, estimated=False, revision=told.outcome.revision + 1
        )
        gate.recharge(told, before, NO_TOKENS, requests=0)
        gate.emit(told)
        self.on_leave(told)
        kind = plan.kind
        return gate.plan(Kind(kind.scope | told.plan.kind.scope, *kind[1:]))

    def is_seen(self, scope: Scope, model: str | None, tokens: Tokens, sides: range) -> bool:
        """Whether a door has seen the call of which this payer tells the answer.

        That of the request that was told last in this context, if it gave way; and if none waits
        here, the call that a door saw last in this context.

        Args:
            scope: the payer's.
            model: that was named.
            tokens: of the answer.
            sides: which of `tokens` are known for certain: those of the call, if it is its answer.
        """
        told, call = _latest.get(), self._gate.latest()
        if told is not None and _may_answer(told.plan.kind, scope, model):
            with self._lock:
                if told.id in self._gone:
                    del self._gone[told.id]
                    return True
                if told.id in self.waiting:
                    return False
        if call is None or not self._may_be_of(call, scope, model):
            return False
        alike = all(tokens[side] == call.tokens[side] for side in sides)
        if not (alike or self._gate.is_open(call)):
            return False
        with self._lock:
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
        while True:
            with self._lock:
                call = next(iter(self.waiting.values()), None)
                if call is None:
                    return
                late = call.opened_ns <= oldest_ns or len(self.waiting) > _MOST
                if not (everything or late):
                    return
                self._leave(call)
            self._gate.count(call)
            self.on_leave(call)

    def forget(self) -> None:
        """In a forked child: these are the parent's."""
        self._lock = threading.RLock()
        self.waiting.clear()
        self._of.clear()
        self._gone.clear()
        self._answered.clear()

    def _leave(self, call: Call) -> bool:
        """Whether it has waited until now; needs the lock."""
        payer = _payer(call.plan.kind.scope)
        if self.waiting.pop(call.id, None) is None:
            return False
        mine = self._of[payer]
        del mine[call.id]
        if not mine:
            del self._of[payer]
        return True


def _remember(ids: dict[str, None], call_id: str) -> None:
    if len(ids) >= _MOST:
        ids.clear()
    ids[call_id] = None


_Payer = tuple[str | None, ...]


def _payer(scope: Scope) -> _Payer:
    return tuple([scope.get(key) for key in COLUMN_KEYS])


def _may_answer(asked: Kind, scope: Scope, model: str | None) -> bool:
    """Whether one who says no other payer than the request did tells its answer."""
    said = [(key, scope.get(key)) for key in COLUMN_KEYS if key in scope]
    return same_model(asked.model, model) and all(
        asked.scope.get(key) == value for key, value in said
    )
