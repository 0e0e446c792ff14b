"""A file that an older version wrote: it is brought to this one, or read as it is."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import duckdb
import pytest

import otel_atm as atm
from otel_atm.store.drain import create, drain
from otel_atm.store.opening import SCHEMA_VERSION
from otel_atm.store.paths import StorePaths
from tests.store.conftest import Writer, assert_roll_ups_add_up, query, rows_of
from tests.store.test_drain import Crash, dying_at

SCHEMA_1 = Path(__file__).with_name("schema_1.sql").read_text("utf-8")
HOURS = "select bucket::varchar as hour, user_id, calls, total_tokens, cost_usd from usage_1h"
EXPECTED = [
    {
        "hour": "2026-01-01 10:00:00",
        "user_id": user,
        "calls": calls,
        "total_tokens": tokens,
        "cost_usd": cost,
    }
    for user, calls, tokens, cost in (("ann", 2, 330, 0.3), (None, 1, 10, None))
]


@pytest.fixture
def old(path: Path) -> StorePaths:
    """A file of schema 1."""
    with duckdb.connect(path) as connection:
        for statement in SCHEMA_1.split(";\n"):
            connection.execute(statement)
    return StorePaths.of(path)


def version(paths: StorePaths) -> int:
    (row,) = query(paths.database, "select max(version) as version from atm_schema")
    return int(row["version"])


def test_the_first_drain_brings_it_to_this_version(old: StorePaths, writer: Writer) -> None:
    writer.call(user="ann")
    assert writer.drain() == 1
    assert version(old) == SCHEMA_VERSION
    assert len(rows_of(old.database)) == 4
    assert_roll_ups_add_up(old.database)
    assert query(old.database, f"{HOURS} where app = 'bot' order by user_id") == EXPECTED
    tables = query(old.database, "select table_name as name from duckdb_tables()")
    assert "usage_1m_changes" not in [row["name"] for row in tables]


def test_a_kill_on_the_way_leaves_it_as_it_was(
    old: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for death in count():
        try:
            with dying_at(monkeypatch, death):
                create(old)
        except Crash:
            with duckdb.connect(old.database) as connection:
                assert connection.execute("from atm_schema").fetchall() == [(1,)]
                assert connection.execute("select sum(calls) from usage_1m").fetchall() == [(3,)]
        else:
            break
    assert death > 10
    assert version(old) == SCHEMA_VERSION
    assert query(old.database, f"{HOURS} order by user_id") == EXPECTED


def test_where_nothing_is_to_be_drained_it_is_read_as_it_is(old: StorePaths) -> None:
    assert version(old) == 1
    assert query(old.database, f"{HOURS} order by user_id") == EXPECTED
    assert query(old.database, "select sum(calls)::int as calls from usage_1m") == [{"calls": 3}]
    days = query(old.database, "select day::varchar as day, calls from usage_by_day('Asia/Tokyo')")
    assert days == [{"day": "2026-01-01", "calls": 2}, {"day": "2026-01-01", "calls": 1}]


def test_a_correction_of_an_old_row_cancels_what_the_old_version_added(
    old: StorePaths, writer: Writer
) -> None:
    create(old)
    with duckdb.connect(old.database) as connection:
        (known,) = connection.execute(
            "select ts, app, team, user_id from usage_events where event_id = '0193-1'"
        ).fetchall()
    writer.paths.spool.mkdir(parents=True)
    (writer.paths.spool / "0-correction.segment").write_text(CORRECTION)
    assert drain(old) == 1
    assert known[1:] == ("bot", "ml", "ann")
    assert_roll_ups_add_up(old.database)
    (row,) = query(old.database, f"{HOURS} where user_id = 'ann'")
    assert (row["calls"], row["total_tokens"], row["cost_usd"]) == (2, 223, 0.2)


#: Of the first row of the file: 3 tokens instead of 110, which cost nothing.
CORRECTION = (
    '[0,"{""service"":null,""app"":""bot"",""env"":null,""team"":""ml"",""user_id"":""ann"",'
    '""session_id"":null,""provider"":""openai"",""model"":""gpt-5.1"",""operation"":""chat"",'
    '""status"":""ok"",""decision"":""allowed"",""budget"":null,""calls"":1,""attempts"":1,'
    '""estimated"":false,""revision"":1,""source"":""span"",""tags"":[],""attributes"":{},'
    '""price_version"":null,""rates"":null}"\n'
    '[0,"0193-1",1767261601000000000,0,0,0,5000,null,[1,2,0,0,0],"0",0]\n'
)


@pytest.mark.parametrize("installed", ["1.5.5", "0.10.0"])
def test_an_older_duckdb_is_refused_by_name(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    writer.call()
    with monkeypatch.context() as patch:
        patch.setattr(duckdb, "__version__", installed)
        with pytest.raises(atm.StoreError, match=rf"needs DuckDB 2\.0 or newer, not {installed}"):
            writer.drain()
        with pytest.raises(atm.StoreError, match="pip install --upgrade duckdb"):
            rows_of(writer.paths.database)
    assert len(writer.segments()) == 1
    assert writer.drain() == 1
