"""Five questions as Ibis expressions: asked alike of DuckDB and of ClickHouse, answered alike.

Each takes a table with the columns of `usage_events` and gives an expression; nothing runs before a
backend is asked. Needs the extra ``ibis``.

    question = questions.top_users(questions.usage_events())
    otel_atm.connect("tokens.duckdb").sql(ibis.to_sql(question, dialect="duckdb"))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import ibis

if TYPE_CHECKING:
    from ibis.expr.types import Table

#: The columns that have the same type in every engine, so all but `attributes`.
COLUMNS: Final = {
    "event_id": "!string",
    "ts": "!timestamp(6)",
    "trace_id": "string",
    "span_id": "string",
    "duration_us": "int64",
    "ttft_us": "int64",
    "service": "string",
    "app": "string",
    "env": "string",
    "team": "string",
    "user_id": "string",
    "session_id": "string",
    "provider": "string",
    "model": "string",
    "operation": "string",
    "status": "!string",
    "decision": "!string",
    "budget": "string",
    "calls": "!int64",
    "attempts": "!int64",
    "input_tokens": "!int64",
    "output_tokens": "!int64",
    "cache_read_tokens": "!int64",
    "cache_write_tokens": "!int64",
    "reasoning_tokens": "!int64",
    "total_tokens": "!int64",
    "cost_usd": "float64",
    "price_version": "string",
    "estimated": "!boolean",
    "source": "!string",
    "tags": "!array<!string>",
    "revision": "!int32",
}

#: The ratio of a bucket's ends: a quantile is off by half of what it exceeds 1, that is 0.5 %.
_GAMMA: Final = 1.01


def usage_events(name: str = "usage_events") -> Table:
    """The table by its name, bound to no backend: for `ibis.to_sql`."""
    return ibis.table(COLUMNS, name=name)


def tokens_by_hour_and_model(events: Table) -> Table:
    """By hour (UTC) and model: calls, input_tokens, output_tokens, total_tokens; oldest first."""
    sent = _sent(events)
    return (
        sent.group_by(hour=sent.ts.truncate("h"), model=sent.model)
        .agg(
            calls=sent.calls.sum(),
            input_tokens=sent.input_tokens.sum(),
            output_tokens=sent.output_tokens.sum(),
            total_tokens=sent.total_tokens.sum(),
        )
        .order_by("hour", _last("model"))
    )


def top_users(events: Table, most: int = 20) -> Table:
    """By user_id: calls, total_tokens of the users who spent most tokens, in that order.

    Args:
        events: the table.
        most: how many users.
    """
    sent = _sent(events)
    return (
        sent.group_by("user_id")
        .agg(calls=sent.calls.sum(), total_tokens=sent.total_tokens.sum())
        .order_by(ibis.desc("total_tokens"), _last("user_id"))
        .limit(most)
    )


def latency(events: Table) -> Table:
    """By model: calls, p50_ms, p95_ms of the calls that ended well.

    A quantile is the shortest duration that at least this part of the calls did not exceed, to
    within 0.5 %. Engines differ by more in functions that go by the name of quantile: ClickHouse's
    takes a sample. So calls are counted in buckets, each 1 % wider than the one before, which is
    as cheap as any sum (DDSketch, Masson, Rim and Lee, VLDB 2019).
    """
    ended = _sent(events)
    ended = ended.filter(ended.status == "ok", ended.duration_us.notnull())
    shortest_us = ibis.greatest(ended.duration_us, 1).cast("float64")
    counted = ended.group_by(
        model=ended.model, bucket=(shortest_us.ln() / math.log(_GAMMA)).ceil().cast("int64")
    ).agg(calls=ended.count())
    of_model = ibis.window(group_by="model")
    so_far = ibis.cumulative_window(group_by="model", order_by="bucket")
    ranked = counted.mutate(
        so_far=counted.calls.sum().over(so_far), of=counted.calls.sum().over(of_model)
    )
    return (
        ranked.group_by("model")
        .agg(
            calls=ranked.calls.sum(),
            p50_ms=_quantile_ms(ranked, 50),
            p95_ms=_quantile_ms(ranked, 95),
        )
        .order_by(_last("model"))
    )


def tokens_by_tag(events: Table) -> Table:
    """By tag: calls, total_tokens; a call with two tags is under both, one with none under none."""
    sent = _sent(events)
    tagged = sent.select("calls", "total_tokens", tag=sent.tags.unnest())
    return (
        tagged.group_by("tag")
        .agg(calls=tagged.calls.sum(), total_tokens=tagged.total_tokens.sum())
        .order_by(ibis.desc("total_tokens"), "tag")
    )


def cost_by_team(events: Table) -> Table:
    """By team: cost_usd, unpriced_tokens; the costliest first.

    cost_usd is null for a team of which no call has a price; unpriced_tokens are of such calls.
    """
    sent = _sent(events)
    return (
        sent.group_by("team")
        .agg(
            cost_usd=sent.cost_usd.sum(),
            unpriced_tokens=ibis.ifelse(sent.cost_usd.isnull(), sent.total_tokens, 0).sum(),
        )
        .order_by(ibis.desc("cost_usd", nulls_first=False), _last("team"))
    )


def _sent(events: Table) -> Any:
    """Calls that no budget refused."""
    return events.filter(events.decision != "refused")


def _last(column: str) -> Any:
    """In order, what nobody said at the end."""
    return ibis.asc(column, nulls_first=False)


def _quantile_ms(ranked: Any, percent: int) -> Any:
    """The middle of the first bucket that is reached when so many of the calls are counted."""
    reached = ranked.so_far * 100 >= ranked.of * percent
    bucket = ranked.bucket.min(where=reached)
    middle_us = ibis.literal(_GAMMA) ** bucket * (2 / (1 + _GAMMA))
    return middle_us / 1_000
