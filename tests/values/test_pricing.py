from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

import otel_atm
from otel_atm.errors import ConfigurationError
from otel_atm.price import make_tariff
from otel_atm.price_list import OWN_MACHINES, PROVIDERS, find_model, prices_of
from otel_atm.pricing import (
    Price,
    Prices,
    Rates,
    Tokens,
    flat_price,
    micro_usd,
    read_price_file,
    usd,
)

NOVEMBER_2026 = datetime(2026, 11, 22, 12, tzinfo=UTC)
VERSION = f"genai-prices {genai_prices.__version__}"
Known: TypeAlias = tuple[Provider, ModelInfo]
MODELS: list[Known] = [(provider, model) for provider in providers for model in provider.models]
CONDITIONAL = [known for known in MODELS if not isinstance(known[1].prices, ModelPrice)]
PRICES = Prices()

counts = st.integers(min_value=0, max_value=600_000)
moments = st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))


@st.composite
def calls(draw: st.DrawFn) -> Tokens:
    """Tokens of a call that can be."""
    total, output = draw(counts), draw(counts)
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    return total, output, read, write, draw(st.integers(0, output))


def ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000


def theirs(model: Known, tokens: Tokens, moment: datetime) -> Fraction:
    """Pico-USD, as genai-prices has it."""
    provider, info = model
    total, output, read, write, reasoning = tokens
    usage = genai_prices.Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_reasoning_tokens=reasoning,
    )
    found = info.calc_price(usage, provider, genai_request_timestamp=moment)
    return Fraction(found.total_price) * 10**12


def ours(model: Known, tokens: Tokens, moment: datetime) -> int | None:
    """Pico-USD, as we have it; None: this is not paid by tokens."""
    at_ns = ns(moment)
    for start_ns, price in prices_of(model[1]):
        if at_ns >= start_ns:
            return price.cost(tokens, at_ns)
    return None


def differs(model: Known, tokens: Tokens, moment: datetime) -> str:
    """What is wrong with our cost; empty if it is right."""
    cost, expected = ours(model, tokens, moment), theirs(model, tokens, moment)
    # each kind of token has an error of its own: a Decimal has 28 digits
    right = expected == 0 if cost is None else abs(cost - expected) <= 5
    return "" if right else f"{model[0].id} {model[1].id}: {cost}, not {expected}"


def price_of(provider: str | None, model: str, moment: datetime = NOVEMBER_2026) -> Price:
    found = PRICES.find(provider, model, ns(moment))
    assert found is not None
    return found


# What genai-prices says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens",
    [
        (1000, 0, 0, 0, 0),
        (0, 1000, 0, 0, 0),
        (3000, 1000, 500, 700, 300),
        (100_000, 10, 1, 1, 0),
        (100_001, 10, 1, 1, 0),
        (900_000, 100, 300_000, 200_000, 50),
    ],
)
def test_every_model_costs_what_genai_prices_says(tokens: Tokens) -> None:
    problems = [differs(model, tokens, NOVEMBER_2026) for model in MODELS]
    assert [problem for problem in problems if problem] == []


@given(st.sampled_from(MODELS), calls(), moments)
def test_any_call_at_any_time_costs_what_genai_prices_says(
    model: Known, tokens: Tokens, moment: datetime
) -> None:
    assert differs(model, tokens, moment) == ""


@given(st.sampled_from(CONDITIONAL), calls(), moments)
@settings(max_examples=300)
def test_so_it_does_where_prices_depend_on_the_time(
    model: Known, tokens: Tokens, moment: datetime
) -> None:
    assert differs(model, tokens, moment) == ""


def changes() -> Iterator[tuple[Known, datetime]]:
    """Every moment at which a price of a model begins or ends."""
    for known in CONDITIONAL:
        for price in known[1].prices:
            limit = price.constraint
            if isinstance(limit, StartDateConstraint):
                yield known, datetime.combine(limit.start_date, time(), UTC)
            elif isinstance(limit, TimeOfDateConstraint):
                for hour in (limit.start_time, limit.end_time):
                    yield known, datetime.combine(NOVEMBER_2026, hour)


@pytest.mark.parametrize("before", [timedelta(0), timedelta(microseconds=1)], ids=["at", "before"])
def test_prices_change_at_the_moment_that_genai_prices_has_for_it(before: timedelta) -> None:
    tokens = (1000, 1000, 100, 100, 100)
    problems = [differs(known, tokens, moment - before) for known, moment in changes()]
    assert len(problems) > 200
    assert [problem for problem in problems if problem] == []


@given(st.sampled_from(MODELS), calls(), moments)
def test_rates_are_all_there_is_to_know_where_a_price_has_any(
    model: Known, tokens: Tokens, moment: datetime
) -> None:
    for _, price in prices_of(model[1])[:1]:
        if price.rates is not None:
            total, output, read, write, reasoning = tokens
            counts = (total - read - write, read, write, output - reasoning, reasoning)
            cost = sum(count * rate for count, rate in zip(counts, price.rates, strict=True))
            assert price.cost(tokens, ns(moment)) == cost


def test_tiers_fees_and_hours_have_no_rates_but_a_cost() -> None:
    gemini, sonar = price_of("gcp.gemini", "gemini-2.5-pro"), price_of("perplexity", "sonar")
    deepseek = price_of("deepseek", "deepseek-chat")
    assert [gemini.rates, sonar.rates, deepseek.rates] == [None, None, None]
    assert usd(gemini.cost((200_000, 1000, 0, 0, 0), 0)) == 0.26
    assert usd(gemini.cost((200_001, 1000, 0, 0, 0), 0)) == 0.5150025
    assert usd(sonar.cost((0, 0, 0, 0, 0), 0)) > 0
    night, day = (datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in (20, 12))
    assert deepseek.cost((1000, 0, 0, 0, 0), ns(night)) < deepseek.cost((1000, 0, 0, 0, 0), ns(day))


def test_a_price_that_changed_on_a_day_has_rates_from_that_day_on() -> None:
    starts = datetime(2025, 6, 10, tzinfo=UTC)
    before = price_of("openai", "o3", starts - timedelta(microseconds=1))
    after = price_of("openai", "o3", starts)
    assert before.rates is None
    assert after.rates is not None
    assert after.rates.input == 2_000_000
    assert usd(before.cost((1_000_000, 0, 0, 0, 0), ns(starts) - 1)) == 10
    assert usd(before.cost((1_000_000, 0, 0, 0, 0), ns(starts))) == 2


# Names ----------------------------------------------------------------------------------------


def test_what_genai_prices_finds_by_an_id_of_its_own_is_what_we_find() -> None:
    lookup = genai_prices.data_snapshot.get_snapshot().find_provider_model
    for provider, model in MODELS:
        try:
            _, expected = lookup(model.id, None, provider.id, None)
        except LookupError:
            continue
        assert find_model(provider.id, model.id) is expected


def test_every_provider_of_the_registry_has_its_line_or_is_not_in_the_list() -> None:
    values = {
        *gen_ai_attributes.GenAiProviderNameValues,
        *gen_ai_attributes.GenAiSystemValues,
    }
    names = {value.value for value in values} - {"ibm.watsonx.ai"}
    assert names <= set(PROVIDERS)
    assert set(PROVIDERS.values()) <= {provider.id for provider in providers}


@pytest.mark.parametrize(
    ("provider", "model", "same"),
    [
        ("openai", "gpt-5.1-2025-11-13", ("openai", "gpt-5.1")),
        ("azure.ai.openai", "gpt-4o", ("azure", "gpt-4o")),
        ("Azure_OpenAI", "GPT-4o", ("azure", "gpt-4o")),
        ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
        (None, "gpt-4o", ("openai", "gpt-4o")),
        ("ibm.watsonx.ai", "mistral-large-latest", ("mistral", "mistral-large-latest")),
        ("litellm", "azure/gpt-4o", ("azure", "gpt-4o")),
        ("gcp.gemini", "models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        (
            "gcp.vertex_ai",
            "projects/p/locations/l/publishers/google/models/gemini-2.5-pro",
            ("google", "gemini-2.5-pro"),
        ),
        ("gcp.vertex_ai", "claude-sonnet-4@20250514", ("google", "claude-sonnet-4")),
        ("openai", "claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
        (
            "openai",
            "openrouter/anthropic/claude-sonnet-4.5",
            ("openrouter", "anthropic/claude-sonnet-4.5"),
        ),
        (
            "aws.bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ("aws", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ),
        (
            None,
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ("aws", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
            ("aws", "us.amazon.nova-lite-v1:0"),
        ),
    ],
)
def test_names_as_emitters_write_them_are_understood(
    provider: str | None, model: str, same: tuple[str, str]
) -> None:
    found = find_model(provider, model)
    assert found is not None
    assert found is find_model(*same)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", None),
        (None, None),
        (None, ""),
        ("openai", "no-such-model"),
        ("nobody", "no-such-model"),
        ("openai", "my-org/gpt-4o"),
        ("ollama", "deepseek-r1:8b"),
        ("openai", "whisper-1"),
    ],
    ids=str,
)
def test_what_has_no_price_has_none(provider: str | None, model: str | None) -> None:
    assert PRICES.find(provider, model, ns(NOVEMBER_2026)) is None


def test_machines_of_ones_own_are_no_providers() -> None:
    assert OWN_MACHINES.isdisjoint(PROVIDERS)
    assert OWN_MACHINES.isdisjoint({provider.id for provider in providers})


@given(st.none() | st.text(max_size=20), st.text(max_size=40), st.integers(0, 1 << 62))
def test_no_name_is_too_odd_to_ask_for(provider: str | None, model: str, at_ns: int) -> None:
    found = PRICES.find(provider, model, at_ns)
    assert found is None or found.version == VERSION


def test_a_price_is_looked_up_once_and_strangers_are_forgotten() -> None:
    prices = Prices()
    assert prices.find("openai", "gpt-4o", 0) is prices.find("openai", "gpt-4o", 0)
    for stranger in range(5_000):
        prices.find("nobody", f"stranger-{stranger}", 0)
    assert len(prices._public) <= 2 * 1024
    assert not any(
        "stranger" in str(key) for key in genai_prices.data_snapshot.get_snapshot()._provider_misses
    )


# One price ------------------------------------------------------------------------------------

RATES = Rates(input=5, cache_read=2, cache_write=7, output=11, reasoning=13)
PRICE = Price("mine", make_tariff([(-1, [Fraction(rate, 10**6) for rate in RATES])]))
any_count = st.integers(min_value=-(1 << 70), max_value=1 << 70)


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        ((10, 4, 3, 2, 1), 5 * 5 + 3 * 2 + 2 * 7 + 3 * 11 + 13),
        ((10, 0, 11, 0, 0), 10 * 2),  # more from the cache than there is
        ((10, 0, 8, 4, 0), 8 * 2 + 2 * 7),
        ((0, 4, 0, 0, 9), 4 * 13),  # more reasoning than there is
        ((-1, -1, -1, -1, -1), 0),
        ((10, 0, -5, 0, 0), 10 * 5),
    ],
)
def test_what_cannot_be_is_set_right(tokens: Tokens, cost: int) -> None:
    assert PRICE.rates == RATES
    assert PRICE.cost(tokens, 0) == cost


@given(st.tuples(any_count, any_count, any_count, any_count, any_count), any_count)
def test_no_tokens_cost_less_than_nothing(tokens: Tokens, at_ns: int) -> None:
    for price in (PRICE, price_of("deepseek", "deepseek-chat"), price_of("perplexity", "sonar")):
        assert price.cost(tokens, at_ns) >= 0


def test_half_a_pico_usd_is_rounded_up() -> None:
    half, third = (
        Price("", make_tariff([(-1, [rate / 10**6] * 5)]))
        for rate in (Fraction(1, 2), Fraction(1, 3))
    )
    assert (half.rates, third.rates) == (None, None)
    assert [half.cost((count, 0, 0, 0, 0), 0) for count in range(5)] == [0, 1, 1, 2, 2]
    assert [third.cost((count, 0, 0, 0, 0), 0) for count in range(5)] == [0, 0, 1, 1, 1]


@given(st.integers(0, 1 << 100))
def test_micro_usd_are_never_less_than_what_was_spent(pico: int) -> None:
    assert micro_usd(pico) * 10**6 - pico in range(10**6)


def test_micro_usd_and_usd() -> None:
    assert [micro_usd(pico) for pico in (0, 1, 10**6, 10**6 + 1)] == [0, 1, 1, 2]
    assert [usd(pico) for pico in (0, 1, 10**12, 123_456_789)] == [0.0, 1e-12, 1.0, 0.000123456789]


@given(st.floats(0, 1_000_000), calls())
def test_a_flat_price_is_the_same_for_all_tokens(price: float, tokens: Tokens) -> None:
    exact = Fraction(Decimal(str(price))) * 10**6 * (tokens[0] + tokens[1])
    assert abs(flat_price(price).cost(tokens, 0) - exact) <= Fraction(1, 2)


def test_a_flat_price_has_a_version_and_rates() -> None:
    assert (flat_price(2.5).version, flat_price(2.5).rates) == ("flat 2.5", Rates(*[2_500_000] * 5))


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf"), 1e7, True])
def test_a_flat_price_is_one_that_can_be(price: float) -> None:
    with pytest.raises(ConfigurationError, match="expected USD per million tokens"):
        flat_price(price)


# Overrides ------------------------------------------------------------------------------------


def test_overrides_go_before_the_public_prices_from_their_start_on(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(
        "prices:\n"
        "- {model: gpt-4o, provider: openai, input: 1, output: 2, from: 2026-06-01}\n"
        "- {model: gpt-4o, provider: openai, input: 3, output: 4, from: 2026-03-01}\n"
        "- {model: gpt-4*, input: 5, output: 6, from: 2026-01-01}\n"
    )
    overrides = read_price_file(tmp_path / "prices.yaml")
    prices = Prices(overrides)

    def dollars(provider: str, month: int, day: int, year: int = 2026) -> float:
        price = prices.find(provider, "gpt-4o", ns(datetime(year, month, day, tzinfo=UTC)))
        assert price is not None
        assert price.version == (overrides.version if year == 2026 else VERSION)
        return usd(price.cost((1_000_000, 0, 0, 0, 0), 0))

    assert [dollars("openai", month, 1) for month in (7, 6, 5, 3, 2, 1)] == [1, 1, 3, 3, 5, 5]
    assert dollars("azure", 7, 1) == 5
    assert dollars("openai", 12, 31, year=2025) == 2.5


# What it costs to have it ---------------------------------------------------------------------

WATCH = """
import json, sys, threading
events = []
sys.addaudithook(lambda event, args: events.append(event) if event.startswith("socket.") else None)
from otel_atm.pricing import Prices, read_price_file
{more}
print(json.dumps([events, threading.active_count(), "genai_prices" in sys.modules]))
"""
FIND = "assert {prices}.find('openai', {model!r}, 1 << 60) is not None"


@pytest.mark.parametrize(
    ("more", "loaded"),
    [
        ("", False),
        ("Prices()", False),
        (FIND.format(prices="Prices(read_price_file('prices.toml'))", model="mine"), False),
        (FIND.format(prices="Prices(read_price_file('prices.toml'))", model="gpt-4o"), True),
        (FIND.format(prices="Prices()", model="gpt-4o"), True),
        ("Prices().warm()", True),
    ],
)
def test_the_list_is_loaded_when_it_is_needed_without_a_network_or_a_thread(
    more: str, loaded: bool, tmp_path: Path
) -> None:
    (tmp_path / "prices.toml").write_text('[[prices]]\nmodel = "mine"\nfree = true\n')
    ran = subprocess.run(
        [sys.executable, "-c", WATCH.format(more=more)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(otel_atm.__file__).parents[1])},
        capture_output=True,
        check=True,
    )
    assert json.loads(ran.stdout) == [[], 1, loaded]
