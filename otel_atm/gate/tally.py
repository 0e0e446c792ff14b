"""Tally: calls that have ended are added up, learned from, and remembered for a while."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Final

from otel_atm.gate import estimate as estimates
from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.outcome import PLAIN
from otel_atm.gate.plan import Kind, compatible, labels_of
from otel_atm.gate.planner import Planner
from otel_atm.gate.totals import Total, Totals
from otel_atm.price import Tokens
from otel_atm.trouble import Trouble

#: How many calls are added up at once.
BATCH: Final = 16
#: How many are remembered, for spans that tell late.
_KEPT: Final = 64
#: How far the clocks of two emitters' spans of one call may lie apart.
_SLACK_NS: Final = 5_000_000
#: Cache reads, cache writes and reasoning of most calls.
_NO_PARTS: Final = (0, 0, 0)


class Tally:
    """Adds up calls that have ended, many at a time: each by itself costs more.

    Args:
        totals: that they are added to.
        planner: that learns from them.
        trouble: counts what fails.

    Attributes:
        pending: calls that ended, and are not added up yet. Whoever ends a call puts it here, and
            calls `add_up` when there are `BATCH`.
    """

    def __init__(self, totals: Totals, planner: Planner, trouble: Trouble) -> None:
        self._totals, self._planner, self._trouble = totals, planner, trouble
        self.pending: deque[Call] = deque()
        self._finished: deque[Call] = deque(maxlen=_KEPT)

    def forget(self) -> None:
        """In a forked child: those are the parent's."""
        self.pending.clear()
        self._finished.clear()

    def is_told(self, kind: Kind, emitter: str, tokens: Tokens, start_ns: int, end_ns: int) -> bool:
        """Whether a finished call, told by another emitter, is this one.

        For spans that show only at their end what they are. One to one: each emitter tells of a
        call once, so N equal spans are matched by N equal calls.
        """
        self.add_up()
        for call in reversed(list(chain(self._finished, self.pending))):
            if (
                emitter not in call.emitters
                and call.outcome.decision != "refused"
                and (call.outcome.estimated or call.tokens[:2] == tokens[:2])
                and compatible(call.plan.kind, kind)
                and start_ns - _SLACK_NS <= call.opened_ns
                and call.ended_ns <= end_ns + _SLACK_NS
            ):
                call.emitters += (emitter,)
                return True
        return False

    def add_up(self) -> None:
        """Take the calls that finished into the totals, and learn from them."""
        if not self._totals.lock.acquire(blocking=False):
            return  # somebody else does
        try:
            while self.pending:
                self._add(self.pending.popleft())
        except Exception as error:  # noqa: BLE001 - the call has ended well
            self._trouble.note("totals", error)
        finally:
            self._totals.lock.release()

    def _add(self, call: Call) -> None:
        """Under the lock of the totals."""
        plan, outcome, tokens = call.plan, call.outcome, call.tokens
        total = plan.total if outcome is PLAIN else self.total_of(call)
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

    def total_of(self, call: Call) -> Total:
        """That a call is added to."""
        decision = call.outcome.decision
        if decision == "allowed":
            return call.plan.total
        return self._totals.of(labels_of(call.plan.kind, decision))
