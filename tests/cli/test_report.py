"""`otel-atm report`: the same for people and for programs, and one sentence when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import otel_atm
from otel_atm.charts.rows import Refusals, Totals, UserModel
from otel_atm.report import Report, next_steps, render
from tests.charts.conftest import FILL, ROLL_UP, make_file
from tests.cli.conftest import Run

ROOT = Path(otel_atm.__file__).parents[1]
TEXT = """\
Totals
  when      01 Jan 2026, 10:00:05 to 11:00:00 UTC (60 min)
  calls     5 sent, 1 of them failed; 4 refused before sending
  tokens    440 = 322 in + 118 out
  of these  40 read from a cache, 20 reasoning; 4.5 % estimated
  cost      0.7500 USD; 30 tokens of models whose price is not known

By user and model
  team  user  model  calls  refused   in  cached  out  tokens     USD
  ───────────────────────────────────────────────────────────────────
  ml    ann   gpt-5      2        3  300      40  110     410  0.7500
        ben   haiku      1        0   10       0    0      10       –
  ops   cid   haiku      1        1    7       0    3      10       –
  –     –     –          1        0    5       0    5      10       –
  ───────────────────────────────────────────────────────────────────
  all                    5        4  322      40  118     440  0.7500

Refused before sending
  budget  team  user  refused  last, UTC
  ────────────────────────────────────────────
  B1      ml    ann         3  01 Jan 10:01:30
  B2      ops   cid         1  01 Jan 10:59:59

"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return make_file(tmp_path / "tokens.duckdb", FILL, ROLL_UP)


def test_it_says_who_spent_what_and_who_was_refused(run: Run, file: Path) -> None:
    result = run("report")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(TEXT)
    assert str(file) in result.stdout
    assert "report --db tokens.duckdb\n" in result.stdout


def test_json_has_the_same_under_keys_that_stay(run: Run, file: Path) -> None:
    said = json.loads(run("report", "--json").stdout)
    assert list(said) == ["database", "totals", "by_user_model", "refusals"]
    assert said["database"] == str(file)
    assert said["totals"] == {
        "calls": 5,
        "refused": 4,
        "failed": 1,
        "input_tokens": 322,
        "output_tokens": 118,
        "cache_read_tokens": 40,
        "cache_write_tokens": 10,
        "reasoning_tokens": 20,
        "total_tokens": 440,
        "estimated_tokens": 20,
        "cost_usd": 0.75,
        "unpriced_tokens": 30,
        "users": 3,
        "first_ts": "2026-01-01T10:00:05Z",
        "last_ts": "2026-01-01T11:00:00Z",
    }
    assert said["by_user_model"][0] == {
        "team": "ml",
        "user_id": "ann",
        "model": "gpt-5",
        "calls": 2,
        "refused": 3,
        "input_tokens": 300,
        "output_tokens": 110,
        "cache_read_tokens": 40,
        "total_tokens": 410,
        "estimated_tokens": 0,
        "cost_usd": 0.75,
    }
    assert said["refusals"][1] == {
        "budget": "B2",
        "team": "ops",
        "user_id": "cid",
        "refused": 1,
        "last_ts": "2026-01-01T10:59:59Z",
    }


def test_the_file_is_named_by_the_option_before_the_environment(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.rename(file.with_name("a.duckdb"))
    monkeypatch.setenv("ATM_DB", "a.duckdb")
    assert run("report").exit_code == 0
    assert "'b.duckdb' does not exist" in run("report", "--db", "b.duckdb").stderr


def test_a_file_without_calls_is_no_error(run: Run, tmp_path: Path) -> None:
    make_file(tmp_path / "tokens.duckdb")
    result = run("report")
    assert result.exit_code == 0
    assert result.stdout.startswith("No calls yet\n")
    assert json.loads(run("report", "--json").stdout)["totals"]["first_ts"] is None


def test_no_file_is_one_line_and_exit_code_1(run: Run) -> None:
    result = run("report")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: 'tokens.duckdb' does not exist")
    assert result.stderr.count("\n") == 1


def test_a_file_of_another_program_is_named_as_such(run: Run, tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "tokens.duckdb") as connection:
        connection.execute("create table mine as select 1 as one")
    result = run("report")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the DuckDB file has no usage_events: it was not written by otel-atm\n"
    )


def test_what_is_no_duckdb_file_is_an_error_without_a_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tokens.duckdb").write_text("these are no tokens")
    result = run("report")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "tokens.duckdb" in result.stderr


def test_a_folder_is_an_error_of_usage(run: Run, tmp_path: Path) -> None:
    assert run("report", "--db", str(tmp_path)).exit_code == 2
    assert run("report", "--nonsense").exit_code == 2


def test_a_long_table_ends_with_the_sum_of_the_rest() -> None:
    moment = datetime(2026, 1, 1)
    users = [UserModel("ml", f"u{n:03d}", "m", 1, 0, n, 0, 0, n, 0, 0.5) for n in range(100)]
    refused = [Refusals("B", "ml", f"u{n:03d}", 2, moment) for n in range(50)]
    totals = Totals(100, 100, 0, 4950, 0, 0, 0, 0, 4950, 0, 50.0, 0, 100, moment, moment)
    lines = render(Report("x", totals, users, refused)).splitlines()
    more = [line.split() for line in lines if " more" in line]
    assert more == [
        ["60", "more", "60", "0", "1,770", "0", "0", "1,770", "30.0000"],
        ["10", "more", "20"],
    ]
    assert any(line.split()[:3] == ["u099", "m", "1"] for line in lines)  # the heaviest is there


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=8), "(8 s)"),
        (timedelta(hours=3), "(3 h)"),
        (timedelta(days=40), "(40 days)"),
    ],
)
def test_it_says_how_long_it_covers(length: timedelta, said: str) -> None:
    first = datetime(2026, 1, 1)
    totals = Totals(1, 0, 0, 1, 0, 0, 0, 0, 1, 0, None, 1, 1, first, first + length)
    assert said in render(Report("x", totals, [], []))


def test_it_says_when_no_price_is_known() -> None:
    moment = datetime(2026, 1, 1)
    users = [UserModel("ml", "ann", "own", 1, 0, 1, 0, 0, 1, 0, None)]
    totals = Totals(1, 0, 0, 1, 0, 0, 0, 0, 1, 0, None, 1, 1, moment, moment)
    lines = render(Report("x", totals, users, [])).splitlines()
    assert "  cost      not known: no price is known of these models" in lines
    rows = [line.split() for line in lines if line.startswith(("  ml ", "  all "))]
    assert [row[-1] for row in rows] == ["–", "–"]


def test_it_fits_a_narrow_terminal() -> None:
    moment = datetime(2026, 1, 1)
    users = [UserModel("t" * 40, "u" * 40, "m" * 40, 1, 0, 1, 1, 0, 2, 0, 0.00001)]
    totals = Totals(1, 0, 0, 1, 1, 0, 0, 0, 2, 0, 0.00001, 0, 1, moment, moment)
    text = render(Report("x", totals, users, []), width=80)
    assert max(map(len, text.splitlines())) <= 80


def test_the_query_it_suggests_runs_in_a_shell(tmp_path: Path) -> None:
    path = make_file(tmp_path / "it's $HOME.duckdb", FILL, ROLL_UP)
    (command,) = (each for each in next_steps.commands(str(path)).values() if " -c " in each)
    command = f"{sys.executable} -c {command.partition(' -c ')[2]}"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "gpt-5" in done.stdout


def test_a_real_process_reports(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "otel_atm.cli", "report"],
        env={**os.environ, "ATM_DB": str(file), "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(TEXT)
