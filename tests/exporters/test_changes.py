"""What points added: of cumulative series and of deltas, over restarts, each amount once."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

#: (value since the start, nanoseconds of its start, or None) of each point of one series
Points = list[tuple[float, int | None]]


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """The relations of a store, in memory."""
    connection = duckdb.connect()
    for name in ("schema.sql", "points_schema.sql"):
        text = resources.files("otel_atm.store").joinpath(name).read_text("utf-8")
        for statement in text.split(";\n"):
            if statement.strip():
                connection.execute(statement)
    yield connection
    connection.close()


class Table:
    """Points of one meter, a second apart."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database, self._second = database, 0
        database.execute("delete from metric_points")

    def add(self, value: float | None, start_s: int | None = 0, **columns: Any) -> None:
        self._second += 1
        row = {
            "kind": "sum",
            "temporality": "cumulative",
            "series": "s",
            "writer": "w",
            "name": "n",
            "monotonic": True,
            "value": value,
            **columns,
        }
        places = ", ".join(f"${name}" for name in row)
        self._database.execute(
            "insert into metric_points (time, start_time, "
            f"{', '.join(row)}) values (make_timestamp(1000000 * $second::bigint), "
            f"make_timestamp(1000000 * $start::bigint), {places})",
            {**row, "second": self._second, "start": start_s},
        )

    def added(self, column: str = "added") -> list[float]:
        found = self._database.execute(f"select {column} from metric_changes order by time")
        return [value for (value,) in found.fetchall()]


@pytest.fixture
def table(database: duckdb.DuckDBPyConnection) -> Table:
    return Table(database)


def test_a_cumulative_series_adds_its_differences(table: Table) -> None:
    for value in (3, 3, 10):
        table.add(value)
    assert table.added() == [3, 0, 7]


def test_deltas_add_themselves(table: Table) -> None:
    for value in (3, 0, 7):
        table.add(value, temporality="delta")
    assert table.added() == [3, 0, 7]


def test_a_restart_begins_at_zero(table: Table) -> None:
    table.add(10, start_s=1)
    table.add(4, start_s=2)
    table.add(12, start_s=2)
    assert table.added() == [10, 4, 8]


def test_a_value_that_falls_is_a_restart_that_nobody_said(table: Table) -> None:
    table.add(10)
    table.add(4)
    assert table.added() == [10, 4]


def test_of_a_series_whose_start_is_unknown_the_first_value_is_no_addition(table: Table) -> None:
    table.add(10, start_s=None)
    table.add(14, start_s=None)
    assert table.added() == [0, 4]


def test_processes_that_report_alike_are_told_apart(table: Table) -> None:
    table.add(10, writer="a")
    table.add(3, writer="b")
    table.add(11, writer="a")
    table.add(5, writer="b")
    assert table.added() == [10, 3, 1, 2]


def test_histograms_add_their_sum_and_their_count(table: Table) -> None:
    for total, count in ((5, 1), (9, 3)):
        table.add(None, kind="histogram", monotonic=None, sum=total, count=count)
    assert (table.added(), table.added("added_count")) == ([5, 4], [1, 2])


@pytest.mark.parametrize(
    "columns",
    [
        {"kind": "gauge", "temporality": None, "monotonic": None},
        {"monotonic": False},
        {"value": float("nan")},
        {"value": float("inf")},
    ],
    ids=["gauge", "up and down", "no number", "infinite"],
)
def test_what_does_not_add_up_adds_nothing(table: Table, columns: dict[str, Any]) -> None:
    table.add(**{"value": 5, **columns})
    assert table.added() == []


@settings(max_examples=20)
@given(runs=st.lists(st.lists(st.integers(0, 10**9), max_size=5), max_size=4), delta=st.booleans())
def test_all_that_was_counted_is_added_once(
    database: duckdb.DuckDBPyConnection, runs: list[list[int]], delta: bool
) -> None:
    table = Table(database)
    for start_s, counted in enumerate(runs):
        total = 0
        for amount in counted:
            total += amount
            temporality = "delta" if delta else "cumulative"
            table.add(amount if delta else total, start_s, temporality=temporality)
    assert table.added() == [amount for counted in runs for amount in counted]
