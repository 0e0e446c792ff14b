"""The public API as a type checker sees it: never run, checked by `make lint`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

import duckdb
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm


def set_up(provider: TracerProvider) -> None:
    handle = atm.init(provider, budgets=["1k tokens / day", atm.Budget(limit=1, window="day")])
    assert_type(handle, atm.Handle)
    assert_type(handle.force_flush(timeout_millis=100), bool)
    assert_type(handle.shutdown(), None)
    provider.add_span_processor(atm.TokenSpanProcessor(budgets=(), store=None))


def say_who_pays() -> None:
    with atm.context(user="ann", account=17, tags=["prod"]) as scope:
        assert_type(scope, atm.Scope)
        assert_type(scope["user"], str)
    atm.context(user=1.5)  # type: ignore[arg-type]


def be_refused(refused: atm.TokenQuotaExceeded) -> None:
    assert_type(refused.scope, dict[str, str])
    assert_type(refused.resets_at, datetime)
    assert_type(refused.retry_after_s, float | None)


def read(event: atm.UsageEvent) -> None:
    assert_type(event.attributes, Mapping[str, str | int])
    assert_type(event.duration_us, int | None)
    with atm.connect("tokens.duckdb") as db:
        assert_type(db, atm.Reader)
        assert_type(db.sql("select 1", params=[1]), duckdb.DuckDBPyRelation)
