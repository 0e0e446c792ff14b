"""Money: what a row of the file says a call cost is what the gate says, to the last bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.pricing import PriceFile, Prices, read_price_file
from otel_atm.store.drain import drain
from otel_atm.testing import ManualClock
from tests.store.conftest import Writer, assert_roll_ups_add_up, query, rows_of

#: Own prices, of which only those of "thirds" are no whole pico-USD for a token.
OVERRIDES = """
prices:
  - {model: flat, input: 0.15, output: 0.6, cache_read: 0.075, cache_write: 0.2, reasoning: 1}
  - {model: dear, input: 1000000, output: 999999.999999}
  - {model: free, free: true}
  - {model: thirds, input: 0.0000001, output: 0.3333333333, cache_read: 0.0000004}
"""
#: From genai-prices: two with tiers, one with cheaper hours, one with a fee for each call.
TIERED = ("gemini-2.5-pro", "claude-sonnet-4-5", "deepseek-chat", "sonar")
PROVIDER = "perplexity"  # whose models may have a fee; others are known by their names
MODELS = ("flat", "dear", "free", "thirds", *TIERED, "gpt-5.1", "nobody-knows-it")


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> PriceFile:
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(OVERRIDES)
    return read_price_file(path)


@pytest.fixture
def priced(writers: Callable[..., Writer], overrides: PriceFile) -> Writer:
    return writers(prices=Prices(overrides))


def costs(writer: Writer) -> list[tuple[float | None, str | None]]:
    """(cost, price version) of each row of the file."""
    return [(row["cost_usd"], row["price_version"]) for row in rows_of(writer.paths.database)]


@settings(max_examples=30)
@given(data=st.data())
def test_the_file_says_what_the_gate_says_whatever_was_used(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, overrides: PriceFile
) -> None:
    clock = ManualClock()
    path = tmp_path_factory.mktemp("any") / "tokens.duckdb"
    writer = Writer(path, clock, prices=Prices(overrides))
    # Parts may be larger than their wholes: emitters say what they like.
    amounts = st.one_of(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 2**40 - 1))
    usages = st.tuples(amounts, amounts, amounts, amounts, amounts)
    errors = st.sampled_from([None, None, "builtins.ValueError", "openai.RateLimitError"])
    for model, tokens, error in data.draw(
        st.lists(st.tuples(st.sampled_from(MODELS), usages, errors), min_size=1, max_size=12)
    ):
        clock.advance(data.draw(st.sampled_from([0.5, 61, 40_000])))
        writer.call(tokens, model=model, error=error, provider=PROVIDER)
    writer.drain()
    assert rows_of(writer.paths.database) == writer.expected()
    assert_roll_ups_add_up(writer.paths.database)
    writer.close()
    assert writer.trouble.counts == {}


def test_each_kind_of_token_costs_its_rate(priced: Writer) -> None:
    priced.call((1_000_000, 1_000_000, 300_000, 200_000, 250_000), model="flat")
    priced.drain()
    ((cost, version),) = costs(priced)
    assert cost == 0.8375  # 0.5 × 0.15 + 0.3 × 0.075 + 0.2 × 0.2 + 0.75 × 0.6 + 0.25 × 1
    assert version is not None
    assert re.fullmatch("overrides [0-9a-f]{8}", version)


def test_rates_stand_in_the_head_and_a_cost_only_where_they_do_not_tell(priced: Writer) -> None:
    for _ in range(2):
        priced.call(model="flat")
        priced.call(model="gemini-2.5-pro")
        priced.call(model="nobody-knows-it")
    lines = priced.segment().read_text("utf-8").splitlines()
    rows = [line for line in lines if line.endswith(",0]")]
    assert len(lines) == 3 + len(rows)
    assert sum('""rates"":[150000,75000,200000,600000,1000000]' in line for line in lines) == 1
    assert sum('""rates"":null' in line for line in lines) == 2
    ends = [line.partition("],")[2] for line in rows]
    pico = priced.events[1].cost_usd
    assert pico is not None
    assert ends == ["null,0]", f'"{round(pico * 1e12)}",0]', "null,0]"] * 2


def test_without_a_price_there_is_no_cost(priced: Writer) -> None:
    priced.call(model="nobody-knows-it")
    priced.drain()
    assert costs(priced) == [(None, None)]
    assert query(priced.paths.database, "select cost_usd from usage_1m") == [{"cost_usd": None}]


@pytest.mark.parametrize("model", ["flat", "sonar"])  # one of them has a fee for each call
def test_what_was_refused_or_failed_for_free_costs_nothing(
    writers: Callable[..., Writer], overrides: PriceFile, model: str
) -> None:
    writer = writers("1 request / day", prices=Prices(overrides))
    writer.call((), model=model, error="openai.RateLimitError", provider=PROVIDER)
    writer.call((5, 5), model=model, provider=PROVIDER)
    with pytest.raises(TokenQuotaExceeded):
        writer.start(model, PROVIDER)
    writer.drain()
    found = costs(writer)
    assert [bool(cost) for cost, _ in found] == [False, True, False]
    assert None not in [part for row in found for part in row]
    assert rows_of(writer.paths.database) == writer.expected()


@pytest.mark.parametrize("model", ["flat", "gemini-2.5-pro"])
@pytest.mark.parametrize("drained", [True, False], ids=["two drains", "one drain"])
def test_a_correction_corrects_the_cost_too(priced: Writer, model: str, drained: bool) -> None:
    span = priced.start(model)
    priced.lose()
    if drained:
        priced.drain()
    priced.end(span, (900_000, 210))
    priced.drain()
    assert rows_of(priced.paths.database) == priced.expected()
    (minutes,) = query(priced.paths.database, "select status, cost_usd from usage_1m")
    assert minutes == {"status": "ok", "cost_usd": pytest.approx(priced.events[-1].cost_usd)}


def test_minutes_sum_what_is_known(priced: Writer) -> None:
    for model in ("flat", "flat", "nobody-knows-it"):
        priced.call((1_000_000, 0), model=model)
    priced.drain()
    minutes = query(
        priced.paths.database, "select sum(calls)::int as calls, sum(cost_usd) as usd from usage_1m"
    )
    assert minutes == [{"calls": 3, "usd": pytest.approx(0.3)}]


@settings(max_examples=10)
@given(
    usages=st.lists(
        st.tuples(
            st.sampled_from(["flat", "thirds", "gpt-5.1"]), st.integers(0, 10**8), st.booleans()
        ),
        min_size=2,
        max_size=6,
    )
)
def test_drain_upon_drain_adds_up_to_the_last_pico_usd(
    usages: list[tuple[str, int, bool]],
    overrides: PriceFile,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("any") / "tokens.duckdb"
    writer = Writer(path, ManualClock(), prices=Prices(overrides))
    for model, tokens, lost in usages:
        span = writer.start(model)
        if lost:
            writer.lose()
            writer.drain()
        writer.end(span, (tokens, 1))
        writer.drain()
    assert_roll_ups_add_up(path)
    writer.close()


def test_an_amount_of_more_than_64_bits_arrives(priced: Writer) -> None:
    priced.call((2**40 - 1, 2**40 - 1), model="dear")
    priced.call((2**40 - 1, 2**40 - 1), model="thirds")
    priced.drain()
    assert rows_of(priced.paths.database) == priced.expected()
    assert priced.expected()[0]["cost_usd"] > 2**40
    hours = query(priced.paths.database, "select sum(cost_usd) as usd from usage_1h")
    assert hours == [{"usd": pytest.approx(sum(row["cost_usd"] for row in priced.expected()))}]


#: What the first version wrote: heads without prices, rows without a cost.
OLD = (
    '[0,"{""service"":null,""app"":null,""env"":null,""team"":""ml"",""user_id"":""ann"",'
    '""session_id"":null,""provider"":""openai"",""model"":""gpt-5.1"",""operation"":""chat"",'
    '""status"":""ok"",""decision"":""allowed"",""budget"":null,""calls"":1,""attempts"":1,'
    '""estimated"":false,""revision"":0,""source"":""span"",""tags"":[],""attributes"":{}}"\n'
    '[0,"0193-old-1",1767225600000000000,4711,815,42,120000,null,[900,210,100,0,50],0]\n'
    '[0,"0193-old-2",1767225601000000000,0,0,0,null,null,[1,2,0,0,0],0]\n'
    '[0,"0193-old-3",1767225601000000000,0,0,0,null,null,[1,2'
)


def test_what_an_older_version_has_spooled_is_taken_in(priced: Writer) -> None:
    priced.paths.spool.mkdir(parents=True)
    (priced.paths.spool / "0-old.segment").write_text(OLD)
    priced.call(model="flat")  # and both in one drain
    assert priced.drain() == 3
    found: list[dict[str, Any]] = rows_of(priced.paths.database)
    assert [(row["event_id"], row["total_tokens"]) for row in found[:2]] == [
        ("0193-old-1", 1110),
        ("0193-old-2", 3),
    ]
    assert [(row["cost_usd"], row["price_version"]) for row in found[:2]] == [(None, None)] * 2
    assert (found[0]["user_id"], found[0]["reasoning_tokens"]) == ("ann", 50)
    assert found[2]["cost_usd"] == priced.events[0].cost_usd


def test_a_row_that_is_cut_off_anywhere_is_not_taken_for_a_whole_one(priced: Writer) -> None:
    priced.call(model="gemini-2.5-pro")
    priced.spool.seal()
    whole = priced.segment().read_bytes()
    for end in range(whole.rindex(b"],"), len(whole)):
        priced.segment().write_bytes(whole[:end])
        assert drain(priced.paths) == 0
        (priced.paths.spool / f"{end}.segment").write_bytes(whole)
    assert drain(priced.paths) == 1
