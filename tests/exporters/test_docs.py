"""The page of metric points says what the file has."""

from __future__ import annotations

from importlib import resources

import duckdb
import pytest

from tests.docs.pages import DOCS, order_problems, row_problems, section

PAGE = DOCS / "reference" / "metric-points.md"


def columns(relation: str) -> dict[str, tuple[str, ...]]:
    with duckdb.connect() as memory:
        for name in ("schema.sql", "points_schema.sql"):
            schema = resources.files("otel_atm.store").joinpath(name).read_text("utf-8")
            for statement in duckdb.extract_statements(schema):
                memory.execute(statement)
        found = memory.execute(f"describe {relation}").fetchall()
    return {name: (kind,) for name, kind, *_ in found}


@pytest.mark.parametrize("relation", ["metric_points", "metric_changes", "metric_usage_1m"])
def test_every_column_is_on_its_page_in_its_order_and_type(relation: str) -> None:
    expected = columns(relation)
    if relation == "metric_changes":  # the page gives what it has more
        expected = {name: kind for name, kind in expected.items() if name.startswith("added")}
    part = section(PAGE.read_text("utf-8"), f"`{relation}`")
    assert row_problems(expected, part) == []
    assert order_problems(expected, part) == []
