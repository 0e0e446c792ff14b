"""Budgets from a file, which may change while the program runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
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

    def write(self, text: str, *, anew: bool = False) -> None:
        """Change the file, or put another one in its place, and let the program look at it."""
        self._edits += 1
        if anew:
            self.path.unlink(missing_ok=True)
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, ns=(self._edits, self._edits))
        self.look()

    def look(self) -> None:
        for watch in self.processor._assembly._files.watches:
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


def put_nothing(path: Path) -> None:
    """Only the file is gone."""


def put_a_circle_of_links(path: Path) -> None:
    path.symlink_to(path.name)


def put_a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (put_nothing, "No such file or directory"),
        (put_a_circle_of_links, "Too many levels of symbolic links"),
        (put_a_folder, "Is a directory"),
    ],
)
def test_a_file_that_is_gone_changes_nothing_and_is_told_once_until_it_is_back(
    program: Program,
    put: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program.write("stop: true\nbudgets: [500 tokens / day]\n")
    program.path.rename(program.path.with_name("kept"))
    put(program.path)
    for _ in range(3):
        program.look()
    assert program.labels == ["500 tokens / day"]
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)
    (gone,) = caplog.records
    assert str(program.path) in gone.message
    assert reason in gone.message
    assert "the budgets stay as they were" in gone.message
    assert program.processor._gate.trouble.counts == {"budget_file": 1}
    if program.path.is_dir():
        program.path.rmdir()
    program.write("budgets: [600 tokens / day]\n", anew=True)
    program.look()
    program.spend(1)
    assert program.labels == ["600 tokens / day"]
    assert caplog.records[1:][0].levelno == logging.WARNING
    assert caplog.messages[1:] == [f"otel-atm: {program.path} can be used again: 1 budgets"]


def test_other_budgets_may_take_its_place(program: Program) -> None:
    program.processor.set_budgets(["9 tokens / day"])
    assert program.labels == ["9 tokens / day"]
    assert program.processor._assembly._files.watches == []


STOP = "stop: true\nbudgets: [500 tokens / day]\n"
GO_ON = "budgets: [500 tokens / day]\n"


@pytest.mark.parametrize("text", [STOP, "stop: true\nbudgets: [500 tokns / day]\n"])
def test_a_program_that_takes_other_budgets_does_not_lift_an_operators_stop(
    program: Program, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    program.write(text)
    program.processor.set_budgets(["9 tokens / day"])
    program.processor.set_budgets(["8 tokens / day"])
    program.processor.resume()
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)
    (said,) = [each for each in caplog.messages if "stops all calls until" in each]
    assert str(program.path) in said
    program.path.write_text("stop: true\n# still\n")
    program.look()
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)
    program.path.write_text(GO_ON)
    program.look()
    program.spend(1)
    assert program.labels == ["8 tokens / day"]
    assert program.processor._assembly._files.watches == []


def test_nor_one_that_takes_them_from_another_file(program: Program, tmp_path: Path) -> None:
    program.write(STOP)
    (other := tmp_path / "other.yaml").write_text("budgets: [9 tokens / day]\n")
    program.processor.set_budgets(other)
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)
    program.processor.set_budgets(program.path)
    program.write(GO_ON)
    program.spend(1)
    assert len(program.processor._assembly._files.watches) == 1


def test_a_limit_that_is_added_does_not_lift_the_stop_of_a_file_with_mistakes(
    program: Program,
) -> None:
    program.write("stop: true\nbudgets: [500 tokns / day]\n")
    processor = program.processor
    processor.configure(processor.settings.limited((atm.Budget("5 requests / day"),)))
    with pytest.raises(atm.TokenQuotaExceeded, match="stopped"):
        program.spend(1)


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(atm.BudgetError, match=r"nothing\.yaml"):
        TokenSpanProcessor(str(tmp_path / "nothing.yaml"))
