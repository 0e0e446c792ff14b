"""The gate: every call passes it once, whichever door saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from itertools import islice
from time import time_ns
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.event import EventIds
from otel_atm.gate import refusal as refusals
from otel_atm.gate.aggregate import Aggregate
from otel_atm.gate.alerts import Alerts
from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.coverage import Coverage
from otel_atm.gate.outcome import PLAIN, Outcome, past_limits
from otel_atm.gate.oversight import Oversight
from otel_atm.gate.plan import Kind, Plan, compatible
from otel_atm.gate.planner import Planner
from otel_atm.gate.recent import Recent
from otel_atm.gate.seldom import Seldom
from otel_atm.gate.stated import Stated
from otel_atm.gate.storm import Storm
from otel_atm.gate.tally import Tally
from otel_atm.gate.totals import Totals
from otel_atm.gate.unsent import Unsent
from otel_atm.gate.waiting import Waiters
from otel_atm.ledger import Amounts, Claim, Hold, Ledger, LooseHold, Shortage
from otel_atm.price import Tokens
from otel_atm.pricing import Prices
from otel_atm.trouble import Trouble
from otel_atm.window import SECOND_NS

#: Takes a finished call; it must not keep it, and may ask it for `event()`.
Sink = Callable[[Call], None]

#: How old an open call may be for a sibling span, linked by context alone, to describe it too.
_SIBLING_NS: Final = 5 * SECOND_NS

#: The most calls that are open at once; past it the oldest are written off as lost.
_MAX_OPEN: Final = 20_000
#: How many refused calls are remembered; a client tries at once, if it passes over a refusal.
_MOST_REFUSED: Final = 64
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
        self.ledger = ledger
        self.totals = Totals()
        self.trouble = trouble or Trouble()
        self.alerts = Alerts(self.trouble)
        self.waiters = Waiters()
        self._swallows, self._are_siblings = swallows, are_siblings
        #: The time, in nanoseconds since the Unix epoch.
        self.now_ns = clock
        self.planner = Planner(ledger, self.totals, prices, clock)
        self.oversight = Oversight(ledger, self.planner, clock)
        self.tally = Tally(self.totals, self.planner, self.trouble)
        self.recent, self.unsent = Recent(), Unsent()
        self.coverage = Coverage(is_followed)
        self._unfollowed = self.coverage.unfollowed
        self._finished, self._waiting = self.recent.new, self.tally.waiting
        self.storm = Storm(self.totals, self.emit, clock)
        self._ttl_ns = int(ttl_s * SECOND_NS)
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
        self._forget_calls()
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
    def sinks(self) -> Sequence[Sink]:
        """Called once for each row, in the thread that ends the call."""
        return self._sinks

    @sinks.setter
    def sinks(self, sinks: Sequence[Sink]) -> None:
        self.storm.write_all()  # to those of before
        self._sinks = tuple(sinks)

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

    def is_open(self, call: Call) -> bool:
        """Whether it is one of this gate's, and has not ended."""
        return call in self._open

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

    def drop(self, call: Call) -> None:
        """Give back what is held for a call that never was one; there is no row of it."""
        if self._open.pop(call, None) is not None:
            call.open = False
            self.ledger.settle(call.hold, self.planner.nothing)
            call.hold = ()
            if self.waiters.waiting:
                self.waiters.wake()

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
            call: from `begin`, `open` or `charge`.
            tokens: None: our estimate, marked.
            status: of the row.
            error_type: a class name or a code.
            estimated: whether `tokens` are not all that the provider would report.
        """
        if self._open.pop(call, None) is None:  # atomic: of two that end a call, one goes on
            self._correct(call, tokens, status, error_type, estimated=estimated)
            return
        if tokens is None or estimated:
            call.outcome = call.outcome._replace(
                status=status, error_type=error_type, estimated=True
            )
            self.totals.add_unmetered()
            tokens = tokens or call.estimate or call.plan.estimate
        elif status != "ok":
            call.outcome = call.outcome._replace(status=status, error_type=error_type)
        self._charge(call, tokens)
        self._finish(call)

    def settle_plain(self, call: Call, tokens: Tokens) -> None:
        """As `settle`, for a call that has ended well and of which all is told."""
        if self._open.pop(call, None) is None:
            self._correct(call, tokens, "ok", None)
            return
        plan = call.plan
        given, made, _, _, _ = call.tokens = tokens
        call.open = False
        used: Amounts = (given + made, given, made, 1)
        if self.planner.measures:
            used = self.planner.amounts(tokens, plan.shape.budget_price, call.opened_ns)
        crossings = self.ledger.settle(call.hold, used)
        if crossings:
            self.alerts.tell(crossings)
        if call.outcome is not PLAIN or not plan.flat:
            self._finish(call)
            return
        self._finished.append(call)
        plan.news.append(tokens)
        self._waiting[plan] = None
        if len(plan.news) >= plan.batch:
            self.tally.add_up(plan)
        if self.waiters.waiting:
            self.waiters.wake()
        for sink in self._sinks:  # as `emit` does
            try:
                sink(call)
            except Exception as error:  # noqa: BLE001 - a sink must not reach the application
                self.trouble.note("sink", error, dropped=call.outcome.calls)

    def release(self, call: Call, status: str = "error", error_type: str | None = None) -> None:
        """Give back what is held for a call that cost nothing, requests too, and write its row."""
        if self._open.pop(call, None) is None:
            self._correct(call, NO_TOKENS, status, error_type, requests=0)
            return
        call.outcome = call.outcome._replace(status=status, error_type=error_type)
        call.open = False
        self.ledger.settle(call.hold, self.planner.nothing)
        self._finish(call)

    # For calls that an application tells of; see `otel_atm.gate.stated`.

    def charge_now(self, call: Call, tokens: Tokens, requests: int = 1) -> None:
        """Charge what an open call used, and write its row; it is not counted in totals yet."""
        self._open.pop(call, None)
        self._charge(call, tokens, requests)
        self.emit(call)

    def recharge(self, call: Call, before: Tokens, after: Tokens, requests: int = 1) -> None:
        """Charge a call that has ended with other tokens than before."""
        amounts, price = self.planner.amounts, call.plan.shape.budget_price
        call.tokens = after
        charged = amounts(before, price, call.opened_ns)
        self.ledger.correct(call.hold, charged, amounts(after, price, call.opened_ns, requests))

    def count(self, call: Call) -> None:
        """Take a call that has ended into the totals, once."""
        self.tally.add(call)
        if self.waiters.waiting:
            self.waiters.wake()

    def tell(self, call: Call, tokens: Tokens) -> None:
        """Correct a call that was settled with our estimate, now that its usage is told."""
        self._lost[call.id] = call
        self._correct(call, tokens, call.outcome.status, call.outcome.error_type)

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

    def expire(self, *, everything: bool = False) -> None:
        """Write off calls that are older than the time to live: estimated, status "lost".

        Args:
            everything: whatever their age; nobody will end them any more.
        """
        now_ns = self.now_ns()
        self._next_sweep_ns = now_ns + self._ttl_ns // 16
        oldest_ns = now_ns - self._ttl_ns
        full = len(self._open) >= _MAX_OPEN
        surplus = max(1, _MAX_OPEN // 10) if full else 0  # many at once, not one a call
        for place, call in enumerate(list(self._open)):
            old = max(call.opened_ns, call.seen_ns) <= oldest_ns
            if everything or old or place < surplus:
                try:
                    self._lose(call)
                except Exception as error:  # noqa: BLE001 - nobody else's call may suffer from it
                    self.trouble.note("expire", error)
        self.told.give_up(everything=everything)
        if everything:
            self.storm.write_all()

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

    def _tick(self, now_ns: int) -> None:
        """Do what is due with the first call of a millisecond, or where too many are open."""
        self._ids.turn(now_ns)
        if now_ns >= self._next_sweep_ns or len(self._open) >= _MAX_OPEN:
            self.expire()

    def _charge(self, call: Call, tokens: Tokens, requests: int = 1) -> None:
        """Charge what a call used, which ends with it, and tell of alerts."""
        call.tokens, call.open = tokens, False
        price = call.plan.shape.budget_price
        used = self.planner.amounts(tokens, price, call.opened_ns, requests)
        if crossings := self.ledger.settle(call.hold, used):
            self.alerts.tell(crossings)

    def _forget_calls(self) -> None:
        self._open: dict[Call, Call] = {}
        self._lost: dict[str, Call] = {}

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
        self.tally.add_up_all()  # what was charged before is in the total, which cannot fall
        before, cost_before = call.tokens, call.cost or 0
        call.outcome = call.outcome._replace(
            status=status,
            error_type=error_type,
            estimated=estimated or tokens is None,
            revision=call.outcome.revision + 1,
        )
        after = call.estimate or call.plan.estimate if tokens is None else tokens
        self.recharge(call, before, after, requests)
        with self.totals.lock:
            total = self.tally.total_of(call)
            total.input_tokens += max(0, after[0] - before[0])
            total.output_tokens += max(0, after[1] - before[1])
            total.cost += max(0, (call.cost or 0) - cost_before)
        self.emit(call)

    def _finish(self, call: Call) -> None:
        plan = call.plan
        if call.outcome is PLAIN and plan.flat:
            self._finished.append(call)
            news = plan.news
            news.append(call.tokens)
            self._waiting[plan] = None
            if len(news) >= plan.batch:
                self.tally.add_up(plan)
        else:
            if call.refusal is None:
                self._finished.append(call)
            self.tally.add(call)
        if self.waiters.waiting:
            self.waiters.wake()
        if self._sinks:
            self.emit(call)

    def emit(self, call: Call) -> None:
        """Give its row to every sink."""
        for sink in self._sinks:
            try:
                sink(call)
            except Exception as error:  # noqa: BLE001 - a sink must not reach the application
                self.trouble.note("sink", error, dropped=call.outcome.calls)


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
