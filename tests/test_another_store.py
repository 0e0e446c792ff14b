"""A program that takes another store: its budgets go on counting where calls in flight are held."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.faces import TokenSpanProcessor
from otel_atm.ledger import MemoryLedger

BUDGET = "500 tokens / lifetime"


@pytest.fixture
def start() -> Iterator[Callable[..., TokenSpanProcessor]]:
    made: list[TokenSpanProcessor] = []

    def call(**settings: Any) -> TokenSpanProcessor:
        made.append(TokenSpanProcessor([BUDGET], guards=False, **settings))
        return made[-1]

    yield call
    for processor in made:
        processor.retire()


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="otel_atm")


def change(processor: TokenSpanProcessor, **settings: Any) -> None:
    """As `init` does, called again."""
    processor.configure(replace(processor.settings, **settings))


def used(processor: TokenSpanProcessor) -> list[tuple[float, float]]:
    return [(each.used, each.held) for each in processor.budgets()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in caplog.messages if "go on counting" in each]


def test_what_is_held_and_spent_stays_and_is_told_with_both_places(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = start(store=tmp_path / "a.duckdb")
    with processor.admit(tokens=100) as call:
        change(processor, store=tmp_path / "b.duckdb")
        assert used(processor) == [(0, 100)]
        call.settle(input_tokens=60, output_tokens=20)
    assert used(processor) == [(80, 0)]
    (warning,) = warnings(caplog)
    for place in ("a.duckdb.ledger", "b.duckdb", "b.duckdb.ledger"):
        assert str(tmp_path / place) in warning
    assert not (tmp_path / "b.duckdb.ledger").exists()
    assert processor.force_flush()
    with atm.connect(tmp_path / "b.duckdb") as db:
        assert db.sql("select total_tokens from usage_events").fetchall() == [(80,)]


def test_a_new_start_counts_beside_the_new_store_and_what_was_spent_stays_beside_the_old(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path
) -> None:
    for store, tokens, total in (("a", 100, 100), ("b", 50, 50), ("a", 7, 107)):
        processor = start(store=tmp_path / f"{store}.duckdb")
        with processor.admit(tokens=tokens) as call:
            call.settle(input_tokens=tokens, output_tokens=0)
        assert used(processor) == [(total, 0)]
        processor.retire()


def test_is_told_each_time_and_not_of_the_store_where_the_ledger_is(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = start(store=tmp_path / "a.duckdb")
    for store, told in (("b.duckdb", 1), ("b.duckdb", 1), ("a.duckdb", 1), ("c.duckdb", 2)):
        change(processor, store=tmp_path / store)
        assert len(warnings(caplog)) == told
    change(processor, store=None)
    assert "rows go to no file" in warnings(caplog)[-1]


def test_is_told_of_a_ledger_in_memory_too(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(start(store=None), store=tmp_path / "a.duckdb")
    (warning,) = warnings(caplog)
    assert "go on counting in memory" in warning


def test_is_not_told_to_who_names_the_ledger(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = f"sqlite:///{tmp_path}/a.duckdb.ledger"
    change(start(store=tmp_path / "a.duckdb", ledger=named), store=tmp_path / "b.duckdb")
    change(start(store=tmp_path / "a.duckdb", ledger=MemoryLedger()), store=tmp_path / "b.duckdb")
    assert warnings(caplog) == []


def test_the_ledger_that_is_in_use_may_be_named_and_another_needs_a_new_start(
    start: Callable[..., TokenSpanProcessor], tmp_path: Path
) -> None:
    processor, other = start(store=tmp_path / "a.duckdb"), tmp_path / "b.duckdb"
    for ledger in (f"sqlite:///{other}.ledger", "memory", MemoryLedger()):
        with pytest.raises(atm.ConfigurationError, match="another ledger needs a new start"):
            change(processor, store=other, ledger=ledger)
        assert processor.database == tmp_path / "a.duckdb"
    change(processor, store=other, ledger=f"sqlite:///{tmp_path}/a.duckdb.ledger")
    assert processor.database == other


def test_doctor_looks_at_the_ledger_that_is_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    for name in ("a.duckdb", "b.duckdb"):
        handle = atm.init(provider, store=tmp_path / name, budgets=[BUDGET], guards=False)
    (found,) = [each for each in handle.doctor().findings if each.name == "ledger"]
    handle.shutdown()
    assert str(tmp_path / "a.duckdb.ledger") in found.why
    assert len(warnings(caplog)) == 1
