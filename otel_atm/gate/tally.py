"""Tally: calls that have ended are added up, and learned from."""

from __future__ import annotations

from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.plan import Plan, labels_of
from otel_atm.gate.planner import Planner
from otel_atm.gate.totals import Total, Totals
from otel_atm.trouble import Trouble


class Tally:
    """Adds up calls that have ended: plain ones many at a time, since each by itself costs more.

    Args:
        totals: that they are added to.
        planner: that learns from them.
        trouble: counts what fails.

    Attributes:
        waiting: plans of calls that are not added up yet: their `news`. Whoever ends a call puts
            its tokens there first, and then the plan here.
    """

    def __init__(self, totals: Totals, planner: Planner, trouble: Trouble) -> None:
        self._totals, self._planner, self._trouble = totals, planner, trouble
        self.waiting: dict[Plan, None] = {}

    def forget(self) -> None:
        """In a forked child: those are the parent's."""
        for plan in list(self.waiting):
            plan.news.clear()
        self.waiting.clear()

    def add_up(self, plan: Plan) -> None:
        """Take the news of a plan into the totals, and learn from them; never raises."""
        if not self._totals.lock.acquire(blocking=False):
            return  # somebody else adds up; these wait for the next time
        try:
            batch = plan.news[:]
            del plan.news[: len(batch)]  # what others append meanwhile stays
            if not batch:
                return
            given, made, *subsets = zip(*batch, strict=True)  # each kind of tokens
            sums = sum(given), sum(made)
            total = plan.total
            total.calls += len(batch)
            total.input_tokens += sums[0]
            total.output_tokens += sums[1]
            if plan.price is not None:
                read, written, reasoned = map(sum, subsets)
                total.cost += plan.price.cost((*sums, read, written, reasoned), 0)
            plan.recent.add(given, made)
            self._planner.learn(plan)
        except Exception as error:  # noqa: BLE001 - the calls have ended well
            self._trouble.note("totals", error)
        finally:
            self._totals.lock.release()

    def add_up_all(self) -> None:
        """Take all news into the totals."""
        for plan in list(self.waiting):
            self.waiting.pop(plan, None)
            self.add_up(plan)

    def add(self, call: Call) -> None:
        """Take a call that is not plain into the totals; never raises."""
        try:
            with self._totals.lock:
                outcome, tokens, total = call.outcome, call.tokens, self.total_of(call)
                total.calls += outcome.calls
                total.input_tokens += tokens[0]
                total.output_tokens += tokens[1]
                total.cost += call.cost or 0
                if call.refusal is None and not outcome.estimated and tokens != NO_TOKENS:
                    call.plan.recent.add(tokens[:1], tokens[1:2])
        except Exception as error:  # noqa: BLE001 - the call has ended well
            self._trouble.note("totals", error)

    def total_of(self, call: Call) -> Total:
        """That a call is added to."""
        decision = call.outcome.decision
        if decision == "allowed":
            return call.plan.total
        return self._totals.of(labels_of(call.plan.kind, decision))
