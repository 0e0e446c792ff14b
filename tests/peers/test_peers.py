"""What was found broken in other token meters and quotas, and does not happen here.

Each test is one finding: agent-atm 1.1, token-guard 0.1, tokencap 0.2, llm-budget 0.2 and litellm
1.106 were run with the same work, calls of 100 tokens in and 400 out, on quotas of 10,000.
token-guard's own are with the middleware, in tests/guards; agent-atm's words in tests/facade.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_atm as atm
from otel_atm.metrics import Metrics
from otel_atm.testing import ManualClock
from tests.conftest import CHAT, Metered

CALLERS = 64
#: Of each call: 500 in all.
FIVE_HUNDRED = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 400}
FAILED = {"error.type": "500"}


def call(metered: Metered, used: dict[str, int] | None = None, **more: object) -> None:
    metered.end(metered.start({**CHAT, **more}), FIVE_HUNDRED if used is None else used)


def until_refused(metered: Metered, **more: object) -> int:
    """How many calls are let in one after the other."""
    for admitted in range(1_000):
        try:
            call(metered, **more)
        except atm.TokenQuotaExceeded:
            return admitted
    raise AssertionError


@pytest.mark.parametrize("max_tokens", [400, 2_000, 4_096, 8_192])
def test_a_wave_is_let_in_by_what_calls_use_and_not_by_what_they_might(
    metered: Callable[..., Metered], max_tokens: int
) -> None:
    """litellm reserves max_tokens: of 20 calls that fit it lets in 20, 4, 2, 1."""
    one = metered("10k tokens / day per user")
    with atm.context(user="before"):
        for _ in range(20):
            call(one, **{"gen_ai.request.max_tokens": max_tokens})
    with atm.context(user="ann"):
        started, refused = [], 0
        for _ in range(CALLERS):
            try:
                started.append(one.start({**CHAT, "gen_ai.request.max_tokens": max_tokens}))
            except atm.TokenQuotaExceeded:
                refused += 1
    for span in started:
        one.end(span, FIVE_HUNDRED)
    assert (len(started), refused) == (20, CALLERS - 20)


def test_calls_that_fail_cost_nothing(metered: Callable[..., Metered]) -> None:
    """tokencap charges 10,300 tokens for 100 of them."""
    one = metered("10k tokens / day")
    for _ in range(100):
        span = one.start(CHAT)
        span.set_status(trace.StatusCode.ERROR)
        one.end(span, FAILED)
    assert (one.used, one.held) == ([0], [0])


def test_small_calls_cost_what_they_use(metered: Callable[..., Metered]) -> None:
    """tokencap charges 10,300 tokens for 100 of them: it never settles down."""
    one = metered("10k tokens / day")
    for _ in range(100):
        call(one, {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5})
    assert (one.used, one.held) == ([1_500], [0])


def test_gauges_say_what_is(metered: Callable[..., Metered]) -> None:
    """tokencap exports 72,500 tokens left of 10,000, and 275 %."""
    one, reader = metered("10k tokens / day"), InMemoryMetricReader()
    Metrics(one.gate, None, MeterProvider([reader], shutdown_on_exit=False))
    for _ in range(10):
        call(one)
    found = reader.get_metrics_data()
    assert found is not None
    values = {
        metric.name: metric.data.data_points[0].value  # type: ignore[union-attr]
        for metric in found.resource_metrics[0].scope_metrics[0].metrics
        if metric.name.startswith("atm.budget.") and metric.data.data_points
    }
    told = {name: values[f"atm.budget.{name}"] for name in ("used", "limit", "utilization")}
    assert told == {"used": 5_000, "limit": 10_000, "utilization": 0.5}


def test_a_cheaper_model_has_a_limit_too(metered: Callable[..., Metered]) -> None:
    """llm-budget degrades without end: 50 of 50 calls went on, at 127 times the budget."""
    one = metered(
        atm.Budget("10k tokens / day", action="degrade", degrade_to="gpt-5-mini", block_at=1.2)
    )
    assert until_refused(one) == 24


def test_an_alert_is_told_once_a_window(
    metered: Callable[..., Metered], clock: ManualClock
) -> None:
    """llm-budget warns with every call."""
    one, told = metered(atm.Budget("10k tokens / day", alert_at="50%")), []
    one.gate.alerts.replace(None, told.append)
    for _ in range(15):
        call(one)
    assert [alert.level for alert in told] == [0.5]
    clock.advance(86_400)
    for _ in range(15):
        call(one)
    assert [alert.level for alert in told] == [0.5, 0.5]


def test_no_two_days_budgets_at_the_turn_of_a_day(
    metered: Callable[..., Metered], clock: ManualClock
) -> None:
    """token-guard, llm-budget and fixed windows let 20,000 through within two seconds."""
    one = metered("10k tokens / rolling day")
    clock.advance(86_399)
    assert until_refused(one) == 20
    clock.advance(2)
    assert until_refused(one) == 0


def test_a_day_ends_at_midnight_where_the_payer_lives(
    metered: Callable[..., Metered], clock: ManualClock
) -> None:
    """litellm resets late by the time zone's offset: Tokyo was blocked for nine hours."""
    one = metered(atm.Budget("10k tokens / day", tz="Asia/Tokyo"))
    clock.advance(14.99 * 3_600)  # 23:59 there
    assert until_refused(one) == 20
    clock.advance(60)
    assert until_refused(one) == 20


def test_the_first_call_of_a_small_budget_is_let_in(metered: Callable[..., Metered]) -> None:
    """litellm's floor of 1,024 reserved tokens refuses it."""
    one = metered("100 tokens / day")
    call(one, {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5})
    assert one.used == [15]


def test_a_refusal_says_when_to_try_again(metered: Callable[..., Metered]) -> None:
    """Most say no more than no; of tokens used, held and left none says all."""
    one = metered("1k tokens / hour")
    until_refused(one)
    with pytest.raises(atm.TokenQuotaExceeded) as caught:
        one.start(CHAT)
    facts = caught.value
    assert (facts.used, facts.held, facts.limit, facts.retry_after_s) == (1_000, 0, 1_000, 3_600)


def test_what_is_cancelled_is_not_held_for_ever(metered: Callable[..., Metered]) -> None:
    """litellm leaks the reservation, or loses the spend, of requests that are cancelled."""
    one = metered("10k tokens / day")
    for _ in range(15):
        span = one.start(CHAT)
        span.set_status(trace.StatusCode.ERROR)
        one.end(span, {**FIVE_HUNDRED, "error.type": "CancelledError"})
    assert (one.used, one.held) == ([7_500], [0])


def test_a_model_of_ones_own_is_not_stopped_by_a_budget_in_dollars(
    metered: Callable[..., Metered],
) -> None:
    """litellm's budgets in USD stop free local models."""
    one = metered(atm.Budget("1 USD / day", on_unknown_price="allow"))
    for _ in range(5):
        call(one, **{"gen_ai.request.model": "my-own-llama"})


def test_threads_do_not_get_in_each_others_way(metered: Callable[..., Metered]) -> None:
    """litellm's BudgetManager raises RuntimeError: dictionary changed size during iteration."""
    one, failed = metered("1M tokens / day per user"), []

    def work(number: int) -> None:
        try:
            with atm.context(user=f"user {number}"):
                for _ in range(50):
                    call(one)
                    one.gate.oversight.statuses()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert one.used == [25_000] * 8


OFFLINE = """
import json, socket, sys

def no_network(*_):
    raise OSError("there is no network")

socket.socket.connect = socket.getaddrinfo = no_network

import otel_atm as atm

atm.init(budgets=["10k tokens / day per user"], default_app_id="bot", guards=False)
with atm.context(username="ann"):
    atm.add_user_request("How does compound interest work?", model_id="gpt-5.1")
    atm.add_model_response("It grows.", model_id="gpt-5.1")
    try:
        atm.add_user_request(token_count=20_000)
    except atm.TokenQuotaExceeded as refused:
        print(refused.limit)
handle = atm.init(budgets=["10k tokens / day per user"], default_app_id="bot", guards=False)
assert handle.force_flush()
with atm.connect() as db:
    print(json.dumps(db.sql(
        "select input_tokens > 0, output_tokens > 0, estimated, cost_usd > 0, decision "
        "from usage_events order by event_id"
    ).fetchall()))
"""


def test_without_a_network_and_with_an_empty_home_all_works_and_estimates_are_marked(
    tmp_path: Path,
) -> None:
    """agent-atm's init raises, and tokencap counts 0: both download a tokenizer."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        cwd=work,
        env={
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    limit, rows = done.stdout.splitlines()
    assert limit == "10000"
    assert json.loads(rows) == [
        [True, True, True, True, "allowed"],
        [False, False, False, None, "refused"],
    ]
    assert list(home.iterdir()) == []
