"""The text form of a budget: ``500 tokens / minute per user where env=prod``.

::

    budget = amount unit "/" window [ "per" key { "," key } ] [ "where" pair { "," pair } ]
    amount = digits [ "." digits ] [ "k" | "M" | "bn" ]          1_000 and 1,000 are fine
    pair   = key "=" ( word | '"' text '"' )
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from typing import Final, NamedTuple, NoReturn, TypeVar

from otel_atm.errors import BudgetError
from otel_atm.window import WINDOWS

#: The units that a budget can have. Their order is that of the amounts that the ledger counts.
UNITS: Final = ("tokens", "input_tokens", "output_tokens", "requests")
#: The largest limit: what metrics and DuckDB can count to.
MAX_LIMIT: Final = (1 << 63) - 1
LATER_UNITS: Final = ("usd", "USD")
LATER_WINDOWS: Final = ("call", "trace", "session", "lifetime", "rolling")

_SCALE: Final = {"": 1, "k": 10**3, "m": 10**6, "bn": 10**9, "b": 10**9}
_SPELLINGS: Final = {
    **{unit: unit for unit in UNITS},
    **{unit.replace("_", " "): unit for unit in UNITS},
    "token": "tokens",
    "input": "input_tokens",
    "output": "output_tokens",
    "request": "requests",
    "calls": "requests",
    "call": "requests",
}
_TOKEN: Final = re.compile(
    r"""\s*(
        "(?:[^"\\]|\\.)*"                     # a text in quotes
        | \d{1,3}(?:,\d{3})+[^\s/,="]*        # 10,000 or 1,500.5k
        | [^\s/,="]+                           # a word
        | \S
    )""",
    re.VERBOSE,
)
_AMOUNT: Final = re.compile(r"((?:\d{1,3}(?:,\d{3})+|\d[\d_]*)(?:\.\d+)?)([a-zA-Z]*)")
_WORD: Final = re.compile(r'[^\s/,="]+')
_T = TypeVar("_T")


class Terms(NamedTuple):
    """What a budget says, without its name."""

    limit: int
    unit: str
    window: str
    by: tuple[str, ...]
    match: tuple[tuple[str, str], ...]


def parse(text: str) -> Terms:
    """Read a budget's text.

    Raises:
        BudgetError: shows what is wrong, and where.
    """
    if not isinstance(text, str):
        raise BudgetError(f"a budget's text is a str, not {text!r}")
    return _Parser(text).budget()


def render(terms: Terms) -> str:
    """The canonical text: `parse` reads it back as the same terms."""
    text = f"{terms.limit} {terms.unit} / {terms.window}"
    if terms.by:
        text += f" per {', '.join(terms.by)}"
    if terms.match:
        text += " where " + ", ".join(f"{key}={_quoted(value)}" for key, value in terms.match)
    return text


def nearest(word: str, known: tuple[str, ...]) -> str:
    """``; did you mean 'tokens'?`` where a known word is near, else nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _quoted(value: str) -> str:
    if _WORD.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key(item: object) -> object:
    return item[0] if isinstance(item, tuple) else item


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(found[1], found.start(1), found.end(1)) for found in _TOKEN.finditer(text)]
        self.at = 0

    def budget(self) -> Terms:
        limit = self.amount()
        unit = self.unit()
        self.expect("/", "'/' and a window, e.g. '/ minute'")
        window = self.window()
        by = self.list_of(self.key) if self.accept("per") else ()
        match = dict(self.list_of(self.pair)) if self.accept("where") else {}
        if self.at < len(self.tokens):
            done = "'where' or the end" if by and not match else "'per', 'where' or the end"
            self.fail(f"expected {'the end' if match else done}")
        return Terms(limit, unit, window, by, tuple(sorted(match.items())))

    def amount(self) -> int:
        found = _AMOUNT.fullmatch(self.word)
        scale = found and _SCALE.get(found[2].lower())
        if not found or not scale:
            self.fail("expected an amount such as 500, 20k or 1.5M")
        digits = found[1].replace("_", "").replace(",", "")
        amount = Fraction(digits) * scale if len(digits) < 40 else Fraction(MAX_LIMIT + 1)
        if amount <= 0 or amount.denominator != 1:
            self.fail("expected a whole amount > 0")
        if amount > MAX_LIMIT:
            self.fail(f"expected an amount of at most {MAX_LIMIT}")
        self.at += 1
        return int(amount)

    def unit(self) -> str:
        two = " ".join(token[0] for token in self.tokens[self.at : self.at + 2])
        for words, count in ((two, 2), (self.word, 1)):
            if unit := _SPELLINGS.get(words):
                self.at += count
                return unit
        if self.word in LATER_UNITS:
            self.fail(f"the unit {self.word!r} comes in a later version; now: {', '.join(UNITS)}")
        self.fail(
            f"unknown unit {self.word!r}; expected {', '.join(UNITS)}{nearest(self.word, UNITS)}"
        )

    def window(self) -> str:
        word = self.word
        if word in WINDOWS:
            self.at += 1
            return word
        if word in LATER_WINDOWS:
            self.fail(f"the window {word!r} comes in a later version; now: {', '.join(WINDOWS)}")
        self.fail(f"unknown window {word!r}; expected {', '.join(WINDOWS)}{nearest(word, WINDOWS)}")

    def key(self) -> str:
        if not self.word.isidentifier():
            self.fail("expected a scope key, e.g. user, team or model")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def pair(self) -> tuple[str, str]:
        key = self.key()
        self.expect("=", f"'=' and a value for {key!r}")
        word = self.word
        if word.startswith('"') and len(word) > 2:
            word = re.sub(r"\\(.)", r"\1", word[1:-1])
        elif not _WORD.fullmatch(word):
            self.fail(f"expected a value for {key!r}: a word, or a text in double quotes")
        self.at += 1
        return key, word

    def list_of(self, item: Callable[[], _T]) -> tuple[_T, ...]:
        items = [item()]
        while self.accept(","):
            before = self.at
            items.append(item())
            if _key(items[-1]) in [_key(earlier) for earlier in items[:-1]]:
                self.fail("this is there twice", before)
        return tuple(items)

    @property
    def word(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def accept(self, word: str) -> bool:
        if self.word != word:
            return False
        self.at += 1
        return True

    def expect(self, word: str, meaning: str) -> None:
        if not self.accept(word):
            self.fail(f"expected {meaning}")

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        index = self.at if at is None else at
        end = len(self.text.rstrip())
        start, stop = self.tokens[index][1:] if index < len(self.tokens) else (end, end + 1)
        where = f"column {start + 1}" if index < len(self.tokens) else "the end"
        raise BudgetError(f"{problem} (at {where})", self.text, start, stop)
