"""Each query answers a small known file with these rows, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from importlib import resources
from pathlib import Path

import duckdb
import pytest

import otel_atm
from otel_atm import Reader, StoreError
from otel_atm.charts import queries
from otel_atm.charts.queries import TimeRange
from otel_atm.charts.rows import Latency, ModelTokens, Refusals, TokenKinds, Totals, UserModel


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-01 {clock}")


def test_totals_count_refused_calls_apart_and_their_storms_whole(known: Reader) -> None:
    assert queries.totals(known) == Totals(
        calls=5,
        refused=4,
        failed=1,
        input_tokens=322,
        output_tokens=118,
        cache_read_tokens=40,
        cache_write_tokens=10,
        reasoning_tokens=20,
        total_tokens=440,
        estimated_tokens=20,
        cost_usd=0.75,
        unpriced_tokens=30,
        users=3,
        first_ts=at("10:00:05"),
        last_ts=at("11:00:00"),
    )


def test_users_and_models_come_in_the_order_of_the_alphabet_nobody_last(known: Reader) -> None:
    assert queries.by_user_model(known) == [
        UserModel("ml", "ann", "gpt-5", 2, 3, 300, 110, 40, 410, 0, 0.75),
        UserModel("ml", "ben", "haiku", 1, 0, 10, 0, 0, 10, 10, None),
        UserModel("ops", "cid", "haiku", 1, 1, 7, 3, 0, 10, 0, None),
        UserModel(None, None, None, 1, 0, 5, 5, 0, 10, 10, None),
    ]


def test_minutes_come_from_the_roll_up(known: Reader) -> None:
    assert queries.tokens_over_time(known, 60) == [
        ModelTokens(at("10:00:00"), "gpt-5", 2, 300, 110, 410),
        ModelTokens(at("10:01:00"), "haiku", 1, 10, 0, 10),
        ModelTokens(at("10:02:00"), "haiku", 1, 7, 3, 10),
        ModelTokens(at("11:00:00"), None, 1, 5, 5, 10),
    ]


def test_hours_too(known: Reader) -> None:
    assert queries.tokens_over_time(known, 3600) == [
        ModelTokens(at("10:00:00"), "gpt-5", 2, 300, 110, 410),
        ModelTokens(at("10:00:00"), "haiku", 2, 17, 3, 20),
        ModelTokens(at("11:00:00"), None, 1, 5, 5, 10),
    ]


def test_seconds_come_from_the_events(known: Reader) -> None:
    assert queries.tokens_over_time(known, 30)[:2] == [
        ModelTokens(at("10:00:00"), "gpt-5", 2, 300, 110, 410),
        ModelTokens(at("10:01:00"), "haiku", 1, 10, 0, 10),
    ]
    assert queries.tokens_over_time(known, 10)[:2] == [
        ModelTokens(at("10:00:00"), "gpt-5", 1, 100, 50, 150),
        ModelTokens(at("10:00:20"), "gpt-5", 1, 200, 60, 260),
    ]


def test_the_most_refused_come_first(known: Reader) -> None:
    assert queries.refusals(known) == [
        Refusals("B1", "ml", "ann", 3, at("10:01:30")),
        Refusals("B2", "ops", "cid", 1, at("10:59:59")),
    ]


def test_kinds_of_tokens_do_not_overlap(known: Reader) -> None:
    kinds = queries.token_kinds(known)
    assert kinds == [
        TokenKinds("gpt-5", 250, 40, 10, 90, 20),
        TokenKinds("haiku", 17, 0, 0, 3, 0),
        TokenKinds(None, 5, 0, 0, 5, 0),
    ]
    assert sum(sum(row[1:]) for row in kinds) == queries.totals(known).total_tokens


def test_latency_is_of_calls_that_ended_well_and_say_how_long_they_took(known: Reader) -> None:
    assert queries.latency(known) == [
        Latency("gpt-5", 2, 2.0, pytest.approx(2.9), 0.5, 0.5),
        Latency("haiku", 1, 2.0, 2.0, None, None),
    ]


def test_a_range_begins_with_its_first_instant_and_ends_before_its_last(known: Reader) -> None:
    during = TimeRange(at("10:00:20"), at("10:59:59"))
    assert queries.totals(known, during)[:2] == (3, 3)
    assert [row.user_id for row in queries.by_user_model(known, during)] == ["ann", "ben", "cid"]
    assert queries.refusals(known, during) == [Refusals("B1", "ml", "ann", 3, at("10:01:30"))]
    assert [row.calls for row in queries.tokens_over_time(known, 10, during)] == [1, 1, 1]
    assert [row.calls for row in queries.latency(known, during)] == [1, 1]
    assert sum(queries.token_kinds(known, during)[0][1:]) == 260


def test_a_range_includes_the_whole_minute_in_which_it_begins(known: Reader) -> None:
    during = TimeRange(at("10:00:20"), at("10:02:00"))
    assert [row.calls for row in queries.tokens_over_time(known, 60, during)] == [2, 1]


def test_a_moment_with_a_zone_means_the_same_instant(known: Reader) -> None:
    since = at("12:00:00").replace(tzinfo=timezone(timedelta(hours=1)))  # 11:00 UTC
    assert queries.totals(known, TimeRange(since=since)).calls == 1
    assert queries.totals(known, TimeRange(since=since.astimezone(UTC))).calls == 1


def test_nothing_answers_with_nothing(empty: Reader) -> None:
    assert queries.totals(empty) == Totals(*[0] * 10, None, 0, 0, None, None)
    assert queries.by_user_model(empty) == []
    assert queries.tokens_over_time(empty, 60) == []
    assert queries.tokens_over_time(empty, 1) == []
    assert queries.refusals(empty) == []
    assert queries.token_kinds(empty) == []
    assert queries.latency(empty) == []


@pytest.mark.parametrize(
    ("span", "width_s"),
    [
        (timedelta(), 1),
        (timedelta(seconds=90), 1),
        (timedelta(seconds=91), 5),
        (timedelta(hours=1), 60),
        (timedelta(days=1), 3600),
        (timedelta(days=30), 86_400),
        (timedelta(days=4_000), 7 * 86_400),
    ],
)
def test_a_span_of_time_is_cut_into_at_most_90_buckets(span: timedelta, width_s: int) -> None:
    assert queries.width_for(span) == width_s


def test_a_file_of_somebody_else_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("create table mine as select 1 as one")
    with pytest.raises(StoreError, match="not written by otel-atm"):
        queries.totals(otel_atm.connect(path))


FOLDER = resources.files("otel_atm.charts").joinpath("queries")
FILES = sorted(file.name.removesuffix(".sql") for file in FOLDER.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_every_query_is_one_select_with_an_order_unless_it_is_one_row(name: str) -> None:
    text = queries.read(name)
    (statement,) = duckdb.extract_statements(text)
    assert statement.type is duckdb.StatementType.SELECT
    assert name == "totals" or "\norder by " in text
