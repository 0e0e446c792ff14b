"""Stores under any name, and files that are none."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import otel_atm as atm
from tests.cli.conftest import Run
from tests.cli.test_commands import spool_calls

NAMES = [
    "q'uo\"te.duckdb",
    "two\nlines.duckdb",
    "üñí 😀.duckdb",
    "glob[a-z]*?.duckdb",
    "%41;x=1.duckdb",
    "-x.duckdb",
    "pg_catalog.duckdb",
    "information_schema.duckdb",
    "temp.duckdb",
    "plain",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_works_on_a_file_of_any_name(run: Run, tmp_path: Path, name: str) -> None:
    for _ in range(2):  # the first makes the file, the second finds it
        spool_calls(tmp_path / name, 1)
        assert run("drain", f"--db={name}").stdout == f"1 row taken into {name}\n"
    for command in (
        ("compact",),
        ("export", f"--parquet=archive of {name}"),
        ("prune", "--events", "9y"),
        ("forget", "--user", "ann", "--yes"),
    ):
        ran = run(*command, f"--db={name}")
        assert (ran.exit_code, ran.stderr) == (0, "")
    assert json.loads(run("report", f"--db={name}", "--json").stdout)["totals"]["calls"] == 2


COMMANDS = [
    ("report",),
    ("drain",),
    ("compact",),
    ("prune", "--events", "1d"),
    ("export", "--parquet", "archive"),
    ("forget", "--user", "ann", "--yes"),
]


def _text(path: Path) -> None:
    path.write_text("user,tokens\nann,11\n")


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table users (name text)")
    connection.close()


def _foreign(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("create table users (name text)")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.touch, "it is not a valid DuckDB database file"),
        (_text, "it is not a valid DuckDB database file"),
        (_sqlite, "it is a SQLite file; expected a DuckDB file"),
        (_foreign, "was not written by otel-atm"),
    ],
)
def test_a_file_that_is_no_store_is_left_as_it_is(
    run: Run, tmp_path: Path, command: tuple[str, ...], make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "tokens.duckdb")
    before = (tmp_path / "tokens.duckdb").read_bytes()
    ran = run(*command)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert re.fullmatch(rf"Error: .*({said}).*\n", ran.stderr)
    assert (tmp_path / "tokens.duckdb").read_bytes() == before


@pytest.mark.parametrize("path", ["", "."])
@pytest.mark.parametrize("command", [*COMMANDS, ("drain",), ("doctor",), ("budgets", "show")])
def test_an_empty_path_and_a_folder_are_wrong_calls(
    run: Run, command: tuple[str, ...], path: str
) -> None:
    ran = run(*command, f"--db={path}")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert f"'{path}'" in ran.stderr


def test_an_export_that_cannot_be_made_makes_no_folder(run: Run, tmp_path: Path) -> None:
    _foreign(tmp_path / "tokens.duckdb")
    run("export", "--parquet", "archive")
    assert not (tmp_path / "archive").exists()


def test_what_duckdb_finds_damaged_is_one_sentence(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tokens.duckdb"
    spool_calls(path, 1)
    run("drain")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    ran = run("report")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*Could not read enough bytes from file.*\n", ran.stderr)


def test_what_the_system_refuses_names_the_path(run: Run, tmp_path: Path) -> None:
    spool_calls(tmp_path / "tokens.duckdb", 1)
    ran = run("export", "--parquet", "tokens.duckdb/archive")
    assert (ran.exit_code, ran.stderr) == (1, "Error: tokens.duckdb/archive: Not a directory\n")


def test_a_path_that_duckdb_cannot_open_is_refused_at_once(run: Run) -> None:
    ran = run("report", "--db=b\udcffd.duckdb")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "'b\\udcffd.duckdb': expected a path in UTF-8" in ran.stderr
    with pytest.raises(atm.ConfigurationError, match="is not UTF-8; DuckDB cannot open it"):
        atm.Store(os.fsdecode(b"b\xffd.duckdb"))
    with pytest.raises(atm.ConfigurationError, match="expected the path of a DuckDB file"):
        atm.Store("b\0d.duckdb")
