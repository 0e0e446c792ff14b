"""Report: the values that are reported, out of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_atm.charts import queries
from otel_atm.charts.rows import Refusals, Totals, UserModel
from otel_atm.faces import connect


@dataclass(frozen=True, slots=True)
class Report:
    """What the report says.

    Attributes:
        path: of the DuckDB file, as it was given.
        totals: of all calls.
        by_user_model: by team, user and model.
        refusals: by budget, team and user.
    """

    path: str
    totals: Totals
    by_user_model: list[UserModel]
    refusals: list[Refusals]


def read(path: str | os.PathLike[str]) -> Report:
    """Ask a store.

    Args:
        path: of the DuckDB file.

    Raises:
        StoreError: there is no such file, or it is not one of otel-atm.
    """
    with connect(path) as db:
        return Report(
            os.fspath(path), queries.totals(db), queries.by_user_model(db), queries.refusals(db)
        )


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs: JSON values under keys that stay. Times are ISO 8601 in UTC."""
    return {
        "database": str(Path(report.path).absolute()),
        "totals": _object(report.totals),
        "by_user_model": [_object(row) for row in report.by_user_model],
        "refusals": [_object(row) for row in report.refusals],
    }


def _object(row: Totals | UserModel | Refusals) -> dict[str, Any]:
    return {
        key: f"{value.isoformat()}Z" if isinstance(value, datetime) else value
        for key, value in row._asdict().items()
    }
