"""The gate: every call passes it once, whichever door saw it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from itertools import islice
from time import time_ns
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.cache import Cache
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import EventIds
from otel_atm.gate.call import NO_TOKENS, Call, Outcome, Tokens, open_call
from otel_atm.gate.plan import Kind, Plan, labels_of, make_plan
from otel_atm.gate.refusal import refusal_of
from otel_atm.gate.totals import Totals
from otel_atm.ledger import NO_AMOUNTS, Amounts, Hold, Ledger, Shortage
from otel_atm.trouble import Trouble, logger
from otel_atm.window import SECOND_NS

#: Takes a finished call; it must not keep it, and may ask it for `event()`.
Sink = Callable[[Call], None]

#: How old an open call may be for a sibling span, linked by context alone, to describe it too.
_SIBLING_NS: Final = 5 * SECOND_NS
#: How far the clocks of two emitters' spans of one call may lie apart.
_SLACK_NS: Final = 5_000_000

#: How many finished calls are remembered, for spans that tell late.
_KEPT: Final = 64
#: How many lost calls can still be corrected.
_MAX_LOST: Final = 1_024

# The last call opened in this context. Never reset: a sibling span of the same call needs it.
_latest: ContextVar[Call | None] = ContextVar("otel_atm.call", default=None)


class Gate:
    """Admits calls under budgets, settles what they used, and hands their rows to sinks.

    Args:
        budgets: all of them hold at once; a call needs room under each that matches.
        ledger: keeps what is held and spent.
        clock: nanoseconds since the Unix epoch.
        default_hold: tokens held for a call of which nothing is known, half of them input.
        ttl_s: seconds until a call that never ends is written off as lost.
        sinks: called once for each row, in the thread that ends the call.
        trouble: where failures of sinks go.
        swallows: tells of an emitter whether it passes over a refusal and sends the call. Such a
            call is let through, since a call that is refused and sent is counted nowhere.
        are_siblings: tells of two emitters whether spans that nothing but the context links may
            be of one call.
    """

    #: The most calls that are open at once; past it the oldest are written off as lost.
    MAX_OPEN: Final = 20_000

    def __init__(
        self,
        budgets: Iterable[Budget],
        ledger: Ledger[Any],
        *,
        clock: Callable[[], int] = time_ns,
        default_hold: int = 1000,
        ttl_s: float = 900,
        sinks: Sequence[Sink] = (),
        trouble: Trouble | None = None,
        swallows: Callable[[str], bool] = lambda _: False,
        are_siblings: Callable[[str, str], bool] = lambda _, __: True,
    ) -> None:
        self.ledger = ledger
        self.totals = Totals()
        self.trouble = trouble or Trouble()
        self._clock, self._swallows, self._are_siblings = clock, swallows, are_siblings
        self._ttl_ns = int(ttl_s * SECOND_NS)
        self._ids = EventIds()
        self._warned: set[str] = set()  # emitters that cannot refuse; there are few
        self._plans: Cache[Kind, Plan] = Cache(4_096)
        self._next_sweep_ns = 0
        self._forget_calls()
        self.configure(budgets, default_hold=default_hold, sinks=sinks)

    def configure(
        self, budgets: Iterable[Budget], *, default_hold: int, sinks: Sequence[Sink]
    ) -> None:
        """Change what the gate was made with, for calls from now on.

        What was spent stays with the identity of a budget, also when its limit changes.
        """
        self._estimate: Tokens = (default_hold // 2, default_hold - default_hold // 2, 0, 0, 0)
        self._need = _amounts(self._estimate)
        self._sinks = tuple(sinks)
        self.budgets = tuple(budgets)
        self.renew_generation()

    def renew_generation(self) -> None:
        """Forget all plans, also those that others remember under `generation`."""
        self._plans.clear()
        self.generation = object()

    def plan(self, kind: Kind) -> Plan:
        """What is known of calls of this kind; remembered."""
        plan = self._plans.get(kind)
        if plan is None:
            generation = self.generation
            plan = make_plan(kind, self.budgets, self.ledger, self.totals)
            if generation is self.generation:  # nothing was changed meanwhile
                self._plans.put(kind, plan)
        return plan

    def begin(
        self,
        plan: Plan,
        source: str,
        emitter: str,
        ancestor: Call | None = None,
        trace_id: int = 0,
        span_id: int = 0,
    ) -> Call:
        """Admit a call, or recognise another emitter's span of one that is open.

        The only place where a call starts. A call that comes back with a `refusal` was not
        admitted: nothing is held, its row is written, and the door has to raise the refusal.

        Args:
            plan: of the call's kind.
            source: of the row: the door.
            emitter: the instrumentation that tells of the call.
            ancestor: the call of the nearest open LLM span above, if any.
            trace_id: of the span; 0 without one.
            span_id: of the span; 0 without one.
        """
        now_ns = self._clock()
        latest = _latest.get()
        if ancestor is not None or (latest is not None and latest.open):
            twin = self._twin(plan, emitter, ancestor, latest, now_ns)
            if twin is not None:
                twin.join(emitter, span_id)
                return twin
        if now_ns >= self._next_sweep_ns or len(self._open) >= self.MAX_OPEN:
            self.expire()
        answer: Hold | Shortage = ()
        if plan.accounts is not None:
            answer = self.ledger.admit(plan.accounts, self._need)
        event_id = self._ids.make(now_ns)
        if isinstance(answer, Shortage):
            call = open_call(event_id, plan, (), now_ns, source, emitter, trace_id, span_id)
            if not self._swallows(emitter):
                return self._refuse(call, answer)
            self._let_through(call, answer)
        else:
            call = open_call(event_id, plan, answer, now_ns, source, emitter, trace_id, span_id)
        self._open[call.id] = call
        _latest.set(call)
        return call

    def settle(
        self,
        call: Call,
        tokens: Tokens | None,
        status: str = "ok",
        error_type: str | None = None,
        *,
        estimated: bool = False,
    ) -> None:
        """Charge what a call used and write its row.

        Settling twice changes nothing, but for a call that was written off as lost: it is
        corrected, once.

        Args:
            call: from `begin` or `charge`.
            tokens: None: our estimate, marked.
            status: of the row.
            error_type: a class name or a code.
            estimated: whether `tokens` are not all that the provider would report.
        """
        if self._open.pop(call.id, None) is None:  # atomic: of two that end a call, one goes on
            self._correct(call, tokens, status, error_type, estimated=estimated)
            return
        if tokens is None or estimated:
            call.outcome = call.outcome._replace(
                status=status, error_type=error_type, estimated=True
            )
            self.totals.add_unmetered()
            tokens = tokens or self._estimate
        elif status != "ok":
            call.outcome = call.outcome._replace(status=status, error_type=error_type)
        call.tokens = tokens
        call.open = False
        given, made = tokens[0], tokens[1]
        self.ledger.settle(call.hold, (given + made, given, made, 1), call.plan.total)
        self._finished.append(call)
        self._emit(call)

    def release(self, call: Call, status: str = "error", error_type: str | None = None) -> None:
        """Give back what is held for a call that cost nothing, requests too, and write its row."""
        if self._open.pop(call.id, None) is None:
            self._correct(call, NO_TOKENS, status, error_type, requests=0)
            return
        call.outcome = call.outcome._replace(status=status, error_type=error_type)
        call.open = False
        self.ledger.settle(call.hold, NO_AMOUNTS, call.plan.total)
        self._emit(call)

    def charge(
        self, plan: Plan, source: str, emitter: str, trace_id: int = 0, span_id: int = 0
    ) -> Call:
        """Open a call that is over already; it is never refused. Settle it at once."""
        now_ns = self._clock()
        hold = self.ledger.charge(plan.accounts) if plan.accounts is not None else ()
        call = open_call(
            self._ids.make(now_ns), plan, hold, now_ns, source, emitter, trace_id, span_id
        )
        self._open[call.id] = call
        return call

    def is_told(self, kind: Kind, emitter: str, tokens: Tokens, start_ns: int, end_ns: int) -> bool:
        """Whether a finished call, told by another emitter, is this one.

        For spans that show only at their end what they are. One to one: each emitter tells of a
        call once, so N equal spans are matched by N equal calls.
        """
        for call in reversed(self._finished):
            if (
                emitter not in call.emitters
                and (call.outcome.estimated or call.tokens[:2] == tokens[:2])
                and _compatible(call.plan.kind, kind)
                and start_ns - _SLACK_NS <= call.opened_ns
                and call.ended_ns <= end_ns + _SLACK_NS
            ):
                call.emitters += (emitter,)
                return True
        return False

    def expire(self, *, everything: bool = False) -> None:
        """Write off calls that are older than the time to live: estimated, status "lost".

        Args:
            everything: whatever their age; nobody will end them any more.
        """
        now_ns = self._clock()
        self._next_sweep_ns = now_ns + self._ttl_ns // 16
        oldest_ns = now_ns - self._ttl_ns
        full = len(self._open) >= self.MAX_OPEN
        surplus = max(1, self.MAX_OPEN // 10) if full else 0  # many at once, not one a call
        for place, call in enumerate(list(self._open.values())):
            if everything or call.opened_ns <= oldest_ns or place < surplus:
                try:
                    self._lose(call)
                except Exception as error:  # noqa: BLE001 - nobody else's call may suffer from it
                    self.trouble.note("expire", error)

    def after_fork(self) -> None:
        """In a forked child: what is in flight belongs to the parent, and totals start at zero."""
        self._forget_calls()
        self.renew_generation()
        self._ids.renew()
        self.totals.renew()
        self.ledger.after_fork()

    def _forget_calls(self) -> None:
        self._open: dict[str, Call] = {}
        self._lost: dict[str, Call] = {}
        self._finished: deque[Call] = deque(maxlen=_KEPT)

    def _twin(
        self, plan: Plan, emitter: str, ancestor: Call | None, latest: Call | None, now_ns: int
    ) -> Call | None:
        """The open call that a span of `emitter` describes too: each emitter has one span of it."""
        for call, max_age_ns in ((ancestor, self._ttl_ns), (latest, _SIBLING_NS)):
            if (
                call is not None
                and call.open
                and emitter not in call.emitters
                and call.id in self._open  # this gate's
                and now_ns - call.opened_ns <= max_age_ns
                and _compatible(call.plan.kind, plan.kind)
                and (call is ancestor or self._are_siblings(call.emitters[-1], emitter))
            ):
                return call
        return None

    def _refuse(self, call: Call, shortage: Shortage) -> Call:
        refusal = call.refusal = refusal_of(shortage)
        call.open = False
        call.outcome = Outcome(
            "error",
            TokenQuotaExceeded.__name__,
            decision="refused",
            budget=refusal.budget,
            requested=refusal.requested,
            attempts=0,
        )
        self.ledger.settle((), NO_AMOUNTS, self.totals.of(labels_of(call.plan.kind, "refused")))
        self._emit(call)
        return call

    def _let_through(self, call: Call, shortage: Shortage) -> None:
        """Meter a call that is over budget and cannot be refused."""
        call.hold = self.ledger.charge(call.plan.accounts)
        budget = shortage.balance.key.budget.label
        call.outcome = Outcome(would_refuse=budget)
        emitter = call.emitters[0]
        if emitter not in self._warned:
            self._warned.add(emitter)
            logger.warning(
                "otel-atm: budget %s is used up, but %s passes over refusals: "
                "its calls are let through and metered",
                budget,
                emitter,
            )

    def _lose(self, call: Call) -> None:
        self.settle(call, call.told, "lost")
        if call.outcome.status != "lost":
            return  # it has just ended by itself
        for stale in list(islice(self._lost, max(0, len(self._lost) - _MAX_LOST))):
            self._lost.pop(stale, None)
        self._lost[call.id] = call

    def _correct(
        self,
        call: Call,
        tokens: Tokens | None,
        status: str,
        error_type: str | None,
        *,
        estimated: bool = False,
        requests: int = 1,
    ) -> None:
        """Settle again what was written off as lost; any other call has ended already."""
        if self._lost.pop(call.id, None) is None:
            return
        before = call.tokens
        call.outcome = call.outcome._replace(
            status=status,
            error_type=error_type,
            estimated=estimated or tokens is None,
            revision=call.outcome.revision + 1,
        )
        call.tokens = self._estimate if tokens is None else tokens
        used = _amounts(call.tokens, requests)
        self.ledger.correct(call.hold, _amounts(before), used, call.plan.total)
        self._emit(call)

    def _emit(self, call: Call) -> None:
        for sink in self._sinks:
            try:
                sink(call)
            except Exception as error:  # noqa: BLE001 - a sink must not reach the application
                self.trouble.note("sink", error, dropped=call.outcome.calls)


def _amounts(tokens: Tokens, requests: int = 1) -> Amounts:
    return tokens[0] + tokens[1], tokens[0], tokens[1], requests


def _compatible(one: Kind, other: Kind) -> bool:
    """Whether two spans may be of one call; what a span does not say fits anything."""
    return one.operation == other.operation and (
        one.model is None or other.model is None or one.model == other.model
    )
