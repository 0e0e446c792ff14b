from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.errors import ConfigurationError
from otel_atm.price import EVER, Price, Rates
from otel_atm.price_file import Entry, PriceFile, read_price_file
from otel_atm.pricing import flat_price

YAML = """\
# ours
prices:
  - model: my-model
    provider: openai
    input: 0.15
    output: 0.60
    cache_read: 0.075
    cache_write: 0.2
    reasoning: 1
    from: 2026-01-01
  - model: "llama-*"
    free: true
  - model: small
    input: 1e-3
    output: 0
"""
TOML = """\
# ours
[[prices]]
model = "my-model"
provider = "openai"
input = 0.15
output = 0.60
cache_read = 0.075
cache_write = 0.2
reasoning = 1
from = 2026-01-01

[[prices]]
model = "llama-*"
free = true

[[prices]]
model = "small"
input = 1e-3
output = 0
"""
NEW_YEAR_NS = 1_767_225_600_000_000_000


def read(folder: Path, text: str | bytes, name: str = "prices.yaml") -> PriceFile:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_price_file(path)


def problems(folder: Path, text: str | bytes, name: str = "prices.yaml") -> list[str]:
    """What is told, without the folder."""
    with pytest.raises(ConfigurationError) as raised:
        read(folder, text, name)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(("name", "text"), [("p.yaml", YAML), ("p.YML", YAML), ("p.toml", TOML)])
def test_yaml_and_toml_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    found = read(tmp_path, text, name)
    assert found.version == f"overrides {hashlib.sha256(text.encode()).hexdigest()[:8]}"
    assert [
        (entry.model, entry.provider, entry.start_ns, entry.price.rates) for entry in found.entries
    ] == [
        ("my-model", "openai", NEW_YEAR_NS, Rates(150_000, 75_000, 200_000, 600_000, 1_000_000)),
        ("llama-*", None, EVER, Rates(0, 0, 0, 0, 0)),
        ("small", None, EVER, Rates(1_000, 1_000, 1_000, 0, 0)),
    ]
    assert {entry.price.version for entry in found.entries} == {found.version}


def test_the_version_changes_with_the_file(tmp_path: Path) -> None:
    first, again, other = (read(tmp_path, text) for text in (YAML, YAML, YAML + "\n"))
    assert first.version == again.version != other.version


@pytest.mark.parametrize(
    ("pattern", "provider", "matching"),
    [
        ("gpt-5", None, [("openai", "gpt-5"), (None, "gpt-5")]),
        ("gpt-5*", None, [("openai", "gpt-5"), ("openai", "gpt-5.1"), (None, "gpt-5")]),
        ("gpt-5*", "open*", [("openai", "gpt-5"), ("openai", "gpt-5.1")]),
        ("*", "azure", []),
        ("a[1]", None, [("openai", "a[1]"), ("openai", "a1")]),
    ],
)
def test_an_entry_is_for_the_models_that_its_patterns_match(
    pattern: str, provider: str | None, matching: list[tuple[str | None, str]]
) -> None:
    asked = [("openai", "gpt-5"), ("openai", "gpt-5.1"), (None, "gpt-5"), ("openai", "GPT-5")]
    asked += [("openai", "a[1]"), ("openai", "a1")]
    entry = Entry(pattern, provider, EVER, flat_price(1), 1)
    assert [each for each in asked if entry.matches(*each)] == matching


@given(
    st.lists(
        st.tuples(st.sampled_from(["m", "m*", "*", "x"]), st.integers(0, 5)),
        unique=True,
        max_size=8,
    ),
    st.integers(-1, 6),
)
def test_the_first_pattern_with_a_price_that_has_started_counts_and_its_latest_one(
    listed: list[tuple[str, int]], at_ns: int
) -> None:
    entries = [
        Entry(model, None, start, flat_price(i), i) for i, (model, start) in enumerate(listed)
    ]
    started = [entry for entry in entries if entry.model != "x" and entry.start_ns <= at_ns]
    expected: Price | None = None
    for pattern in dict.fromkeys(entry.model for entry in entries):
        group = [entry for entry in started if entry.model == pattern]
        if group:
            expected = max(group, key=lambda entry: entry.start_ns).price
            break
    timeline = PriceFile("v", tuple(entries)).timeline("openai", "m")
    found = next((price for start_ns, price in timeline if at_ns >= start_ns), None)
    assert found is expected


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ('"2026-01-31"', datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30:00", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31T12:30:00+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_start_is_a_day_or_a_moment_in_utc(text: str, moment: datetime, tmp_path: Path) -> None:
    for name, file in (
        ("p.yaml", f"prices:\n- {{model: m, free: true, from: {text}}}\n"),
        ("p.toml", f'[[prices]]\nmodel = "m"\nfree = true\nfrom = {text}\n'),
    ):
        (entry,) = read(tmp_path, file, name).entries
        assert entry.start_ns == round(moment.timestamp()) * 10**9


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
price: 3
prices:
  - model: a
    inptu: 1
    output: -2
  - provider: ""
    input: cheap
    output: .nan
  - model: 4
    free: true
    input: 1
  - just a text
  - model: b
    free: false
    from: soon
  - model: c
    free: true
  - model: c
    free: true
    cache_read: true
"""
    amount = "expected USD per million tokens, a number from 0 to 1000000"
    keys = "model, provider, input, output, cache_read, cache_write, reasoning, from, free"
    assert problems(tmp_path, text) == [
        "prices.yaml:1: price: 3: unknown key; expected prices; did you mean 'prices'?",
        f"prices.yaml:3: input: is missing; {amount}, or free: true",
        f"prices.yaml:4: inptu: 1: unknown key; expected {keys}; did you mean 'input'?",
        f"prices.yaml:5: output: -2: {amount}",
        "prices.yaml:6: provider: '': expected a text; put it in quotes",
        "prices.yaml:6: model: is missing; expected a name or a shell pattern",
        f"prices.yaml:7: input: 'cheap': {amount}",
        f"prices.yaml:8: output: nan: {amount}",
        "prices.yaml:9: model: 4: expected a text; put it in quotes",
        "prices.yaml:11: input: 1: expected no price of what is free",
        "prices.yaml:12: prices: 'just a text': expected an entry with model, input and output",
        "prices.yaml:14: free: False: expected true, or prices instead",
        "prices.yaml:15: from: 'soon': expected a day in UTC such as 2026-01-31",
        "prices.yaml:18: model: 'c': with this provider and start is in line 16, too",
        f"prices.yaml:20: cache_read: True: {amount}",
        "prices.yaml:20: cache_read: True: expected no price of what is free",
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.yaml", "prices: []", "p.yaml:1: prices: nothing: expected a list of prices"),
        ("p.yaml", "prices: {a: 1}", "p.yaml:1: prices: a mapping of a: expected a list of prices"),
        ("p.yaml", "- model: a", "p.yaml:1: prices: is missing; expected a list of prices"),
        ("p.yaml", "just a text", "p.yaml:1: prices: is missing; expected a list of prices"),
        ("p.toml", "prices = 3", "p.toml:1: prices: 3: expected a list of prices"),
        ("p.yaml", "", "p.yaml: is empty"),
        ("p.json", "{}", "p.json: expected a file that ends in .yaml, .yml, .toml"),
    ],
)
def test_a_file_without_prices_is_none(name: str, text: str, told: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text, name) == [told]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"p\.yaml: cannot be read: No such file"):
        read_price_file(tmp_path / "p.yaml")
