from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from otel_atm.budget import Budget
from otel_atm.cli_budgets import budgets
from otel_atm.ledger import Hold, Key, Line, Shortage
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore

PER_USER = Budget("1000 tokens / day per user")
MONEY = Budget("2 USD / month", name="money")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `otel-atm budgets ARGUMENTS` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ATM_DB", "ATM_LEDGER"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(budgets, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return call


class Program:
    """A program on the ledger beside ``tokens.duckdb``, ticked by hand."""

    def __init__(self, path: Path) -> None:
        self.ledger = LeasedLedger(SqliteStore(path), threaded=False)
        self.ledger.use([PER_USER, MONEY])

    def ask(self, user: str, amount: int) -> Hold | Shortage:
        keys = (Key(PER_USER, (user,)), 0), (Key(MONEY, ()), 4)
        lines = [Line(key, unit, amount, exact=True) for key, unit in keys]
        return self.ledger.admit(self.ledger.claim(lines), time.time_ns())

    def spend(self, user: str, amount: int) -> None:
        hold = self.ask(user, amount)
        assert not isinstance(hold, Shortage)
        self.ledger.settle(hold, (amount, 0, 0, 1, amount))

    def refuses(self, user: str, amount: int) -> bool:
        self.ledger.tick()
        return isinstance(self.ask(user, amount), Shortage)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path / "tokens.duckdb.ledger")
    yield program
    program.ledger.close()


@pytest.fixture
def show(run: Callable[..., Result], program: Program) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        program.ledger.balances(time.time_ns())  # it tells the store by itself, too, a bit later
        rows = json.loads(run("show", "--json").stdout)["budgets"]
        return {row["payer"].get("user", row["budget"]): row for row in rows}

    return call


def test_show_says_what_everybody_has_spent_and_what_is_left(
    run: Callable[..., Result], program: Program, show: Callable[[], dict[str, Any]]
) -> None:
    program.spend("ann", 300)
    program.ask("bob", 200)
    shown = show()
    assert {who: (row["used"], row["held"], row["left"]) for who, row in shown.items()} == {
        "ann": (300, 0, 700),
        "bob": (0, 200, 800),
        "money": (0.0003, 0.0002, 1.9995),
    }
    assert shown["money"]["resets_at"].endswith("+00:00")
    text = run("show").stdout
    assert "1000 tokens / day per user" in text
    assert "user=ann" in text


def test_a_grant_lets_a_running_program_go_on(
    run: Callable[..., Result], program: Program, show: Callable[[], dict[str, Any]]
) -> None:
    program.spend("ann", 1_000)
    assert program.refuses("ann", 400)
    done = run("grant", str(PER_USER), "500", "--payer", "user=ann")
    assert done.stdout == (
        "1000 tokens / day per user: +500 tokens for user=ann in the current window\n"
    )
    assert not program.refuses("ann", 400)
    assert (show()["ann"]["limit"], show()["ann"]["granted"]) == (1_500, 500)


def test_less_than_nothing_takes_away(
    run: Callable[..., Result], program: Program, show: Callable[[], dict[str, Any]]
) -> None:
    program.spend("ann", 300)
    assert run("grant", "money", "-$1", "--unseen").exit_code == 0
    assert show()["money"]["limit"] == 1
    run("grant", str(PER_USER), "-600", "--payer", "user=ann")
    assert program.refuses("ann", 101)
    assert not program.refuses("ann", 100)


def test_a_reset_begins_the_window_again(
    run: Callable[..., Result], program: Program, show: Callable[[], dict[str, Any]]
) -> None:
    program.spend("ann", 1_000)
    program.spend("bob", 700)
    assert run("reset", str(PER_USER), "--payer", "user=ann").exit_code == 0
    assert not program.refuses("ann", 900)
    assert (show()["ann"]["used"], show()["ann"]["held"]) == (0, 900)
    assert show()["bob"]["used"] == 700


def test_who_is_exempt_is_refused_nothing_and_counted(
    run: Callable[..., Result], program: Program, show: Callable[[], dict[str, Any]]
) -> None:
    program.spend("ann", 1_000)
    assert program.refuses("ann", 1)
    assert run("exempt", str(PER_USER), "--payer", "user=ann", "--for", "2h").exit_code == 0
    program.ledger.tick()
    program.spend("ann", 5_000)
    assert (show()["ann"]["used"], show()["ann"]["exempt"]) == (6_000, True)
    assert run("exempt", str(PER_USER), "--payer", "user=ann", "--off").exit_code == 0
    assert program.refuses("ann", 1)
    assert not show()["ann"]["exempt"]


def test_stop_and_resume_reach_a_running_program(
    run: Callable[..., Result], program: Program
) -> None:
    program.spend("ann", 1)
    told: list[bool] = []
    program.ledger.on_stop(told.append)
    for command in ("stop", "resume"):
        assert run(command).exit_code == 0
        program.ledger.tick()
    assert told == [True, False]


def test_a_program_that_starts_later_is_stopped_too(
    run: Callable[..., Result], program: Program, tmp_path: Path
) -> None:
    run("stop")
    assert json.loads(run("show", "--json").stdout)["stopped"]
    later, told = Program(tmp_path / "tokens.duckdb.ledger"), list[bool]()
    later.ledger.on_stop(told.append)
    later.ledger.close()
    assert told == [True]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("grant", "monny", "5"), 1, "no budget 'monny' has been used in this ledger; did you"),
        (("grant", "money", "lots"), 2, "AMOUNT 'lots': expected an amount such as 500"),
        (("grant", "money", "500 tokens"), 2, "'500 tokens': expected an amount of usd"),
        (("grant", str(PER_USER), "5"), 1, "needs --payer user=…; given: none"),
        (("reset", str(PER_USER), "--payer", "user=anne"), 1, "user=anne has spent nothing of"),
        (("reset", str(PER_USER), "--payer", "user=anne"), 1, "did you mean 'user=ann'?"),
        (("reset", "money", "--payer", "user"), 2, "--payer 'user': expected KEY=VALUE"),
        (("exempt", "money", "--for", "soon"), 2, "--for 'soon': expected e.g. 90s"),
        (("exempt", "money", "--for", "99999d"), 2, "'99999d': expected 36500d at most"),
        (
            ("reset", "money", "--payer", "user=ann", "--payer", "user=bob"),
            2,
            "'user=bob': user=ann",
        ),
        (("exempt", "money", "--for", "2h", "--off"), 2, "exclude each other"),
        (
            ("show", "--ledger", "redis://x"),
            2,
            "'redis://x' comes in a later version",
        ),
        (("show", "--ledger", "memory"), 2, "only its own program sees it; expected sqlite:///"),
        (("show", "--ledger", "sqlite:///."), 2, "'sqlite:///.' is a folder; expected a file"),
        (("show", "--db", "other.duckdb"), 1, "other.duckdb.ledger' does not exist"),
    ],
)
def test_what_cannot_be_done_is_quoted(
    run: Callable[..., Result], program: Program, arguments: tuple[str, ...], code: int, said: str
) -> None:
    program.spend("ann", 1)
    result = run(*arguments)
    assert (result.exit_code, said in " ".join(result.stderr.split())) == (code, True), (
        result.stderr
    )


def test_a_ledger_is_found_by_its_url(run: Callable[..., Result], program: Program) -> None:
    program.spend("ann", 1)
    program.ledger.balances(time.time_ns())
    assert "user=ann" in run("show", "--ledger", "sqlite:///tokens.duckdb.ledger").stdout


def test_auto_is_the_ledger_beside_the_file(
    run: Callable[..., Result], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.spend("ann", 1)
    program.ledger.balances(time.time_ns())
    monkeypatch.setenv("ATM_LEDGER", "auto")  # as programs are told
    assert "user=ann" in run("show").stdout


def test_check_reads_a_file(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("budgets:\n  - 500 tokens / minute per user\n")
    assert run("check", "budgets.yaml").stdout == (
        "500 tokens / minute per user (block)\nbudgets.yaml: 1 budget, nothing wrong\n"
    )
    assert json.loads(run("check", "budgets.yaml", "--json").stdout)["ok"]


def test_check_fails_for_a_file_with_mistakes(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("budgets:\n  - 500 tokens / minut per user\n")
    result = run("check", "budgets.yaml")
    assert (result.exit_code, "did you mean 'minute'?" in result.stderr) == (1, True)
    assert not json.loads(run("check", "budgets.yaml", "--json").stdout)["ok"]
    assert run("check", "budgets.yaml", "--json").exit_code == 1
    assert run("check", "nothing.yaml").exit_code == 1
