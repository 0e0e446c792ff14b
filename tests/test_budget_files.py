"""Budgets from a file, which may change while the program runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.faces import TokenSpanProcessor
from otel_atm.testing import ManualClock


class Program:
    """A processor whose budgets come from a file."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.processor = TokenSpanProcessor(path, clock=clock)
        self._edits = 0

    def write(self, text: str) -> None:
        """Change the file, and let the program look at it."""
        self._edits += 1
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, ns=(self._edits, self._edits))
        watch = self.processor._assembly._watch
        assert watch is not None
        watch.check()

    @property
    def labels(self) -> list[str]:
        return [budget.label for budget in self.processor._gate.budgets]

    def spend(self, tokens: int) -> None:
        with self.processor.admit(tokens=tokens) as call:
            call.settle(input_tokens=tokens)


@pytest.fixture
def program(tmp_path: Path, clock: ManualClock) -> Iterator[Program]:
    path = tmp_path / "budgets.yaml"
    path.write_text("budgets: [500 tokens / day]\n", encoding="utf-8")
    running = Program(path, clock)
    yield running
    running.processor.retire()


def test_a_path_is_a_file_of_budgets(program: Program) -> None:
    assert program.labels == ["500 tokens / day"]


def test_what_it_says_later_holds_for_the_next_call_and_what_was_spent_stays(
    program: Program,
) -> None:
    program.spend(450)
    with pytest.raises(atm.TokenQuotaExceeded):
        program.spend(100)
    program.write("budgets: [600 tokens / day]\n")
    program.spend(100)
    assert [(one.used, one.limit) for one in program.processor.budgets()] == [(550, 600)]


def test_a_bad_new_file_keeps_the_old_budgets_and_says_so(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="otel_atm"):
        program.write("budgets:\n  - 600 tokns / day\n")
    assert program.labels == ["500 tokens / day"]
    (record,) = caplog.records
    assert "budgets.yaml:2" in record.message
    assert "the budgets stay as they were" in record.message
    assert program.processor._gate.trouble.counts == {"budget_file": 1}


def test_its_kill_switch_stops_every_call(program: Program) -> None:
    program.write("stop: true\nbudgets: [500 tokens / day]\n")
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)
    program.write("budgets: [500 tokens / day]\n")
    program.spend(1)


def test_also_in_a_file_with_mistakes(program: Program) -> None:
    program.write("stop: true\nbudgets: [500 tokns / day]\n")
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)


def test_a_file_that_is_gone_changes_nothing(program: Program) -> None:
    program.path.unlink()
    watch = program.processor._assembly._watch
    assert watch is not None
    watch.check()
    assert program.labels == ["500 tokens / day"]


def test_other_budgets_may_take_its_place(program: Program) -> None:
    program.processor.set_budgets(["9 tokens / day"])
    assert program.labels == ["9 tokens / day"]
    assert program.processor._assembly._watch is None


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(atm.BudgetError, match=r"nothing\.yaml"):
        TokenSpanProcessor(str(tmp_path / "nothing.yaml"))
