"""Five questions, two engines, one answer."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pytest

import otel_atm as atm
from otel_atm.charts import clickhouse, questions
from otel_atm.store.parquet import export
from otel_atm.store.paths import StorePaths
from tests.charts.conftest import make_file
from tests.scale.engine import ClickHouse

Rows = list[dict[str, Any]]

#: 40,000 calls of three days: long tails, payers that nobody named, refusals that share a row,
#: prices that nobody knows, calls that failed, tags.
FILL = """
insert into usage_events by name
select
    format('0193{:032d}', n) as event_id,
    '2026-03-28 22:00:00'::timestamp + to_microseconds(n * 6_480_007) as ts,
    100_000 + (exp(3 * sqrt(-ln(u)) * cos(2 * pi() * v)) * 1_000_000)::bigint as duration_us,
    if(n % 11 = 0, null, 't' || n % 7) as team,
    if(n % 13 = 0, null, 'user ' || n * n % 60) as user_id,
    if(n % 17 = 0, null, 'model-' || n % 3) as model,
    if(n % 19 = 0, 'error', 'ok') as status,
    if(n % 19 = 0 and n % 2 = 0, 'refused', 'allowed') as decision,
    if(decision = 'refused', 1 + n % 5, 1) as calls, 1 as attempts,
    if(decision = 'refused', 0, n * 7_919 % 8_000) as input_tokens, n % 50 as output_tokens,
    0 as cache_read_tokens, 0 as cache_write_tokens, 0 as reasoning_tokens,
    input_tokens + output_tokens as total_tokens,
    if(n % 3 = 0, null, total_tokens * 1.7e-6) as cost_usd,
    false as estimated, 'span' as source,
    [x for x in ['nightly', 'é "quoted"'] if hash(x, n) % 2 = 0] as tags,
    {'department': 'd' || n % 4, 'a.b': '☃'}::json::variant as attributes,
    0 as revision
from (
    select n, (1 + hash(n) % 999_983) / 1e6 as u, (hash(n, 1) % 999_983) / 1e6 as v
    from range(40_000) as given(n)
)
"""
LOAD = (
    "insert into usage_events_kept select * except (day) "
    "from file('{}/*/usage_events.parquet', Parquet) settings use_hive_partitioning = 1"
)

ASKED = {
    "hour × model": questions.tokens_by_hour_and_model,
    "top users": questions.top_users,
    "latency": questions.latency,
    "tags": questions.tokens_by_tag,
    "cost by team": questions.cost_by_team,
}
each = pytest.mark.parametrize("name", ASKED)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("scale") / "tokens.duckdb", FILL)


@pytest.fixture(scope="module")
def exported(path: Path) -> Path:
    return export(StorePaths.of(path), path.parent / "exported").folder


def of_file(path: Path, question: Any) -> Rows:
    with atm.connect(path) as db:
        answer = db.sql(ibis.to_sql(question, dialect="duckdb"))
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def of_clickhouse(database: ClickHouse, question: Any) -> Rows:
    rows = database.ask(ibis.to_sql(question, dialect="clickhouse"))
    for row in rows:
        if "hour" in row:
            row["hour"] = datetime.fromisoformat(row["hour"])
    return rows


def nearly(rows: Rows) -> Rows:
    """The same, but that sums of floats depend on the order of what is added."""
    return [
        {
            name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]


@each
def test_duckdb_and_clickhouse_give_the_same_answer(
    name: str, path: Path, exported: Path, database: ClickHouse
) -> None:
    database.ask(LOAD.format(exported))
    question = ASKED[name](questions.usage_events())
    answer = of_clickhouse(database, question)
    assert answer == nearly(of_file(path, question))
    assert len(answer) >= 2


def test_the_numbers_are_those_of_plain_sql(path: Path) -> None:
    events = questions.usage_events()
    with atm.connect(path) as db:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return db.sql(sql).fetchall()

        def answered(question: Any) -> list[tuple[Any, ...]]:
            return rows(ibis.to_sql(question, dialect="duckdb"))

        sent = "from usage_events where decision <> 'refused'"
        assert answered(questions.tokens_by_hour_and_model(events)) == rows(
            "select date_trunc('hour', ts), model, sum(calls), sum(input_tokens), "
            f"sum(output_tokens), sum(total_tokens) {sent} group by 1, 2 order by 1, 2 nulls last"
        )
        assert answered(questions.top_users(events, most=3)) == rows(
            f"select user_id, sum(calls), sum(total_tokens) as t {sent} "
            "group by 1 order by t desc, 1 nulls last limit 3"
        )
        assert answered(questions.tokens_by_tag(events)) == rows(
            "select tag, sum(calls), sum(total_tokens) as t "
            "from usage_events, unnest(tags) as _(tag) "
            "where decision <> 'refused' group by 1 order by t desc, 1"
        )
        costs = answered(questions.cost_by_team(events))
        assert costs == [
            (team, pytest.approx(cost), unpriced)
            for team, cost, unpriced in rows(
                "select team, sum(cost_usd) as c, "
                f"sum(total_tokens) filter (cost_usd is null) {sent} "
                "group by 1 order by c desc nulls last, 1 nulls last"
            )
        ]


def test_quantiles_are_within_one_percent_of_the_exact_ones(path: Path) -> None:
    exact = (
        "select model, count(*) as calls, quantile_disc(duration_us, 0.5) / 1000 as p50_ms, "
        "quantile_disc(duration_us, 0.95) / 1000 as p95_ms from usage_events "
        "where decision <> 'refused' and status = 'ok' group by 1 order by 1 nulls last"
    )
    with atm.connect(path) as db:
        known = db.sql(exact)
        rows = [dict(zip(known.columns, row, strict=True)) for row in known.fetchall()]
    for found, row in zip(
        of_file(path, questions.latency(questions.usage_events())), rows, strict=True
    ):
        assert (found["model"], found["calls"]) == (row["model"], row["calls"])
        for name in ("p50_ms", "p95_ms"):
            assert math.isclose(found[name], row[name], rel_tol=0.005 + 1e-9), (name, found, row)


@each
def test_a_file_without_calls_gives_no_rows(
    name: str, tmp_path: Path, database: ClickHouse
) -> None:
    question = ASKED[name](questions.usage_events())
    assert of_file(make_file(tmp_path / "empty.duckdb"), question) == []
    assert of_clickhouse(database, question) == []


def test_a_day_that_is_loaded_twice_counts_once_and_the_highest_revision_counts(
    path: Path, exported: Path, database: ClickHouse
) -> None:
    database.ask(LOAD.format(exported))
    question = questions.top_users(questions.usage_events())
    before = of_clickhouse(database, question)
    database.ask(LOAD.format(exported))
    assert of_clickhouse(database, question) == before
    database.ask(
        "insert into usage_events_kept select * replace (revision + 1 as revision, "
        "total_tokens + 1000000 as total_tokens) from usage_events "
        "where user_id is null and decision <> 'refused' limit 1"
    )
    (nobody,) = (row for row in before if row["user_id"] is None)
    (corrected,) = (row for row in of_clickhouse(database, question) if row["user_id"] is None)
    assert corrected == {**nobody, "total_tokens": nobody["total_tokens"] + 1_000_000}


def test_rows_arrive_whole_whatever_the_time_zone_of_the_server(
    path: Path, exported: Path, database: ClickHouse
) -> None:
    database.ask(LOAD.format(exported) + ", session_timezone = 'Asia/Tokyo'")
    found = database.ask(
        "select event_id, toUnixTimestamp64Micro(ts) as us, team, tags, "
        "JSONExtractString(attributes, 'department') as department, "
        "JSONExtractString(attributes, 'a.b') as snow from usage_events order by event_id"
    )
    with duckdb.connect(path, read_only=True) as plain:
        rows = plain.execute(
            "select event_id, epoch_us(ts) as us, team, tags, attributes.department::varchar, "
            'attributes."a.b"::varchar from usage_events order by event_id'
        ).fetchall()
    assert [tuple(row.values()) for row in found] == rows


def test_sql_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(ValueError) as raised:
        clickhouse.read("../x")
    assert str(raised.value) == (
        "'../x': expected one of usage_events, model_prices, usage_events_of_spans"
    )


def test_the_columns_are_those_of_the_schema(path: Path, database: ClickHouse) -> None:
    with atm.connect(path) as db:
        columns = db.sql("from usage_events").columns
    assert [*questions.COLUMNS] == [name for name in columns if name != "attributes"]
    for table in ("usage_events", "usage_events_of_spans"):
        described = database.ask(f"describe {table}")
        assert [row["name"] for row in described] == columns
