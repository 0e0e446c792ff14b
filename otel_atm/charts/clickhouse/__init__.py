"""ClickHouse: SQL that gives its tables the columns of `usage_events`; see docs/scale.md.

`usage_events` is a table for rows of a Parquet export, `usage_events_of_spans` a view of what the
collector's ClickHouse exporter has written.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

#: The files, in the order in which they are run.
NAMES: Final = ("usage_events", "model_prices", "usage_events_of_spans")


def read(name: str) -> str:
    """The SQL text of one of `NAMES`: statements that end with a semicolon each.

    Raises:
        ValueError: there is no such file.
    """
    if name not in NAMES:
        raise ValueError(f"{name!r}: expected one of {', '.join(NAMES)}")
    return resources.files(__name__).joinpath(f"{name}.sql").read_text("utf-8")
