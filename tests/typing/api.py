"""The public API as a type checker sees it: never run, checked by `make lint`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import duckdb
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.types import LLMPayload


def set_up(provider: TracerProvider) -> None:
    handle = atm.init(provider, budgets=["1k tokens / day", atm.Budget(limit=1, window="day")])
    assert_type(handle, atm.Handle)
    assert_type(handle.force_flush(timeout_millis=100), bool)
    assert_type(handle.shutdown(), None)
    provider.add_span_processor(atm.TokenSpanProcessor(budgets=(), store=None))
    atm.init(budgets=Path("budgets.yaml"), prices="prices.toml", on_alert=print)
    atm.init(sampler=False, guards=True, include_usage=True, carry_context=True)
    atm.init(gateways={"llm.acme.dev": "openai"})
    atm.init(budgets=5)  # type: ignore[arg-type]
    atm.init(gateways=["llm.acme.dev"])  # type: ignore[arg-type]
    provider.add_span_processor(atm.TokenSpanProcessor(gateways=None, include_usage=False))
    instrumentor = atm.OtelAtmInstrumentor()
    assert_type(instrumentor.instrument(tracer_provider=provider, budgets=()), None)
    assert_type(instrumentor.uninstrument(), None)


def told() -> None:
    assert_type(atm.add_user_request("…", model_id="gpt-5.1", username="ann"), str)
    assert_type(atm.add_model_response({"usage": {}}, token_count=5), str | None)
    atm.add_user_request(LLMPayload(token_count_override=45, event_type="request"))
    atm.add_user_request(token_count="5")  # type: ignore[arg-type]
    atm.limits.add(atm.Scope(user="ann"), atm.Quota(minute_limit=5), atm.AlertLevel.WARNING)
    atm.limits.add(quota=5)  # type: ignore[arg-type]
    atm.init(data_manager="sqlite", db_path="a.db", default_app_id="bot")
    with atm.context(username="ann", _additional_metadata_tags=["a"], department="finance"):
        pass

    @atm.hook("pre")
    def audit(event: atm.Draft) -> None:
        event._additional_metadata_tags.append("audited")

    atm.hook("during")  # type: ignore[arg-type]


def budget() -> None:
    made = atm.Budget(
        limit=Decimal("12.5"),
        unit="usd",
        window="month",
        by=["team", "user"],
        match={"env": "prod", "tags": ["a*", "b*"]},
        action="degrade",
        degrade_to="gpt-5-mini",
        block_at=1.5,
        mode="strict",
        missing="block",
        on_error="local",
        alert_at=[0.5, "80%"],
        name="teams",
        tz="Europe/Berlin",
        week_start="sunday",
        month_day=15,
        weights={"cache_read": 0.1},
        on_unknown_price=3,
    )
    assert_type(made.limit, int | float)
    assert_type(made.by, tuple[str, ...])
    assert_type(made.alert_at, tuple[float, ...])
    atm.Budget("5 tokens / day", alert_at="80%")
    atm.Budget(5)  # type: ignore[arg-type]


def operate(handle: atm.Handle) -> None:
    (status, *_) = handle.budgets()
    assert_type(status, atm.BudgetStatus)
    assert_type(status.scope, dict[str, str])
    assert_type(status.resets_at, datetime | None)
    assert_type(status.projected_exhaustion, datetime | None)
    assert_type(handle.set_budgets("budgets.yaml"), None)
    assert_type(handle.set_budgets([atm.Budget("5 tokens / day"), "1 request / day"]), None)
    handle.grant("5 tokens / day", 2.5, user="ann")
    handle.reset("5 tokens / day", user="ann")
    handle.exempt("5 tokens / day", 60, user="ann")
    handle.grant("5 tokens / day", 1, user=7)  # type: ignore[arg-type]
    handle.stop()
    handle.resume()


def be_told(alert: atm.Alert) -> None:
    assert_type(alert.level, float)
    assert_type(alert.scope, dict[str, str])
    assert_type(atm.advice(), str | None)
    assert_type(atm.advice(model="gpt-5.1", provider="openai"), str | None)


def admit() -> None:
    with atm.admit(tokens=1200, model="gpt-5.1", provider="openai", wait_s=2.5) as call:
        assert_type(call, atm.Admission)
        assert_type(call.call_id, str)
        assert_type(call.decision, atm.Decision)
        assert_type(call.decision.retry_after_s, float | None)
        assert_type(call.amend(input_tokens=1, output_tokens=2), None)
        call.touch()
        call.settle(atm.Usage(input_tokens=900, output_tokens=210))
        call.settle(input_tokens=900, output_tokens=210, cache_read_tokens=100)
        call.release()
    atm.admit(1200)  # type: ignore[call-arg]


async def admit_in_a_task() -> None:
    async with atm.admit(input_tokens=1000, output_tokens=200) as call:
        assert_type(call, atm.Admission)


def say_who_pays() -> None:
    with atm.context(user="ann", account=17, tags=["prod"]) as scope:
        assert_type(scope, atm.Scope)
        assert_type(scope["user"], str)
    atm.context(user=1.5)  # type: ignore[arg-type]


def carry_it() -> None:
    pool = atm.carrying(ThreadPoolExecutor())
    assert_type(pool, Executor)
    assert_type(pool.submit(len, "x").result(), int)
    atm.carrying("pool")  # type: ignore[arg-type]


def be_refused(refused: atm.TokenQuotaExceeded) -> None:
    assert_type(refused.scope, dict[str, str])
    assert_type(refused.used, float)
    assert_type(refused.resets_at, datetime | None)
    assert_type(refused.retry_after_s, float | None)
    assert_type(refused.reason, str | None)


def read(event: atm.UsageEvent) -> None:
    assert_type(event.attributes, Mapping[str, str | float])
    assert_type(event.duration_us, int | None)
    assert_type(event.cost_usd, float | None)
    with atm.connect("tokens.duckdb") as db:
        assert_type(db, atm.Reader)
        assert_type(db.sql("select 1", params=[1]), duckdb.DuckDBPyRelation)
