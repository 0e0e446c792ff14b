"""Refusals that repeat: the first is a row at once, the next ones are one row a second."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import Scope, TokenQuotaExceeded, UsageEvent
from otel_atm.budget import read_budgets
from otel_atm.gate import Call, Gate, Kind
from otel_atm.gate import storm as storm_module
from otel_atm.gate.refusal import stopped
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock

BUDGET = "10 tokens / day per user"
SECOND_US = 1_000_000


class Refusing:
    """A gate without room for anybody."""

    def __init__(self, clock: ManualClock, *budgets: str) -> None:
        self.clock = clock
        self.rows: list[UsageEvent] = []
        self.written_ns: list[int] = []
        self.gate = Gate(
            read_budgets(budgets or [BUDGET]), MemoryLedger(), clock=clock, sinks=[self.sink]
        )
        self.gate.stop("operator", stopped=not budgets)

    def sink(self, call: Call) -> None:
        self.rows.append(call.event())
        self.written_ns.append(self.clock())

    def refuse(
        self,
        user: str = "ann",
        *,
        model: str = "gpt-5.1",
        trace_id: int = 7,
        span_id: int = 8,
    ) -> Call:
        plan = self.gate.plan(Kind(Scope(user=user), "openai", model, "chat"))
        call = self.gate.begin(plan, "span", "openai", None, trace_id, span_id)
        assert call.refusal is not None
        return call

    @property
    def calls(self) -> list[int]:
        return [row.calls for row in self.rows]

    @property
    def counted(self) -> int:
        """Refusals, as the metric `atm.calls` has them."""
        self.gate.tally.add_up_all()
        return sum(total.calls for _, total in self.gate.totals.all())


@pytest.fixture
def refusing(clock: ManualClock) -> Refusing:
    return Refusing(clock)


def test_the_first_is_written_at_once_and_the_next_as_one_row_a_second(refusing: Refusing) -> None:
    calls = []
    for _ in range(30):
        calls.append(refusing.refuse())
        refusing.clock.advance(0.1)
    assert refusing.calls == [1, 9, 10]
    refusing.gate.storm.write_all()
    assert refusing.calls == [1, 9, 10, 10]
    assert [row.event_id for row in refusing.rows] == [calls[at].id for at in (0, 1, 10, 20)]
    assert [row.ts_us for row in refusing.rows] == [
        calls[at].opened_ns // 1_000 for at in (0, 1, 10, 20)
    ]


def test_metrics_count_each_of_them_at_once(refusing: Refusing) -> None:
    for number in range(1, 6):
        refusing.refuse()
        assert refusing.counted == number
    refusing.gate.storm.write_all()
    assert refusing.counted == 5


def test_one_that_comes_after_a_quiet_second_is_written_at_once(refusing: Refusing) -> None:
    refusing.refuse()
    refusing.clock.advance(1)
    refusing.refuse()
    assert refusing.calls == [1, 1]


def test_a_row_of_several_is_like_that_of_one_but_for_its_number_and_its_span(
    refusing: Refusing,
) -> None:
    one = refusing.refuse()
    for _ in range(3):
        refusing.refuse(span_id=99)
    refusing.gate.storm.write_all()
    first, several = refusing.rows
    assert (first.event_id, first.span_id) == (one.id, f"{8:016x}")
    assert several.span_id is None
    assert several.trace_id == first.trace_id == f"{7:032x}"
    assert (several.calls, several.attempts, several.total_tokens) == (3, 0, 0)
    same = (
        "status",
        "decision",
        "budget",
        "attributes",
        "user_id",
        "model",
        "duration_us",
        "ts_us",
    )
    assert [getattr(several, name) for name in same] == [getattr(first, name) for name in same]


def test_a_row_of_one_keeps_its_span(refusing: Refusing) -> None:
    refusing.refuse()
    refusing.refuse(span_id=99)
    refusing.gate.storm.write_all()
    assert [row.span_id for row in refusing.rows] == [f"{8:016x}", f"{99:016x}"]


def test_a_row_of_several_traces_has_none(refusing: Refusing) -> None:
    for trace_id in (1, 1, 2):
        refusing.refuse(trace_id=trace_id)
    refusing.gate.storm.write_all()
    assert [row.trace_id for row in refusing.rows] == [f"{1:032x}", None]


def test_under_a_budget_per_trace_each_trace_has_its_rows(clock: ManualClock) -> None:
    refusing = Refusing(clock, "1 token / trace")
    for trace_id in (1, 2):
        gate, plan = refusing.gate, refusing.gate.plan(Kind(Scope(), None, None, "chat"))
        gate.settle(gate.begin(plan, "span", "x", None, trace_id), (1, 1, 0, 0, 0))
    refusing.rows.clear()
    for trace_id in (1, 2, 1, 2, 2):
        call = gate.begin(plan, "span", "x", None, trace_id)
        assert call.refusal is not None
    gate.storm.write_all()
    assert [(row.trace_id, row.calls) for row in refusing.rows] == [
        (f"{trace_id:032x}", calls) for trace_id, calls in ((1, 1), (2, 1), (1, 1), (2, 2))
    ]


def test_payers_models_and_budgets_have_rows_of_their_own(refusing: Refusing) -> None:
    for _ in range(3):
        refusing.refuse("ann")
        refusing.refuse("bob")
        refusing.refuse("ann", model="gpt-5-mini")
    refusing.gate.storm.write_all()
    found = [(row.user_id, row.model, row.calls) for row in refusing.rows]
    kinds = [("ann", "gpt-5.1"), ("bob", "gpt-5.1"), ("ann", "gpt-5-mini")]
    assert found == [(*kind, calls) for calls in (1, 2) for kind in kinds]


def test_of_different_amounts_the_row_has_the_largest(refusing: Refusing) -> None:
    plan = refusing.gate.plan(Kind(Scope(user="ann"), "openai", "gpt-5.1", "chat"))
    for requested in (5, 3, 400, 20):
        call = refusing.gate.prepare(plan, "admit", "", 0)
        refusing.gate.refuse(call, stopped(requested, ["operator"]))
    refusing.gate.storm.write_all()
    assert [(row.calls, row.attributes["requested"]) for row in refusing.rows] == [(1, 5), (3, 400)]


class TestWhatIsKeptBack:
    def test_is_written_when_somebody_asks_for_what_is_due(self, refusing: Refusing) -> None:
        storm = refusing.gate.storm
        refusing.refuse()
        refusing.clock.advance(0.25)
        refusing.refuse()
        assert storm.write_due() == 0.75
        assert refusing.calls == [1]
        refusing.clock.advance(0.75)
        assert storm.write_due() == 1.0
        assert refusing.calls == [1, 1]
        refusing.refuse()  # within a second of that row
        assert refusing.calls == [1, 1]
        refusing.clock.advance(1)
        storm.write_due()
        refusing.clock.advance(1)
        assert storm.write_due() == 1.0  # and forgotten
        assert refusing.calls == [1, 1, 1]
        refusing.refuse()
        assert refusing.calls == [1, 1, 1, 1]

    def test_is_written_when_all_that_is_open_is_written_off(self, refusing: Refusing) -> None:
        for _ in range(4):
            refusing.refuse()
        refusing.gate.expire()
        assert refusing.calls == [1]
        refusing.gate.expire(everything=True)
        assert refusing.calls == [1, 3]

    def test_goes_to_the_sinks_of_its_time(self, refusing: Refusing) -> None:
        later: list[Call] = []
        refusing.refuse()
        refusing.refuse()
        refusing.gate.configure(refusing.gate.budgets, default_hold=5, sinks=[later.append])
        assert refusing.calls == [1, 1]
        refusing.refuse()
        assert len(later) == 1

    def test_is_the_parents_in_a_forked_child(self, refusing: Refusing) -> None:
        for _ in range(4):
            refusing.refuse()
        refusing.gate.after_fork()
        refusing.gate.expire(everything=True)
        assert refusing.calls == [1]
        assert refusing.counted == 0
        refusing.refuse()
        assert refusing.calls == [1, 1]
        assert refusing.counted == 1

    def test_is_bounded(self, refusing: Refusing, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(storm_module, "MOST", 2)
        for user in ("ann", "ann", "ann", "bob", "cid", "dan"):
            refusing.refuse(user)
        found = [(row.user_id, row.calls) for row in refusing.rows]
        assert found == [("ann", 1), ("bob", 1), ("ann", 2), ("cid", 1), ("dan", 1)]

    def test_is_not_kept_longer_when_the_clock_is_put_back(self, refusing: Refusing) -> None:
        refusing.refuse()
        refusing.refuse()
        refusing.clock.advance(-3_600)
        refusing.gate.storm.write_due()
        assert refusing.calls == [1, 1]

    def test_holds_nothing_of_the_application(self, refusing: Refusing) -> None:
        class Prompt:
            """In a frame of who was refused."""

        def ask() -> weakref.ref[Prompt]:
            prompt = Prompt()
            known = weakref.ref(prompt)
            call = refusing.refuse()
            assert call.refusal is not None
            try:
                raise call.refusal
            except TokenQuotaExceeded:
                return known

        prompts = [ask() for _ in range(3)]
        gc.collect()
        assert [prompt() for prompt in prompts] == [None] * 3


def test_a_sink_that_fails_loses_them_all_and_says_how_many(clock: ManualClock) -> None:
    def sink(call: Call) -> None:
        raise OSError(28, "disk full")

    gate = Gate([], MemoryLedger(), clock=clock, sinks=[sink])
    gate.stop("operator", stopped=True)
    plan = gate.plan(Kind(Scope(), None, None, "chat"))
    for _ in range(5):
        gate.begin(plan, "span", "x")
    gate.expire(everything=True)
    assert gate.trouble.dropped == {"sink": 5}


STEPS = st.one_of(
    st.sampled_from(["ann", "bob", "cid"]),  # is refused
    st.sampled_from([0.01, 0.3, 0.5, 0.999_999_999, 1.0, 1.5, 7.0]),  # seconds pass
    st.just("due"),
)


@given(st.lists(STEPS, max_size=60))
def test_the_rows_add_up_and_come_once_a_second_whatever_happens(steps: list[Any]) -> None:
    refusing, refused = Refusing(ManualClock()), defaultdict[str, list[Call]](list)
    for step in steps:
        if step == "due":
            refusing.gate.storm.write_due()
        elif isinstance(step, str):
            refused[step].append(refusing.refuse(step))
        else:
            refusing.clock.advance(step)
    by_itself = len(refusing.rows)
    refusing.gate.storm.write_all()
    assert refusing.counted == sum(map(len, refused.values()))
    for user, calls in refused.items():
        places = [at for at, row in enumerate(refusing.rows) if row.user_id == user]
        rows = [refusing.rows[at] for at in places]
        assert sum(row.calls for row in rows) == len(calls)
        position = 0
        for row in rows:  # each stands for calls in a row, from its first
            part = calls[position : position + row.calls]
            position += row.calls
            assert (row.event_id, row.ts_us) == (part[0].id, part[0].opened_ns // 1_000)
            assert part[-1].opened_ns - part[0].opened_ns < 1_000_000_000
        times = [refusing.written_ns[at] for at in places if at < by_itself]
        gaps = [after - before for before, after in pairwise(times)]
        assert all(gap >= 1_000_000_000 for gap in gaps), gaps


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager")
def test_none_is_lost_between_threads(refusing: Refusing) -> None:
    def loop(step: Callable[[], object], times: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: [step() for _ in range(times)])
        thread.start()
        return thread

    threads = [loop(refusing.refuse, 300) for _ in range(4)]
    threads.append(loop(refusing.gate.storm.write_due, 100))
    threads.append(loop(refusing.gate.storm.write_all, 20))
    threads.append(loop(lambda: refusing.clock.advance(0.01), 300))
    for thread in threads:
        thread.join()
    refusing.gate.storm.write_all()
    assert sum(refusing.calls) == refusing.counted == 1_200
