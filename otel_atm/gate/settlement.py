"""Settlement: how calls end, and what becomes of those that nobody ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from otel_atm.gate.alerts import Alerts
from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.outcome import PLAIN
from otel_atm.gate.planner import Planner
from otel_atm.gate.recent import Recent
from otel_atm.gate.storm import Storm
from otel_atm.gate.tally import Tally
from otel_atm.gate.totals import Totals
from otel_atm.gate.waiting import Waiters
from otel_atm.ledger import Amounts, Ledger
from otel_atm.price import Tokens
from otel_atm.pricing import Prices
from otel_atm.trouble import Trouble
from otel_atm.window import SECOND_NS

#: Takes a finished call; it must not keep it, and may ask it for `event()`.
Sink = Callable[[Call], None]

#: How many lost calls can still be corrected.
_MAX_LOST: Final = 1_024


class Settlement:
    """Charges what calls used, gives back what they did not, and hands their rows to sinks.

    Args:
        ledger: keeps what is held and spent.
        clock: nanoseconds since the Unix epoch.
        ttl_s: seconds until a call that never ends is written off as lost.
        prices: of models; None: none is known.
        trouble: where failures of sinks go.
    """

    def __init__(
        self,
        ledger: Ledger[Any],
        *,
        clock: Callable[[], int],
        ttl_s: float,
        prices: Prices | None,
        trouble: Trouble,
    ) -> None:
        self.ledger = ledger
        self.totals = Totals()
        self.trouble = trouble
        self.alerts = Alerts(trouble)
        self.waiters = Waiters()
        #: The time, in nanoseconds since the Unix epoch.
        self.now_ns = clock
        self.planner = Planner(ledger, self.totals, prices, clock)
        self.tally = Tally(self.totals, self.planner, trouble)
        self.recent = Recent()
        self._finished, self._waiting = self.recent.new, self.tally.waiting
        self.storm = Storm(self.totals, self.emit, clock)
        self._ttl_ns = int(ttl_s * SECOND_NS)
        self._sinks: Sequence[Sink] = ()
        self._forget_calls()

    @property
    def sinks(self) -> Sequence[Sink]:
        """Called once for each row, in the thread that ends the call."""
        return self._sinks

    @sinks.setter
    def sinks(self, sinks: Sequence[Sink]) -> None:
        self.storm.write_all()  # to those of before
        self._sinks = tuple(sinks)

    def is_open(self, call: Call) -> bool:
        """Whether it is one of this gate's, and has not ended."""
        return call in self._open

    def drop(self, call: Call) -> None:
        """Give back what is held for a call that never was one; there is no row of it."""
        if self._open.pop(call, None) is not None:
            call.open = False
            self.ledger.settle(call.hold, self.planner.nothing)
            call.hold = ()
            if self.waiters.waiting:
                self.waiters.wake()

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

    def expire(self, *, everything: bool = False, surplus: int = 0) -> None:
        """Write off calls that are older than the time to live: estimated, status "lost".

        Args:
            everything: whatever their age; nobody will end them any more.
            surplus: how many of the oldest are written off whatever their age.
        """
        oldest_ns = self.now_ns() - self._ttl_ns
        for place, call in enumerate(list(self._open)):
            old = max(call.opened_ns, call.seen_ns) <= oldest_ns
            if everything or old or place < surplus:
                try:
                    self._lose(call)
                except Exception as error:  # noqa: BLE001 - nobody else's call may suffer from it
                    self.trouble.note("expire", error)

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
