"""Of processors on one provider that write to one store or ledger, the last one counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

import otel_atm as atm
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, USED

AGENT = {"gen_ai.operation.name": "invoke_agent"}
PLENTY = "1M tokens / month"
COPIED = {"atm.call_id": "019b76da-a800-7000-8000-000000000000"}


class Desk:
    """A tracer provider, and processors on it."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder, self.clock = folder, clock
        self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.made: list[atm.TokenSpanProcessor] = []

    def meter(
        self,
        store: str | None = "tokens",
        ledger: Any = "auto",
        budgets: Any = (PLENTY,),
        *,
        guards: bool = False,
        joined: bool = True,
    ) -> atm.TokenSpanProcessor:
        processor = atm.TokenSpanProcessor(
            budgets,
            ledger,
            store if store is None else self.folder / f"{store}.duckdb",
            clock=self.clock,
            guards=guards,
        )
        self.made.append(processor)
        if joined:
            self.provider.add_span_processor(processor)
        return processor

    def start(self, attributes: dict[str, Any], *, emitter: str = "openai", **more: Any) -> Span:
        return self.provider.get_tracer(emitter).start_span("chat", attributes=attributes, **more)

    def end(self, span: Span, attributes: Any = None) -> None:
        span.set_attributes(attributes or {})
        span.end()

    def call(self, **more: Any) -> None:
        self.end(self.start({**CHAT, **more}), USED)

    def rows(self, store: str = "tokens") -> list[tuple[int, str]]:
        """Tokens and status of each row."""
        for processor in self.made:
            assert processor.force_flush()
        with atm.connect(self.folder / f"{store}.duckdb") as db:
            return db.sql("select total_tokens, status from usage_events order by ts").fetchall()


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(tmp_path, clock)
    yield made
    for processor in made.made:
        assert processor.trouble.counts == {}
        processor.retire()


def spent(processor: atm.TokenSpanProcessor) -> float:
    """What its ledger has counted, of all payers."""
    return sum(status.used for status in processor.budgets())


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "otel_atm")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_call_in_one_file_is_one_row_and_it_is_said_once(
    desk: Desk, said: Callable[[], list[str]]
) -> None:
    old, new = desk.meter(), desk.meter()
    desk.call()
    desk.call()
    assert desk.rows() == [(18, "ok")] * 2
    assert spent(new) == 36
    assert old.ignores_spans
    (message,) = said()
    assert f"write to {desk.folder / 'tokens.duckdb'}. " in message


def test_a_cell_that_is_run_again_with_a_higher_limit_has_its_way(desk: Desk) -> None:
    desk.meter(budgets=["18 tokens / day"])
    desk.call()
    with pytest.raises(atm.TokenQuotaExceeded):
        desk.start(CHAT)
    desk.meter(budgets=["36 tokens / day"])
    desk.call()
    with pytest.raises(atm.TokenQuotaExceeded):
        desk.start(CHAT)
    assert sorted(desk.rows()) == [(0, "error")] * 2 + [(18, "ok")] * 2


def test_one_that_is_added_after_a_call_takes_over_with_the_first_it_sees(desk: Desk) -> None:
    old, new = desk.meter(ledger="memory"), desk.meter(ledger="memory", joined=False)
    desk.call()
    assert (spent(old), spent(new)) == (18, 0)
    desk.provider.add_span_processor(new)
    desk.call()
    assert desk.rows() == [(18, "ok")] * 2
    assert (spent(old), spent(new)) == (18, 18)
    assert all(status.held == 0 for status in old.budgets())


def test_a_call_under_way_ends_where_it_began(desk: Desk) -> None:
    old = desk.meter(ledger="memory")
    open_still = desk.start(CHAT)
    new = desk.meter(ledger="memory")
    desk.call()
    desk.end(open_still, USED)
    assert (spent(old), spent(new)) == (18, 18)
    assert desk.rows() == [(18, "ok")] * 2


def test_a_call_is_one_whatever_the_file_is_called(desk: Desk) -> None:
    desk.meter()
    (desk.folder / "link.duckdb").symlink_to(desk.folder / "tokens.duckdb")
    desk.meter("link")
    desk.call()
    assert desk.rows() == [(18, "ok")]


@pytest.mark.parametrize("kind", ["file", "object"])
def test_the_same_ledger_and_other_stores_count_once(desk: Desk, kind: str) -> None:
    ledger: Any = f"sqlite:///{desk.folder / 'ledger'}" if kind == "file" else MemoryLedger()
    desk.meter("one", ledger)
    last = desk.meter("other", ledger)
    desk.call()
    assert spent(last) == 18
    assert desk.rows("other") == [(18, "ok")]
    assert not (desk.folder / "one.duckdb").exists()


def test_different_stores_and_ledgers_are_two_meters(
    desk: Desk, said: Callable[[], list[str]]
) -> None:
    one, other = desk.meter("one"), desk.meter("other")
    nowhere, nor_here = desk.meter(None, "memory"), desk.meter(None)
    desk.call()
    assert [spent(each) for each in (one, other, nowhere, nor_here)] == [18] * 4
    assert desk.rows("one") == desk.rows("other") == [(18, "ok")]
    assert said() == []


def test_processors_of_one_file_on_two_providers_both_count(
    desk: Desk, said: Callable[[], list[str]]
) -> None:
    desk.meter()
    elsewhere = TracerProvider(shutdown_on_exit=False)
    elsewhere.add_span_processor(desk.meter(joined=False))
    desk.call()
    desk.end(elsewhere.get_tracer("openai").start_span("chat", attributes=CHAT), USED)
    assert desk.rows() == [(18, "ok")] * 2
    assert said() == []


def test_three_of_one_file_count_once(desk: Desk) -> None:
    for _ in range(3):
        desk.meter()
    desk.call()
    assert desk.rows() == [(18, "ok")]


def test_one_that_was_added_twice_counts_once(desk: Desk) -> None:
    desk.provider.add_span_processor(desk.meter())
    desk.call()
    desk.call()
    assert desk.rows() == [(18, "ok")] * 2


def test_a_call_id_that_is_copied_from_elsewhere_is_counted(desk: Desk) -> None:
    desk.meter()
    desk.call(**COPIED)
    desk.meter()
    desk.call(**COPIED)
    assert desk.rows() == [(18, "ok")] * 2


def test_a_call_id_that_is_copied_from_an_open_call_is_counted(desk: Desk) -> None:
    desk.meter()
    one = desk.start(CHAT)
    other = desk.start(dict(one.attributes or {}))  # type: ignore[attr-defined]
    desk.end(other, USED)
    desk.end(one, USED)
    assert desk.rows() == [(18, "ok")] * 2


def test_what_shows_only_at_its_end_that_it_was_a_call_counts_once(desk: Desk) -> None:
    desk.meter()
    desk.meter()
    desk.end(desk.start({}), {**CHAT, **USED})
    desk.end(desk.start({**CHAT, **USED}))  # told when it was over
    assert desk.rows() == [(18, "ok")] * 2


def test_the_sum_of_an_agents_calls_is_none(desk: Desk) -> None:
    desk.meter()
    desk.meter()
    with trace.use_span(desk.start(AGENT)) as agent:
        desk.call()
    desk.end(agent, {"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7})
    assert desk.rows() == [(18, "ok")]


def test_one_that_has_retired_is_no_rival(desk: Desk) -> None:
    desk.meter().retire()
    kept = desk.meter()
    desk.meter().retire()
    desk.call()
    assert spent(kept) == 18
    assert desk.rows() == [(18, "ok")]


def test_elders_count_again_when_their_heir_has_retired(desk: Desk) -> None:
    eldest, elder, heir = (desk.meter(ledger="memory") for _ in range(3))
    desk.call()
    heir.retire()
    desk.call()
    desk.call()
    assert desk.rows() == [(18, "ok")] * 3
    elder.retire()
    desk.call()
    assert desk.rows() == [(18, "ok")] * 4
    assert spent(eldest) == 18


def test_the_budgets_of_an_elder_hold_again_when_its_heir_has_retired(desk: Desk) -> None:
    desk.meter(budgets=["1 request / day"], ledger="memory")
    heir = desk.meter(ledger="memory")
    desk.call()
    heir.retire()
    desk.call()
    with pytest.raises(atm.TokenQuotaExceeded):
        desk.call()


def test_an_elder_that_has_retired_itself_does_not_count_again(desk: Desk) -> None:
    elder, heir = desk.meter(), desk.meter()
    desk.call()
    elder.retire()
    heir.retire()
    desk.call()
    assert desk.rows() == [(18, "ok")]


def test_one_that_was_added_by_hand_goes_on_after_the_end_of_init(desk: Desk) -> None:
    desk.meter(ledger="memory")
    handle = atm.init(
        desk.provider, [PLENTY], "memory", desk.folder / "tokens.duckdb", guards=False
    )
    desk.call()
    handle.shutdown()
    desk.call()
    assert desk.rows() == [(18, "ok")] * 2
