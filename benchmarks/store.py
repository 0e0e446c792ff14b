"""The store: drains against DuckDB's own Arrow insert, roll-ups against events."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow

import otel_atm as atm
from benchmarks import spooled
from otel_atm.store.drain import create, drain
from otel_atm.store.opening import opened, statements
from otel_atm.store.paths import StorePaths

#: At least so many times as fast; tests assert half of it, since machines are noisy.
LEAST: Final = {
    "drain, events only": 2.0,
    "drain with roll-ups": 1.0,
    "hour × model": 10.0,
    "top users": 10.0,
    "cost by team": 10.0,
    "tokens by local day": 10.0,
}
#: Rows that a program inserts by Arrow at once: more of them would wait where a kill loses them.
ARROW_ROWS: Final = 5_000
#: At most.
MOST: Final = {"MB of file for 1,000,000 events": 80.0, "MB at the peak of a drain": 500.0}

#: What a panel asks of the roll-up, and the same of the events.
PANELS: Final = {
    "hour × model": (
        "select bucket, model, sum(total_tokens) from usage_1h group by all",
        "select date_trunc('hour', ts), model, sum(total_tokens) from usage_events group by all",
    ),
    "top users": (
        "select user_id, sum(total_tokens) from usage_1h group by 1 order by 2 desc limit 20",
        "select user_id, sum(total_tokens) from usage_events group by 1 order by 2 desc limit 20",
    ),
    "cost by team": (
        "select team, sum(cost_usd) from usage_1h group by all",
        "select team, sum(cost_usd) from usage_events group by all",
    ),
    "tokens by local day": (
        "select day, sum(total_tokens) from usage_by_day('Asia/Tokyo') group by all",
        "select local_time(ts, 'Asia/Tokyo')::date, sum(total_tokens) from usage_events group by 1",
    ),
}


def _timed(run: Callable[[], object]) -> float:
    """CPU seconds of all threads: others load the machine, too."""
    started = time.process_time()
    run()
    return time.process_time() - started


def _insert_arrow(
    place: Path, rows: Sequence[tuple[Any, ...]], schema: pyarrow.Schema, at_once: int
) -> None:
    """What a program does that has rows: make tables of so many of them, and insert each."""
    path = place / "arrow.duckdb"
    path.unlink(missing_ok=True)
    create(StorePaths.of(path))
    with duckdb.connect(path) as connection:
        for start in range(0, len(rows), at_once):
            columns = zip(*rows[start : start + at_once], strict=True)
            arrays = [
                pyarrow.array(column, field.type)
                for column, field in zip(columns, schema, strict=True)
            ]
            connection.register("given", pyarrow.table(arrays, schema=schema))
            connection.execute(
                "insert into usage_events "
                "select * replace (attributes::json::variant as attributes) from given"
            )


def _drain(place: Path, spool: Path) -> float:
    """All of it: rows, roll-ups, the names of the segments; and their files are deleted."""
    paths = StorePaths.of(place / "drained.duckdb")
    paths.database.unlink(missing_ok=True)
    shutil.copytree(spool, paths.spool, dirs_exist_ok=True)
    return _timed(lambda: drain(paths))


def _drain_events(place: Path, spool: Path) -> None:
    """As far as the rows."""
    path = place / "events.duckdb"
    path.unlink(missing_ok=True)
    segments = sorted(str(segment) for segment in spool.iterdir())
    with opened(path) as connection:
        connection.begin()
        connection.execute("set variable segments = ?::varchar[]", [segments])
        for name in ("read_segments.sql", "find_repeats.sql", "insert_events.sql"):
            for statement in statements(name):
                connection.execute(statement)
        connection.commit()


def drained(place: Path, rows: int = 200_000, rounds: int = 3) -> dict[str, float]:
    """How many times as fast as Arrow, from Python's tuples; medians of interleaved rounds.

    The last figures compare with Arrow at its best, which has all rows in memory and commits once.
    """
    spool = spooled.write(place / "source.duckdb", rows).spool
    _drain(place, spool)
    with atm.connect(place / "drained.duckdb") as db:
        table = db.sql(
            "select * replace (attributes::json as attributes) from usage_events"
        ).to_arrow_table()
    tuples = list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def insert(at_once: int) -> None:
        _insert_arrow(place, tuples, table.schema, at_once)

    took: dict[str, list[float]] = {"arrow": [], "at once": [], "events": [], "all": []}
    for _ in range(rounds):
        took["arrow"].append(_timed(lambda: insert(ARROW_ROWS)))
        took["at once"].append(_timed(lambda: insert(rows)))
        took["events"].append(_timed(lambda: _drain_events(place, spool)))
        took["all"].append(_drain(place, spool))
    arrow, at_once, events, everything = (statistics.median(times) for times in took.values())
    return {
        "drain, events only": arrow / events,
        "drain with roll-ups": arrow / everything,
        "events only, Arrow in one transaction": at_once / events,
        "with roll-ups, Arrow in one transaction": at_once / everything,
        "rows a second, with roll-ups": rows / everything,
    }


_PEAK: Final = """
import resource, sys
from otel_atm.store.drain import drain
from otel_atm.store.paths import StorePaths
drain(StorePaths.of(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def sizes(place: Path, rows: int = 1_000_000) -> dict[str, float]:
    """What a drain takes of memory, and its rows in the file."""
    paths = spooled.write(place / "sizes.duckdb", rows)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(paths.database)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "MB of file for 1,000,000 events": paths.database.stat().st_size / rows,
        "MB at the peak of a drain": int(done.stdout) * 1_024 / 1e6,
    }


def fill(database: Path, rows: int) -> None:
    """A file of a month, by way of SQL: spooling it would take minutes."""
    with opened(database) as connection:
        connection.execute(
            """
            create temp table incoming as
            select
                format('0193{:032d}', n) as event_id,
                '2026-01-01'::timestamp + to_microseconds(n * (30 * 86_400_000_000 // $rows)) as ts,
                (n * 7919) % 400 as u,
                md5(n::varchar) as trace_id, md5((n + 1)::varchar)[:16] as span_id,
                50 + (n * 104_729) % 8_000 as input_tokens,
                (n * 1_299_709) % 2_000 as output_tokens,
                (n * 31) % 5 as m
            from range($rows) as given(n)
            """.replace("$rows", str(rows))
        )
        connection.execute(
            """
            insert into usage_events by name
            select
                event_id, ts, trace_id, span_id, 1_000_000 + input_tokens * 300 as duration_us,
                'bot' as app, 'prod' as env, 't' || u % 8 as team, 'user-' || u as user_id,
                'session-' || (u * 1_000 + hour(ts)) as session_id, 'openai' as provider,
                'model-' || m as model, 'chat' as operation, 'ok' as status, 'allowed' as decision,
                1 as calls, 1 as attempts, input_tokens, output_tokens, 0 as cache_read_tokens,
                0 as cache_write_tokens, 0 as reasoning_tokens,
                input_tokens + output_tokens as total_tokens,
                input_tokens / 1e6 as cost_usd, false as estimated, 'span' as source, [] as tags,
                0 as revision
            from incoming
            """
        )
        connection.execute("drop table incoming")
        for unit, view in (("minute", "1m"), ("hour", "1h")):
            connection.execute(
                f"""
                insert into usage_{view} by name
                select
                    date_trunc('{unit}', ts) as bucket, app, env, team, user_id, provider, model,
                    operation, status, decision, sum(calls) as calls, sum(attempts) as attempts,
                    sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens,
                    sum(cache_read_tokens) as cache_read_tokens,
                    sum(cache_write_tokens) as cache_write_tokens,
                    sum(reasoning_tokens) as reasoning_tokens, sum(total_tokens) as total_tokens,
                    sum(cost_usd) as cost_usd
                from usage_events group by all order by bucket
                """
            )


def panels(place: Path, rows: int = 10_000_000, rounds: int = 5) -> dict[str, float]:
    """How many times as fast the roll-ups answer; both within DuckDB, warm."""
    database = place / "month.duckdb"
    fill(database, rows)
    ratios = {}
    with duckdb.connect(database, read_only=True) as connection:
        for name, (rolled, raw) in PANELS.items():
            both = [lambda sql=sql: connection.execute(sql).fetchall() for sql in (rolled, raw)]
            for run in both:
                run()
            took = [[_timed(run) for run in both] for _ in range(rounds)]
            fast, slow = (statistics.median(times) for times in zip(*took, strict=True))
            ratios[name] = slow / fast
    return ratios
