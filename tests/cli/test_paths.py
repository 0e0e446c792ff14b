"""Stores under names that a shell, SQL or DuckDB itself might take for something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
