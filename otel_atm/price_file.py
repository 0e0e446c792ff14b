"""A file of prices that go before the public ones.

::

    prices:
      - model: my-model        # exactly, or a shell pattern such as "llama-*"
        provider: openai       # likewise; without it: any
        input: 0.15            # USD per million tokens
        output: 0.60
        cache_read: 0.075      # without it: as input
        cache_write: 0.15      # without it: as input
        reasoning: 0.60        # without it: as output
        from: 2026-01-01       # UTC; without it: ever since
      - model: "llama-*"
        free: true

The first entry that matches counts. Of several entries with the same model and provider, the one
that started last does; before the first of them, the next one that matches.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final

from otel_atm.config_file import Node, Problems, parse, read_text
from otel_atm.price import EVER, MAX_USD_PER_MILLION, Price, make_tariff

_AMOUNTS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
_KEYS: Final = ("model", "provider", *_AMOUNTS, "from", "free")
_NOTHING: Final = Fraction(0)
_EXPECTED: Final = f"USD per million tokens, a number from 0 to {MAX_USD_PER_MILLION}"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One price of a file.

    Attributes:
        model, provider: what has to match: exactly, or as a shell pattern. Provider None: any.
        start_ns: from when on, in nanoseconds since the epoch.
        price: itself.
        line: where it stands.
    """

    model: str
    provider: str | None
    start_ns: int
    price: Price
    line: int

    def matches(self, provider: str | None, model: str) -> bool:
        """Whether it is for calls of this model."""
        return _matches(self.model, model) and (
            self.provider is None or (provider is not None and _matches(self.provider, provider))
        )


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What `read_price_file` has read.

    Attributes:
        version: ``overrides`` and the first 8 digits of the file's SHA-256: it changes with the
            file.
        entries: in the order of the file.
    """

    version: str
    entries: tuple[Entry, ...]

    def timeline(self, provider: str | None, model: str) -> tuple[tuple[int, Price], ...]:
        """The prices of a model, and from when on: the latest first; empty if it has none."""
        groups: dict[tuple[str, str | None], list[Entry]] = {}
        for entry in self.entries:
            if entry.matches(provider, model):
                groups.setdefault((entry.model, entry.provider), []).append(entry)
        found: list[Entry] = []
        for group in groups.values():
            # what starts later than a price from further up never counts
            before = [entry for entry in group if not found or entry.start_ns < found[-1].start_ns]
            found += sorted(before, key=lambda entry: entry.start_ns, reverse=True)
        return tuple((entry.start_ns, entry.price) for entry in found)


def read_price_file(path: str | os.PathLike[str]) -> PriceFile:
    """Read a file of prices, YAML or TOML.

    Raises:
        ConfigurationError: tells all that is wrong with it, each with its line.
    """
    text = read_text(path)
    root = parse(path, text)
    version = f"overrides {hashlib.sha256(text.encode()).hexdigest()[:8]}"
    problems = Problems(os.fspath(path))
    problems.unknown_keys(root, ("prices",))
    entries: list[Entry] = []
    listed = root.get("prices")
    if listed is None:
        problems.note(root.line, "prices: is missing; expected a list of prices")
    elif not listed.items:
        problems.add(listed, "prices", "expected a list of prices")
    else:
        for item in listed.items:
            if isinstance(item.value, dict):
                entries.append(_entry(item, version, problems))
            else:
                problems.add(item, "prices", "expected an entry with model, input and output")
        _note_repeated(entries, problems)
    problems.check()
    return PriceFile(version, tuple(entries))


def _entry(node: Node, version: str, problems: Problems) -> Entry:
    """One entry; where it has problems, it is only good for finding more of them."""
    problems.unknown_keys(node, _KEYS)
    model, provider = (_text(node, key, problems) for key in ("model", "provider"))
    if "model" not in node.fields:
        problems.note(node.line, "model: is missing; expected a name or a shell pattern")
    return Entry(
        model=model or "",
        provider=provider,
        start_ns=_start_ns(node, problems),
        price=Price(version, make_tariff([(-1, _usd_per_million(node, problems))])),
        line=node.line,
    )


def _text(node: Node, key: str, problems: Problems) -> str | None:
    field = node.get(key)
    if field is None:
        return None
    if not isinstance(field.value, str) or not field.value:
        problems.add(field, key, "expected a text; put it in quotes")
        return None
    return field.value


def _usd_per_million(node: Node, problems: Problems) -> list[Fraction]:
    """In the order of `Rates`."""
    free = node.get("free")
    if free is not None and free.value is not True:
        problems.add(free, "free", "expected true, or prices instead")
    given = {key: _amount(node.fields[key], key, problems) for key in _AMOUNTS if node.get(key)}
    if free is not None:
        for key in given:
            problems.add(node.fields[key], key, "expected no price of what is free")
    else:
        for key in ("input", "output"):
            if key not in given:
                problems.note(node.line, f"{key}: is missing; expected {_EXPECTED}, or free: true")
    input_, output = given.get("input", _NOTHING), given.get("output", _NOTHING)
    return [
        input_,
        given.get("cache_read", input_),
        given.get("cache_write", input_),
        output,
        given.get("reasoning", output),
    ]


def _amount(field: Node, key: str, problems: Problems) -> Fraction:
    try:
        # a text, too: YAML takes 1e-3 for one
        amount = _NOTHING if isinstance(field.value, bool) else Decimal(str(field.value))
        if not isinstance(field.value, bool) and 0 <= amount <= MAX_USD_PER_MILLION:
            return Fraction(amount)
    except InvalidOperation:
        pass
    problems.add(field, key, f"expected {_EXPECTED}")
    return _NOTHING


def _start_ns(node: Node, problems: Problems) -> int:
    field = node.get("from")
    if field is None:
        return EVER
    day = field.value
    if isinstance(day, str):  # in quotes
        try:
            day = datetime.fromisoformat(day)
        except ValueError:
            day = None
    if not isinstance(day, date):
        problems.add(field, "from", "expected a day in UTC such as 2026-01-31")
        return EVER
    moment = day if isinstance(day, datetime) else datetime.combine(day, time())
    return _nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _note_repeated(entries: list[Entry], problems: Problems) -> None:
    first: dict[tuple[str, str | None, int], int] = {}
    for entry in entries:
        line = first.setdefault((entry.model, entry.provider, entry.start_ns), entry.line)
        if line != entry.line and entry.model:
            problems.note(
                entry.line,
                f"model: {entry.model!r}: with this provider and start is in line {line}, too",
            )


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or fnmatchcase(name, pattern)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
