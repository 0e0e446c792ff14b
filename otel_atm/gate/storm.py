"""Storm: refusals that repeat. The first is written at once, the next ones as one row a second.

An agent that tries again at once is refused thousands of times a second; each of these by itself
would say nothing that their number does not. What is kept back is written by the next refusal of
its kind once its second is over, by whoever asks for what is due, and by every flush.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate.call import Call
from otel_atm.gate.outcome import Outcome
from otel_atm.gate.plan import Plan, labels_of
from otel_atm.gate.totals import Total, Totals
from otel_atm.window import SECOND_NS

#: Of how many kinds refusals are kept back at once; past it those written longest ago go first.
MOST: Final = 4_096

# Refusals are alike that share a plan (payer, provider, model, operation), a budget and a door.
# A trace counts where a budget counts apart by it. What they asked for may differ.
_Alike = tuple[Plan, str, str, int]


class _Gust:
    """Refusals that are alike.

    Attributes:
        since_ns: when the last row of them was written.
        outcome: of the first of them all.
        total: that they are counted in.
        calls: how many are not written yet.
        row: of these; None while there are none. It has the id, the time and the span of the first,
            and the largest amount that was asked for.
    """

    __slots__ = ("calls", "outcome", "row", "since_ns", "total")

    def __init__(self, since_ns: int, outcome: Outcome, total: Total) -> None:
        self.since_ns, self.outcome, self.total = since_ns, outcome, total
        self.calls = 0
        self.row: Call | None = None

    def add(self, call: Call) -> None:
        """Keep one back."""
        self.calls += 1
        row = self.row
        if row is None:
            # Not the call itself: its refusal may hold frames of the application.
            plan, at_ns, emitter = call.plan, call.opened_ns, call.emitters[0]
            row = Call.of(
                call.id, plan, (), at_ns, call.source, emitter, call.trace_id, call.span_id
            )
            row.open, row.outcome, self.row = False, call.outcome, row
            return
        if call.outcome is not row.outcome:
            row.outcome = max(row.outcome, call.outcome, key=_requested)
        row.span_id = 0
        if row.trace_id != call.trace_id:
            row.trace_id = 0

    def take(self, now_ns: int) -> list[Call]:
        """The row of what was kept back, if anything was; none is, from now on."""
        row, calls, self.since_ns = self.row, self.calls, now_ns
        self.row, self.calls = None, 0
        if row is None:
            return []
        if calls > 1:
            row.outcome = row.outcome._replace(calls=calls)
        return [row]


class Storm:
    """Counts every refusal at once, and keeps back the rows of those that repeat.

    Args:
        totals: that refusals are counted in. Their lock guards what is kept back, too; nothing is
            written under it.
        write: takes a row to the sinks.
        clock: nanoseconds since the Unix epoch.
    """

    def __init__(
        self, totals: Totals, write: Callable[[Call], None], clock: Callable[[], int]
    ) -> None:
        self._totals, self._write, self._clock = totals, write, clock
        self._gusts: dict[_Alike, _Gust] = {}  # the one written longest ago comes first

    def takes(self, call: Call, refusal: TokenQuotaExceeded) -> bool:
        """Whether a call that is refused is one more of a storm: counted, and written with others.

        Else it has to be counted and written by itself.
        """
        now_ns, plan = self._clock(), call.plan
        alike = plan, refusal.budget, call.source, call.trace_id if plan.traced else 0
        due: list[Call] = []
        with self._totals.lock:
            gust = self._gusts.get(alike)
            if gust is None:
                call.outcome = _refused(refusal)
                due = self._begin(alike, now_ns, call)
            else:
                same = gust.outcome.requested == refusal.requested
                call.outcome = gust.outcome if same else _refused(refusal)
                if not _within_a_second(gust.since_ns, now_ns):
                    due = gust.take(now_ns)
                    self._gusts[alike] = self._gusts.pop(alike)
                    if not due:
                        return False  # it was quiet for a second
                gust.add(call)
                gust.total.calls += 1
        for row in due:
            self._write(row)
        return gust is not None

    def write_due(self) -> float:
        """Write what was kept back for a second.

        Returns:
            Seconds until more may be due, at most 1.
        """
        now_ns, due, wait_ns = self._clock(), [], SECOND_NS
        with self._totals.lock:
            while self._gusts:
                alike, gust = next(iter(self._gusts.items()))
                if _within_a_second(gust.since_ns, now_ns):
                    wait_ns = min(SECOND_NS, gust.since_ns + SECOND_NS - now_ns)
                    break
                del self._gusts[alike]
                rows = gust.take(now_ns)
                if rows:
                    due += rows
                    self._gusts[alike] = gust
        for row in due:
            self._write(row)
        return wait_ns / SECOND_NS

    def write_all(self) -> None:
        """Write all that is kept back; the next refusal of each kind is written at once again."""
        with self._totals.lock:
            gusts, self._gusts = self._gusts, {}
            due = [row for gust in gusts.values() for row in gust.take(0)]
        for row in due:
            self._write(row)

    def forget(self) -> None:
        """In a forked child: what is kept back is the parent's."""
        self._gusts = {}

    def _begin(self, alike: _Alike, now_ns: int, call: Call) -> list[Call]:
        """Remember the first of its kind; what has to be written to make room for it."""
        due: list[Call] = []
        if len(self._gusts) >= MOST:
            due = self._gusts.pop(next(iter(self._gusts))).take(now_ns)
        total = self._totals.of(labels_of(call.plan.kind, "refused"))
        self._gusts[alike] = _Gust(now_ns, call.outcome, total)
        return due


def _refused(refusal: TokenQuotaExceeded) -> Outcome:
    return Outcome(
        "error",
        TokenQuotaExceeded.__name__,
        decision="refused",
        budget=refusal.budget,
        requested=refusal.requested,
        attempts=0,
    )


def _requested(outcome: Outcome) -> float:
    return outcome.requested or 0


def _within_a_second(since_ns: int, now_ns: int) -> bool:
    """Either way: a clock may be put back, and then nothing may be kept until it catches up."""
    return -SECOND_NS < now_ns - since_ns < SECOND_NS
