"""The gate: every call passes it once, whichever door saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from time import time_ns
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import EventIds
from otel_atm.gate import refusal as refusals
from otel_atm.gate.aggregate import Aggregate
from otel_atm.gate.call import Call
from otel_atm.gate.coverage import Coverage
from otel_atm.gate.outcome import PLAIN, Outcome, past_limits
from otel_atm.gate.oversight import Oversight
from otel_atm.gate.plan import Kind, Plan, compatible
from otel_atm.gate.seldom import Seldom
from otel_atm.gate.settlement import Settlement, Sink
from otel_atm.gate.stated import Stated
from otel_atm.gate.unsent import Unsent
from otel_atm.gate.waiting import Waiters
from otel_atm.ledger import Claim, Hold, Ledger, LooseHold, Shortage
from otel_atm.price import Tokens
from otel_atm.pricing import Prices
from otel_atm.trouble import Trouble
from otel_atm.window import SECOND_NS

#: How old an open call may be for a sibling span, linked by context alone, to describe it too.
_SIBLING_NS: Final = 5 * SECOND_NS

#: The most calls that are open at once; past it the oldest are written off as lost.
_MAX_OPEN: Final = 20_000
#: How many refused calls are remembered; a client tries at once, if it passes over a refusal.
_MOST_REFUSED: Final = 64

# The last call opened in this context. Never reset: a sibling span of the same call needs it.
_latest: ContextVar[Call | None] = ContextVar("otel_atm.call", default=None)


class Gate(Settlement):
    """Admits calls under budgets; how they end, `Settlement` says.

    Args:
        budgets: all of them hold at once; a call needs room under each that matches.
        ledger: keeps what is held and spent.
        clock: nanoseconds since the Unix epoch.
        default_hold: tokens held for a call of which nothing is known, half of them input.
        ttl_s: seconds until a call that never ends is written off as lost.
        sinks: called once for each row, in the thread that ends the call.
        prices: of models; None: none is known.
        trouble: where failures of sinks go.
        swallows: tells of an emitter whether it passes over a refusal and sends the call. Such a
            call is let through, since a call that is refused and sent is counted nowhere.
        are_siblings: tells of two emitters whether spans that nothing but the context links may
            be of one call.
        is_followed: tells of an emitter whether a guard, if there are any, will see its calls.
    """

    #: Whether guards see requests on their way: then a span holds little until they do.
    guarded: bool
    #: When the last call ended that a guard saw, as the times of spans are.
    sent_ns: int = 0

    def __init__(
        self,
        budgets: Iterable[Budget],
        ledger: Ledger[Any],
        *,
        clock: Callable[[], int] = time_ns,
        default_hold: int = 1000,
        ttl_s: float = 900,
        sinks: Sequence[Sink] = (),
        prices: Prices | None = None,
        trouble: Trouble | None = None,
        swallows: Callable[[str], bool] = lambda _: False,
        are_siblings: Callable[[str, str], bool] = lambda _, __: True,
        is_followed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(
            ledger, clock=clock, ttl_s=ttl_s, prices=prices, trouble=trouble or Trouble()
        )
        self._swallows, self._are_siblings = swallows, are_siblings
        self.oversight = Oversight(ledger, self.planner, clock)
        self.unsent, self.coverage = Unsent(), Coverage(is_followed)
        self._unfollowed = self.coverage.unfollowed
        self.told = Stated(self, self._ttl_ns)
        self._ids = EventIds()
        self._seldom = Seldom()
        self._next_sweep_ns = 0
        self._stopped: dict[str, bool] = {}
        self.stopped = False
        self.guarded = False
        #: id of an open span → the call it tells of, and how; without a how, what it lies beneath.
        self.spans: dict[int | None, tuple[Call | Aggregate, Any]] = {}
        #: id of a span → its call, which was refused just now.
        self.refused: dict[int | None, Call] = {}
        self.configure(budgets, default_hold=default_hold, sinks=sinks)
        ledger.on_alert(self.alerts.tell)
        ledger.on_stop(lambda stopped: self.stop("operator", stopped=stopped))

    def configure(
        self, budgets: Iterable[Budget], *, default_hold: int, sinks: Sequence[Sink]
    ) -> None:
        """Change what the gate was made with, for calls from now on.

        What was spent stays with the identity of a budget, also when its limit changes.
        """
        self.sinks = sinks
        budgets = tuple(budgets)
        self.ledger.use(budgets)
        self.planner.configure(budgets, default_hold=default_hold)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Those in force."""
        return self.planner.budgets

    def renew_generation(self) -> None:
        """Forget all plans, also those that others remember under the planner's generation."""
        self.planner.forget()

    def plan(self, kind: Kind) -> Plan:
        """What is known of calls of this kind; remembered."""
        return self.planner.plan(kind)

    def expected(self, plan: Plan, trace_id: int = 0) -> Claim | None:
        """The claim of a call of which nothing is known."""
        return self.planner.special(plan, trace_id, None)[0] if plan.traced else plan.claim

    def stated(self, plan: Plan, tokens: Tokens, *, whole: bool, trace_id: int = 0) -> Claim | None:
        """The claim of a call whose use the caller states; see `Planner.stated`."""
        return self.planner.stated(plan, tokens, whole=whole, trace_id=trace_id)

    def stop(self, who: str, *, stopped: bool) -> None:
        """Refuse every call, whatever its budgets say; or let them pass again.

        Args:
            who: "operator", "application" or "file"; calls pass when none of them stops them.
            stopped: whether this one does.
        """
        self._stopped[who] = stopped
        self.stopped = any(self._stopped.values())

    def begin(
        self,
        plan: Plan,
        source: str,
        emitter: str,
        ancestor: Call | None = None,
        trace_id: int = 0,
        span_id: int = 0,
        most_output: object = None,
    ) -> Call:
        """Admit a call, or recognise another emitter's span of one that is open.

        The only place where a span's call starts. A call that comes back with a `refusal` was not
        admitted: nothing is held, its row is written, and the door has to raise the refusal.

        Args:
            plan: of the call's kind.
            source: of the row: the door.
            emitter: the instrumentation that tells of the call.
            ancestor: the call of the nearest open LLM span above, if any.
            trace_id: of the span; 0 without one.
            span_id: of the span; 0 without one.
            most_output: tokens that the answer may have, an integer > 0; else it is not known.
        """
        clock, opened = self.now_ns, self._open  # methods are looked up faster than these
        now_ns, latest = clock(), _latest.get()
        if ancestor is not None or (latest is not None and latest.open):
            twin = self._twin(plan, emitter, ancestor, latest, now_ns)
            if twin is not None:
                twin.join(emitter, span_id)
                return twin
        ids = self._ids
        if now_ns >= ids.until_ns or len(opened) >= _MAX_OPEN:
            self._tick(now_ns)
        call = Call()  # as `Call.of` makes one
        call.id = next(ids.series)
        call.plan = plan
        call.opened_ns = now_ns
        call.source = source
        call.emitters = (emitter,)
        call.trace_id = trace_id
        call.span_id = span_id
        call.outcome = PLAIN
        claim = plan.claim
        if self.guarded and emitter not in self._unfollowed and self.coverage.follows(emitter):
            claim = self._expect_request(call, ancestor, latest)
        elif most_output is not None or plan.traced:
            claim, call.estimate = self.planner.special(plan, trace_id, _count(most_output))
        if self.stopped or plan.forbidden is not None:
            return self._forbid(call)
        if claim is not None:
            answer = self.ledger.admit(claim, now_ns)
            if type(answer) is not list:
                decided = self._decide(call, claim, answer)
                if decided is not None:
                    return decided
            call.hold = answer  # type: ignore[assignment]
        opened[call] = call
        _latest.set(call)
        return call

    def open(
        self,
        plan: Plan,
        claim: Claim | None,
        estimate: Tokens,
        trace_id: int = 0,
        *,
        source: str = "admit",
    ) -> Call:
        """Admit a call that no span covers.

        A call that comes back with a `refusal` was not admitted, and no row was written of it:
        the door may try again, or give up with `refuse`.

        Args:
            plan: of the call's kind.
            claim: what it asks for.
            estimate: what it is charged with if nobody says.
            trace_id: of the span around it; 0 without one.
            source: of the row: the door.
        """
        call = self.prepare(plan, source, "", trace_id)
        call.estimate = estimate
        call.refusal = self.let_in(call, claim, call.opened_ns)
        if call.refusal is None:
            self._open[call] = call
        return call

    def let_in(self, call: Call, claim: Claim | None, now_ns: int) -> TokenQuotaExceeded | None:
        """Hold what a call claims in the place of what it held.

        Returns:
            Else why it is not let in, and nothing is held.
        """
        held, forbidden = call.hold, self.stopped or call.plan.forbidden is not None
        if held:
            if claim is not None and not forbidden:
                more = self.ledger.exchange(held, claim, now_ns)
                if more is not None:
                    call.hold = more
                    return None
            self.ledger.settle(held, self.planner.nothing)
            call.hold = ()
        if forbidden:
            return self._forbidden(call)
        if claim is not None:
            answer = self.ledger.admit(claim, now_ns)
            if isinstance(answer, Shortage):
                return refusals.refusal_of(answer)
            if isinstance(answer, LooseHold):
                call.outcome = past_limits(answer)
            call.hold = answer
        return None

    # For guards; see `otel_atm.gate.wire`.

    def latest(self) -> Call | None:
        """The call that was opened last in this context."""
        return _latest.get()

    def prepare(self, plan: Plan, source: str, emitter: str, trace_id: int) -> Call:
        """A call for which nothing is held yet."""
        now_ns, ids = self.now_ns(), self._ids
        if now_ns >= ids.until_ns or len(self._open) >= _MAX_OPEN:
            self._tick(now_ns)
        return Call.of(next(ids.series), plan, (), now_ns, source, emitter, trace_id, 0)

    def keep(self, call: Call) -> None:
        """The call is in flight now."""
        self._open[call] = call
        _latest.set(call)

    def amend(self, call: Call, tokens: Tokens) -> TokenQuotaExceeded | None:
        """Hold what these tokens come to in the place of what is held; None if there is room.

        Else the old hold stays. Of a call that has ended nothing is changed.
        """
        if call not in self._open:
            return None
        amounts = self.planner.amounts(tokens, call.plan.shape.budget_price, call.opened_ns)
        wanted = [amounts[unit] for _, unit, _ in call.hold]
        answer = self.ledger.amend(call.hold, wanted, self.now_ns())
        if isinstance(answer, Shortage):
            return refusals.refusal_of(answer)
        call.hold, call.estimate = answer, tokens
        return None

    def touch(self, call: Call) -> None:
        """Something of an open call was seen, e.g. a chunk: its time to live starts again."""
        call.seen_ns = self.now_ns()

    def charge(
        self, plan: Plan, source: str, emitter: str, trace_id: int = 0, span_id: int = 0
    ) -> Call:
        """Open a call that is over already; it is never refused. Settle it at once."""
        now_ns = self.now_ns()
        claim = self.expected(plan, trace_id)
        hold = self.ledger.charge(claim, now_ns) if claim is not None else ()
        event_id = self._ids.make(now_ns)
        call = Call.of(event_id, plan, hold, now_ns, source, emitter, trace_id, span_id)
        self._open[call] = call
        return call

    def refuse(self, call: Call, refusal: TokenQuotaExceeded) -> Call:
        """Write the row of a call that is not let in, or one for many; see `Storm`."""
        call.refusal, call.open = refusal, False
        if not self.storm.takes(call, refusal):
            self._finish(call)
        if self.guarded:  # a guard that refuses it again writes no second row
            _latest.set(call)
            if len(self.refused) >= _MOST_REFUSED:
                self.refused.clear()
            if call.span_id:
                self.refused[call.span_id] = call
        return call

    def decision(self, call: Call) -> refusals.Decision:
        """What was decided of an open call, and how the budget stands that decided it."""
        return refusals.decision_of(
            call.outcome.decision,
            call.hold.over
            if isinstance(call.hold, LooseHold)
            else [account.balance() for account, _, _ in call.hold],
        )

    def after_fork(self) -> None:
        """In a forked child: what is in flight belongs to the parent, and totals start at zero."""
        self._forget_calls()
        self.tally.forget()
        self.recent.forget()
        self.unsent.clear()
        self.refused.clear()
        self.storm.forget()
        self.told.forget()
        self._seldom = Seldom()
        self.renew_generation()
        self._ids.renew()
        self.totals.renew()
        self.alerts.after_fork()
        self.waiters = Waiters()
        self.spans.clear()
        self.ledger.after_fork()

    def expire(self, *, everything: bool = False, surplus: int = 0) -> None:
        """As `Settlement.expire`; what waits to be told or written has its turn too."""
        super().expire(everything=everything, surplus=surplus)
        self.told.give_up(everything=everything)
        if everything:
            self.storm.write_all()

    def _tick(self, now_ns: int) -> None:
        """Do what is due with the first call of a millisecond, or where too many are open."""
        self._ids.turn(now_ns)
        full = len(self._open) >= _MAX_OPEN
        if full or now_ns >= self._next_sweep_ns:
            self._next_sweep_ns = now_ns + self._ttl_ns // 16
            self.expire(surplus=max(1, _MAX_OPEN // 10) if full else 0)  # not one a call

    def _twin(
        self, plan: Plan, emitter: str, ancestor: Call | None, latest: Call | None, now_ns: int
    ) -> Call | None:
        """The open call that a span of `emitter` describes too: each emitter has one span of it."""
        for call, max_age_ns in ((ancestor, self._ttl_ns), (latest, _SIBLING_NS)):
            if (
                call is not None
                and call.open
                and emitter not in call.emitters
                and call in self._open  # this gate's
                and (call is ancestor or not call.sent)
                and now_ns - call.opened_ns <= max_age_ns
                and compatible(call.plan.kind, plan.kind)
                and (call is ancestor or self._may_be_one(call.emitters[-1], emitter))
            ):
                return call
        return None

    def _may_be_one(self, one: str, other: str) -> bool:
        """Whether spans of two emitters may be of one call that nothing but the context links."""
        if self.guarded and self.coverage.follows(one) and self.coverage.follows(other):
            return True  # guards will say
        return self._are_siblings(one, other)

    def _decide(self, call: Call, claim: Claim, answer: Hold | Shortage) -> Call | None:
        """What becomes of a call that has found a budget at its end; None: it may go on."""
        if not isinstance(answer, Shortage):
            if isinstance(answer, LooseHold):
                call.outcome = past_limits(answer)
            return None
        if not self._swallows(call.emitters[0]):
            return self._refuse(call, refusals.refusal_of(_as_expected(call.plan, answer)))
        call.hold = self.ledger.charge(claim, call.opened_ns)
        self._let_through(call, answer.balance.key.budget.label)
        return call

    def _refuse(self, call: Call, refusal: TokenQuotaExceeded) -> Call:
        """Refuse the call of a span; again, if it is another emitter's of one that was refused."""
        before, emitter = call.after, call.emitters[0]
        if (
            before is not None
            and call.is_tried_after(before)
            and emitter not in before.emitters
            and before.plan.kind.scope == call.plan.kind.scope
        ):
            before.emitters += (emitter,)
            return before
        return self.refuse(call, refusal)

    def _expect_request(
        self, call: Call, ancestor: Call | None, latest: Call | None
    ) -> Claim | None:
        """What a call asks for until a guard sees its request."""
        call.spans = {call.span_id}
        self.unsent.add(call)
        for before in (ancestor, latest):
            if (
                before is not None
                and before.refusal is not None
                and call.emitters[0] not in before.emitters  # else it is another try
            ):
                call.after = before
        claim, call.estimate = self.planner.floor(call.plan, call.trace_id)
        return claim

    def _forbid(self, call: Call) -> Call:
        """Refuse a call whatever is left, or let it through where that cannot be done."""
        refusal = self._forbidden(call)
        if not self._swallows(call.emitters[0]):
            return self._refuse(call, refusal)
        if call.plan.claim is not None:
            call.hold = self.ledger.charge(call.plan.claim, call.opened_ns)
        self._let_through(call, refusal.budget)
        return call

    def _forbidden(self, call: Call) -> TokenQuotaExceeded:
        estimate = call.estimate or call.plan.estimate
        if self.stopped or call.plan.forbidden is None:
            who = [one for one, stopped in self._stopped.items() if stopped]
            return refusals.stopped(estimate[0] + estimate[1], who)
        budget = call.plan.forbidden.budget
        requested = estimate[0] + estimate[1] if "tokens" in budget.unit else 0
        return refusals.forbidden_by(call.plan.forbidden, requested, call.opened_ns)

    def _let_through(self, call: Call, budget: str) -> None:
        """Meter a call that cannot be refused."""
        call.outcome = Outcome(would_refuse=budget)
        latest = _latest.get()
        if latest is not None and latest.refusal is not None:
            call.after = latest
        if not self.guarded:
            message = (
                "otel-atm: budget %s is used up, but %s passes over refusals: "
                "its calls are let through and metered"
            )
            self._seldom.warn(budget, call.opened_ns, message, budget, call.emitters[0])
        self.keep(call)


def _as_expected(plan: Plan, answer: Shortage) -> Shortage:
    """Not the floor, but what such calls use, is what a span asks for."""
    budget = answer.balance.key.budget
    for share in plan.shape.shares:
        if share.budget is budget and share.amount > answer.requested:
            return replace(answer, requested=share.amount)
    return answer


def _count(most: object) -> int | None:
    """What an emitter says is the most, if it says it well."""
    return most if type(most) is int and most > 0 else None
