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
from otel_atm.ledger.definitions import definition
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


DAY_NS = 86_400 * 10**9
BY_DAY = Budget("1000 tokens / day per user", name="limits")
BY_MONTH = Budget("9000 tokens / month per user", name="limits")
IN_BERLIN = Budget("1000 tokens / day per user", tz="Europe/Berlin")


def spend_of(budget: Budget, path: Path, amount: int, now_ns: int) -> None:
    """A program with this budget spends, and ends."""
    ledger = LeasedLedger(SqliteStore(path), threaded=False)
    ledger.use([budget])
    hold = ledger.admit(ledger.claim([Line(Key(budget, ("ann",)), 0, amount, exact=True)]), now_ns)
    assert not isinstance(hold, Shortage)
    ledger.settle(hold, (amount,))
    ledger.close()


class TestANameWhoseWindowHasChanged:
    """Its accounts of before lie in the ledger, too."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "tokens.duckdb.ledger"

    @pytest.fixture
    def both(self, path: Path) -> None:
        """Used in windows that are both current: nobody can tell which is in force."""
        for budget, amount in ((BY_DAY, 300), (BY_MONTH, 40)):
            spend_of(budget, path, amount, time.time_ns())

    def amounts(self, run: Callable[..., Result], *more: str) -> dict[str, tuple[int, int]]:
        """Of each definition: used, and limit with grants."""
        rows = json.loads(run("show", "--json", *more).stdout)["budgets"]
        return {row["definition"]: (row["used"], row["limit"]) for row in rows}

    def test_is_shown_with_both_definitions(self, run: Callable[..., Result], both: None) -> None:
        shown = run("show").stdout
        assert "limits: 1000 tokens / day per user (tz=UTC)\n" in shown
        assert "limits: 9000 tokens / month per user (tz=UTC)\n" in shown

    @pytest.mark.parametrize(
        "command", [("grant", "limits", "50"), ("reset", "limits"), ("exempt", "limits")]
    )
    def test_is_an_error_that_says_how_to_choose_and_changes_nothing(
        self, run: Callable[..., Result], both: None, command: tuple[str, ...]
    ) -> None:
        before = self.amounts(run)
        found = run(*command, "--payer", "user=ann")
        assert found.exit_code == 1
        assert found.stderr == (
            "Error: 'limits' is the name of 2 budgets in this ledger, and nothing says which is in "
            "force: 'limits: 1000 tokens / day per user (tz=UTC)', 'limits: 9000 tokens / month "
            "per user (tz=UTC)'; give one of these texts in its place, or the file that says it: "
            "--budgets FILE\n"
        )
        assert self.amounts(run) == before

    @pytest.mark.parametrize("budget", [BY_DAY, BY_MONTH], ids=["day", "month"])
    def test_is_chosen_by_its_definition(
        self, run: Callable[..., Result], both: None, budget: Budget
    ) -> None:
        before, chosen = self.amounts(run), definition(budget)
        assert run("grant", chosen, "50", "--payer", "user=ann").exit_code == 0
        used, limit = before[chosen]
        assert self.amounts(run) == before | {chosen: (used, limit + 50)}
        assert run("reset", chosen, "--payer", "user=ann").exit_code == 0
        assert self.amounts(run) == before | {chosen: (0, budget.cap)}

    @pytest.mark.parametrize("budget", [BY_DAY, BY_MONTH], ids=["day", "month"])
    def test_is_chosen_by_the_file_that_is_in_force(
        self, run: Callable[..., Result], both: None, tmp_path: Path, budget: Budget
    ) -> None:
        file = tmp_path / "budgets.yaml"
        file.write_text(f"budgets: [{{text: {budget}, name: limits}}]\n")
        before = self.amounts(run)
        said = ("--budgets", str(file))
        assert self.amounts(run, *said) == {definition(budget): before[definition(budget)]}
        assert run("grant", "limits", "50", "--payer", "user=ann", *said).exit_code == 0
        used, limit = before[definition(budget)]
        assert self.amounts(run) == before | {definition(budget): (used, limit + 50)}
        assert "limits\n" in run("show", *said).stdout

    def test_of_which_nothing_was_spent_as_the_file_has_it_is_an_error(
        self, run: Callable[..., Result], path: Path, tmp_path: Path
    ) -> None:
        spend_of(BY_DAY, path, 300, time.time_ns())
        file = tmp_path / "budgets.yaml"
        file.write_text(f"budgets: [{{text: {BY_MONTH}, name: limits}}]\n")
        found = run("grant", "limits", "50", "--payer", "user=ann", "--budgets", str(file))
        assert found.exit_code == 1
        assert found.stderr == (
            "Error: nothing has been spent yet of the budget 'limits' that is in force; in this "
            "ledger is 'limits: 1000 tokens / day per user (tz=UTC)'\n"
        )

    @pytest.mark.parametrize("first", [BY_DAY, BY_MONTH], ids=["day-first", "month-first"])
    def test_is_the_one_that_was_used_in_a_later_window_whichever_was_made_first(
        self, run: Callable[..., Result], path: Path, first: Budget
    ) -> None:
        now_ns, then_ns = time.time_ns(), time.time_ns() - 40 * DAY_NS
        for budget in (first, BY_MONTH if first is BY_DAY else BY_DAY):
            spend_of(budget, path, 10, now_ns if budget is BY_DAY else then_ns)
        assert run("grant", "limits", "50", "--payer", "user=ann").exit_code == 0
        assert self.amounts(run) == {definition(BY_DAY): (10, 1050)}
        assert "limits\n" in run("show").stdout

    def test_a_text_is_a_name_too(self, run: Callable[..., Result], path: Path) -> None:
        unnamed = Budget("1000 tokens / day per user")
        for budget in (unnamed, IN_BERLIN):
            spend_of(budget, path, 10, time.time_ns())
        found = run("reset", str(unnamed), "--payer", "user=ann")
        assert "(tz=UTC)', '1000 tokens / day per user (tz=Europe/Berlin)'" in found.stderr
        for budget in (unnamed, IN_BERLIN):
            assert run("reset", definition(budget), "--payer", "user=ann").exit_code == 0
        assert self.amounts(run) == {
            definition(unnamed): (0, 1000),
            definition(IN_BERLIN): (0, 1000),
        }
