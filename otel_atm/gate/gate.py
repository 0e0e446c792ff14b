"""The gate: every call passes it once, whichever door saw it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from itertools import chain, islice
from time import time_ns
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.errors import ConfigurationError, TokenQuotaExceeded
from otel_atm.event import EventIds
from otel_atm.gate import estimate as estimates
from otel_atm.gate import refusal as refusals
from otel_atm.gate.alerts import Alerts
from otel_atm.gate.call import NO_TOKENS, PLAIN, Call, Outcome
from otel_atm.gate.plan import Kind, Plan, labels_of
from otel_atm.gate.planner import Planner, counted_by
from otel_atm.gate.status import BudgetStatus, status_of
from otel_atm.gate.totals import Total, Totals
from otel_atm.gate.waiting import Waiters
from otel_atm.ledger import Claim, Hold, Key, Ledger, LooseHold, Shortage, Summary
from otel_atm.price import Tokens
from otel_atm.pricing import Prices
from otel_atm.trouble import Trouble, logger
from otel_atm.window import SECOND_NS

#: Takes a finished call; it must not keep it, and may ask it for `event()`.
Sink = Callable[[Call], None]

#: How old an open call may be for a sibling span, linked by context alone, to describe it too.
_SIBLING_NS: Final = 5 * SECOND_NS
#: How far the clocks of two emitters' spans of one call may lie apart.
_SLACK_NS: Final = 5_000_000

#: Cache reads, cache writes and reasoning of most calls.
_NO_PARTS: Final = (0, 0, 0)

#: How many finished calls are remembered, for spans that tell late.
_KEPT: Final = 64
#: How many finished calls are added up at once.
_BATCH: Final = 16
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
        prices: Prices | None = None,
        trouble: Trouble | None = None,
        swallows: Callable[[str], bool] = lambda _: False,
        are_siblings: Callable[[str, str], bool] = lambda _, __: True,
    ) -> None:
        self.ledger = ledger
        self.totals = Totals()
        self.trouble = trouble or Trouble()
        self.alerts = Alerts(self.trouble)
        self.waiters = Waiters()
        self._clock, self._swallows, self._are_siblings = clock, swallows, are_siblings
        self._planner = Planner(ledger, self.totals, prices, clock)
        self._ttl_ns = int(ttl_s * SECOND_NS)
        self._ids = EventIds()
        self._warned: set[str] = set()  # emitters that cannot refuse; there are few
        self._next_sweep_ns = 0
        self._stopped: dict[str, bool] = {}
        self.stopped = False
        self._forget_calls()
        self.configure(budgets, default_hold=default_hold, sinks=sinks)
        ledger.on_stop(lambda stopped: self.stop("operator", stopped=stopped))

    def configure(
        self, budgets: Iterable[Budget], *, default_hold: int, sinks: Sequence[Sink]
    ) -> None:
        """Change what the gate was made with, for calls from now on.

        What was spent stays with the identity of a budget, also when its limit changes.
        """
        self._sinks = tuple(sinks)
        budgets = tuple(budgets)
        self.ledger.use(budgets)
        self._planner.configure(budgets, default_hold=default_hold)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Those in force."""
        return self._planner.budgets

    @property
    def missing(self) -> dict[str, int]:
        """Budget → how many kinds of calls lacked a key that it counts apart by."""
        return self._planner.missing

    @property
    def generation(self) -> object:
        """Another object as soon as plans that somebody remembers no longer hold."""
        return self._planner.generation

    def renew_generation(self) -> None:
        """Forget all plans, also those that others remember under `generation`."""
        self._planner.forget()

    def plan(self, kind: Kind) -> Plan:
        """What is known of calls of this kind; remembered."""
        return self._planner.plan(kind)

    def expected(self, plan: Plan, trace_id: int = 0) -> Claim | None:
        """The claim of a call of which nothing is known."""
        return self._planner.special(plan, trace_id, None)[0] if plan.traced else plan.claim

    def stated(self, plan: Plan, tokens: Tokens, *, whole: bool, trace_id: int = 0) -> Claim | None:
        """The claim of a call whose use the caller states; see `Planner.stated`."""
        return self._planner.stated(plan, tokens, whole=whole, trace_id=trace_id)

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
        now_ns = self._clock()
        latest = _latest.get()
        if ancestor is not None or (latest is not None and latest.open):
            twin = self._twin(plan, emitter, ancestor, latest, now_ns)
            if twin is not None:
                twin.join(emitter, span_id)
                return twin
        if now_ns >= self._next_sweep_ns or len(self._open) >= self.MAX_OPEN:
            self.expire()
        call = Call(self._ids.make(now_ns), plan, (), now_ns, source, emitter, trace_id, span_id)
        claim = plan.claim
        if most_output is not None or plan.traced:
            claim, call.estimate = self._planner.special(plan, trace_id, _count(most_output))
        if self.stopped or plan.forbidden is not None:
            return self._forbid(call)
        if claim is not None:
            answer = self.ledger.admit(claim, now_ns)
            if answer.__class__ is not list and not self._decide(call, claim, answer):
                return call
            call.hold = answer  # type: ignore[assignment]
        self._open[call.id] = call
        _latest.set(call)
        return call

    def open(self, plan: Plan, claim: Claim | None, estimate: Tokens, trace_id: int = 0) -> Call:
        """Admit a call that no span covers.

        A call that comes back with a `refusal` was not admitted, and no row was written of it:
        the door may try again, or give up with `refuse`.

        Args:
            plan: of the call's kind.
            claim: what it asks for.
            estimate: what it is charged with if nobody says.
            trace_id: of the span around it; 0 without one.
        """
        now_ns = self._clock()
        if now_ns >= self._next_sweep_ns or len(self._open) >= self.MAX_OPEN:
            self.expire()
        call = Call(self._ids.make(now_ns), plan, (), now_ns, "admit", "", trace_id, 0)
        call.estimate = estimate
        if self.stopped or plan.forbidden is not None:
            call.refusal = self._forbidden(call)
            return call
        if claim is not None:
            answer = self.ledger.admit(claim, now_ns)
            if isinstance(answer, Shortage):
                call.refusal = refusals.refusal_of(answer)
                return call
            if isinstance(answer, LooseHold):
                call.outcome = _loose(answer)
            call.hold = answer
        self._open[call.id] = call
        return call

    def amend(self, call: Call, tokens: Tokens) -> TokenQuotaExceeded | None:
        """Hold what these tokens come to in the place of what is held; None if there is room.

        Else the old hold stays. Of a call that has ended nothing is changed.
        """
        if call.id not in self._open:
            return None
        amounts = self._planner.amounts(tokens, call.plan.price, call.opened_ns)
        wanted = [amounts[unit] for _, unit, _ in call.hold]
        answer = self.ledger.amend(call.hold, wanted, self._clock())
        if isinstance(answer, Shortage):
            return refusals.refusal_of(answer)
        call.hold, call.estimate = answer, tokens
        return None

    def touch(self, call: Call) -> None:
        """Something of an open call was seen, e.g. a chunk: its time to live starts again."""
        call.seen_ns = self._clock()

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
        if self._open.pop(call.id, None) is None:  # atomic: of two that end a call, one goes on
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
        call.tokens = tokens
        call.open = False
        given, made = tokens[0], tokens[1]
        crossings = self.ledger.settle(
            call.hold,
            self._planner.amounts(tokens, call.plan.price, call.opened_ns)
            if self._planner.measures
            else (given + made, given, made, 1),
        )
        if crossings:
            self.alerts.tell(crossings)
        self._finish(call)

    def release(self, call: Call, status: str = "error", error_type: str | None = None) -> None:
        """Give back what is held for a call that cost nothing, requests too, and write its row."""
        if self._open.pop(call.id, None) is None:
            self._correct(call, NO_TOKENS, status, error_type, requests=0)
            return
        call.outcome = call.outcome._replace(status=status, error_type=error_type)
        call.open = False
        self.ledger.settle(call.hold, self._planner.nothing)
        self._finish(call)

    def charge(
        self, plan: Plan, source: str, emitter: str, trace_id: int = 0, span_id: int = 0
    ) -> Call:
        """Open a call that is over already; it is never refused. Settle it at once."""
        now_ns = self._clock()
        claim = self.expected(plan, trace_id)
        hold = self.ledger.charge(claim, now_ns) if claim is not None else ()
        call = Call(self._ids.make(now_ns), plan, hold, now_ns, source, emitter, trace_id, span_id)
        self._open[call.id] = call
        return call

    def refuse(self, call: Call, refusal: TokenQuotaExceeded) -> Call:
        """Write the row of a call that is not let in."""
        call.refusal, call.open = refusal, False
        call.outcome = Outcome(
            "error",
            TokenQuotaExceeded.__name__,
            decision="refused",
            budget=refusal.budget,
            requested=refusal.requested,
            attempts=0,
        )
        self._finish(call)
        return call

    def statuses(self) -> list[BudgetStatus]:
        """How each budget stands for each payer who has spent anything in its current window."""
        now_ns = self._clock()
        in_force = {budget.identity for budget in self.budgets}
        return [
            status_of(balance, now_ns)
            for balance in self.ledger.balances(now_ns)
            if balance.key.budget.identity in in_force
        ]

    def advice(self, plan: Plan) -> str | None:
        """The model to use instead, where the next call of this kind is past a soft limit."""
        if plan.claim is None:
            return None
        balances = self.ledger.look(plan.claim, self._clock())
        for line, balance in zip(plan.claim.lines, balances, strict=True):
            spent = balance.used + balance.held + line.amount
            if line.key.budget.degrade_to is not None and spent > balance.limit:
                return line.key.budget.degrade_to
        return None

    def grant(self, budget: str, amount: float, payer: Mapping[str, str]) -> None:
        """Let a payer spend so much more, in the budget's unit, in the current window."""
        key = self.account(budget, payer)
        scale = key.budget.cap / key.budget.limit
        self.ledger.grant(key, round(amount * scale), self._clock())

    def reset(self, budget: str, payer: Mapping[str, str]) -> None:
        """Start a payer's current window again at zero."""
        self.ledger.reset(self.account(budget, payer), self._clock())

    def exempt(self, budget: str, for_s: float, payer: Mapping[str, str]) -> None:
        """Refuse a payer nothing for so many seconds; 0 ends it."""
        now_ns = self._clock()
        self.ledger.exempt(self.account(budget, payer), now_ns + int(for_s * SECOND_NS), now_ns)

    def account(self, budget: str, payer: Mapping[str, str]) -> Key:
        """What a payer's account is kept for.

        Args:
            budget: its name or canonical text.
            payer: a value for each key that the budget counts apart by.

        Raises:
            ConfigurationError: no such budget is in force, or it counts apart by other keys.
        """
        found = next((one for one in self.budgets if budget in (one.name, str(one))), None)
        if found is None:
            known = ", ".join(repr(one.label) for one in self.budgets) or "none"
            raise ConfigurationError(f"budget={budget!r}: expected one of those in force: {known}")
        keys = counted_by(found)
        if set(payer) != set(keys):
            raise ConfigurationError(
                f"{found.label!r} counts apart by {list(keys)}; given: {dict(payer)!r}"
            )
        return Key(found, tuple(payer[key] for key in keys))

    def summaries(self) -> list[Summary]:
        """How each budget stands; quick, however many payers it has."""
        return self.ledger.summaries(self._clock())

    def decision(self, call: Call) -> refusals.Decision:
        """What was decided of an open call, and how the budget stands that decided it."""
        return refusals.decision_of(
            call.outcome.decision,
            call.hold.over
            if isinstance(call.hold, LooseHold)
            else [account.balance() for account, _, _ in call.hold],
        )

    def is_told(self, kind: Kind, emitter: str, tokens: Tokens, start_ns: int, end_ns: int) -> bool:
        """Whether a finished call, told by another emitter, is this one.

        For spans that show only at their end what they are. One to one: each emitter tells of a
        call once, so N equal spans are matched by N equal calls.
        """
        self.add_up()
        for call in reversed(list(chain(self._finished, self._pending))):
            if (
                emitter not in call.emitters
                and call.outcome.decision != "refused"
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
            old = max(call.opened_ns, call.seen_ns) <= oldest_ns
            if everything or old or place < surplus:
                try:
                    self._lose(call)
                except Exception as error:  # noqa: BLE001 - nobody else's call may suffer from it
                    self.trouble.note("expire", error)

    def add_up(self) -> None:
        """Take the calls that finished into the totals, and learn from them."""
        if not self.totals.lock.acquire(blocking=False):
            return  # somebody else does
        try:
            while self._pending:
                self._add(self._pending.popleft())
        except Exception as error:  # noqa: BLE001 - the call has ended well
            self.trouble.note("totals", error)
        finally:
            self.totals.lock.release()

    def after_fork(self) -> None:
        """In a forked child: what is in flight belongs to the parent, and totals start at zero."""
        self._forget_calls()
        self.renew_generation()
        self._ids.renew()
        self.totals.renew()
        self.alerts.after_fork()
        self.waiters = Waiters()
        self.ledger.after_fork()

    def _forget_calls(self) -> None:
        self._open: dict[str, Call] = {}
        self._lost: dict[str, Call] = {}
        self._pending: deque[Call] = deque()  # finished, but not in the totals yet
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

    def _decide(self, call: Call, claim: Claim, answer: Hold | Shortage) -> bool:
        """Whether a call may go on that has found a budget at its end."""
        if not isinstance(answer, Shortage):
            if isinstance(answer, LooseHold):
                call.outcome = _loose(answer)
            return True
        if not self._swallows(call.emitters[0]):
            self.refuse(call, refusals.refusal_of(answer))
            return False
        call.hold = self.ledger.charge(claim, call.opened_ns)
        self._let_through(call, answer.balance.key.budget.label)
        self._open[call.id] = call
        _latest.set(call)
        return False

    def _forbid(self, call: Call) -> Call:
        """Refuse a call whatever is left, or let it through where that cannot be done."""
        refusal = self._forbidden(call)
        if not self._swallows(call.emitters[0]):
            return self.refuse(call, refusal)
        if call.plan.claim is not None:
            call.hold = self.ledger.charge(call.plan.claim, call.opened_ns)
        self._let_through(call, refusal.budget)
        self._open[call.id] = call
        _latest.set(call)
        return call

    def _forbidden(self, call: Call) -> TokenQuotaExceeded:
        estimate = call.estimate or call.plan.estimate
        if self.stopped or call.plan.forbidden is None:
            return refusals.stopped(estimate[0] + estimate[1])
        budget = call.plan.forbidden.budget
        requested = estimate[0] + estimate[1] if "tokens" in budget.unit else 0
        return refusals.forbidden_by(call.plan.forbidden, requested, call.opened_ns)

    def _let_through(self, call: Call, budget: str) -> None:
        """Meter a call that cannot be refused."""
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
        self.add_up()  # what was charged before is in the total, which cannot fall
        before, cost_before = call.tokens, call.cost or 0
        amounts, price = self._planner.amounts, call.plan.price
        charged = amounts(before, price, call.opened_ns)
        call.outcome = call.outcome._replace(
            status=status,
            error_type=error_type,
            estimated=estimated or tokens is None,
            revision=call.outcome.revision + 1,
        )
        after = call.tokens = call.estimate or call.plan.estimate if tokens is None else tokens
        used = amounts(after, price, call.opened_ns, requests)
        self.ledger.correct(call.hold, charged, used)
        with self.totals.lock:
            total = self._total(call)
            total.input_tokens += max(0, after[0] - before[0])
            total.output_tokens += max(0, after[1] - before[1])
            total.cost += max(0, (call.cost or 0) - cost_before)
        self._emit(call)

    def _finish(self, call: Call) -> None:
        self._pending.append(call)
        if len(self._pending) >= _BATCH:
            self.add_up()
        if self.waiters.waiting:
            self.waiters.wake()
        self._emit(call)

    def _emit(self, call: Call) -> None:
        for sink in self._sinks:
            try:
                sink(call)
            except Exception as error:  # noqa: BLE001 - a sink must not reach the application
                self.trouble.note("sink", error, dropped=call.outcome.calls)

    def _add(self, call: Call) -> None:
        """Under the lock of the totals."""
        plan, outcome, tokens = call.plan, call.outcome, call.tokens
        total = plan.total if outcome is PLAIN else self._total(call)
        total.calls += outcome.calls
        total.input_tokens += tokens[0]
        total.output_tokens += tokens[1]
        if plan.price is not None:
            rates = plan.price.rates
            if rates is not None and tokens[2:] == _NO_PARTS:
                total.cost += tokens[0] * rates.input + tokens[1] * rates.output
            else:
                total.cost += call.cost or 0
        if call.refusal is None:
            self._finished.append(call)
            if not outcome.estimated and tokens != NO_TOKENS:
                recent = plan.recent
                recent.append(tokens)
                if not len(recent) % estimates.ENOUGH:
                    self._planner.learn(plan)

    def _total(self, call: Call) -> Total:
        decision = call.outcome.decision
        if decision == "allowed":
            return call.plan.total
        return self.totals.of(labels_of(call.plan.kind, decision))


def _count(most: object) -> int | None:
    """What an emitter says is the most, if it says it well."""
    return most if type(most) is int and most > 0 else None


def _loose(hold: LooseHold) -> Outcome:
    """Of a call that was let in past the limit of a budget that does not block there."""
    by_action = {balance.key.budget.action: balance.key.budget for balance in hold.over}
    shadow = by_action.get("shadow")
    would_refuse = shadow.label if shadow is not None else None
    for action, decision in (("degrade", "degraded"), ("warn", "warned")):
        if action in by_action:
            budget = by_action[action].label
            return Outcome(decision=decision, budget=budget, would_refuse=would_refuse)
    return Outcome(would_refuse=would_refuse) if would_refuse else PLAIN


def _compatible(one: Kind, other: Kind) -> bool:
    """Whether two spans may be of one call; what a span does not say fits anything."""
    return one.operation == other.operation and (
        one.model is None or other.model is None or one.model == other.model
    )
