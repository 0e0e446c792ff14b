"""The text form of a budget: ``500 tokens / minute per user where env=prod``.

::

    budget = amount unit "/" window [ "per" key { "," key } ] [ "where" pair { "," pair } ]
    amount = [ "$" ] digits [ "." digits ] [ "k" | "M" | "bn" ]  1_000 and 1,000 are fine; $: in USD
    window = "minute" | … | "rolling" [ digits ] ( "seconds" | … )
    pair   = key "=" pattern                                      a glob; "tags" several times
    pattern = word | '"' text '"'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from typing import Final, NamedTuple, NoReturn, TypeVar

from otel_atm.errors import BudgetError
from otel_atm.window import WINDOWS, Window, nearest_window

#: The units that a budget can have. Their order is that of the amounts that the ledger counts.
UNITS: Final = ("tokens", "input_tokens", "output_tokens", "requests", "usd")
#: The largest limit, in the unit that a ledger counts: what metrics and DuckDB can count to.
MAX_LIMIT: Final = (1 << 63) - 1
#: Ledgers count money in millionths of a USD.
MICRO: Final = 10**6
#: The key of a scope's labels, of which a call can have several.
TAGS: Final = "tags"

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
    "USD": "usd",
}
_TOKEN: Final = re.compile(
    r"""\s*(
        "(?:[^"\\]|\\.)*"                     # a text in quotes
        | \$?\d{1,3}(?:,\d{3})+[^\s/,="]*     # 10,000 or $1,500.5k
        | [^\s/,="]+                           # a word
        | \S
    )""",
    re.VERBOSE,
)
_AMOUNT: Final = re.compile(r"(\$?)((?:\d{1,3}(?:,\d{3})+|\d[\d_]*)(?:\.\d+)?)([a-zA-Z]*)")
_WORD: Final = re.compile(r'[^\s/,="]+')
_LENGTH: Final = re.compile(r"(second|minute|hour|day|week)s?")
_T = TypeVar("_T")


class Terms(NamedTuple):
    """What a budget's text says.

    Attributes:
        cap: the limit as a ledger counts it: millionths of a USD, else the limit itself.
        match: (key, pattern) pairs, sorted.
    """

    cap: int
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
        raise BudgetError("expected a text", field="text", given=text)
    return _Parser(text).budget()


def parse_limit(text: str) -> tuple[Fraction, str | None]:
    """The amount and the unit, if it has one, of a limit such as "20k", "50 USD" or "$50".

    Raises:
        BudgetError: shows what is wrong, and where.
    """
    return _Parser(text).limit()


def render(terms: Terms) -> str:
    """The canonical text: `parse` reads it back as the same terms."""
    unit = "USD" if terms.unit == "usd" else terms.unit
    text = f"{amount_text(terms.cap, terms.unit)} {unit} / {terms.window}"
    if terms.by:
        text += f" per {', '.join(terms.by)}"
    if terms.match:
        text += " where " + ", ".join(f"{key}={_quoted(value)}" for key, value in terms.match)
    return text


def amount_text(cap: int, unit: str) -> str:
    """What a ledger counted, in plain digits: 0.25 for a quarter of a USD."""
    if unit != "usd":
        return str(cap)
    whole, millionths = divmod(cap, MICRO)
    return f"{whole}.{millionths:06}".rstrip("0").rstrip(".")


def cap_of(amount: Fraction, unit: str) -> int:
    """A limit as a ledger counts it.

    Raises:
        BudgetError: says what is expected, but not what was given.
    """
    cap = amount * MICRO if unit == "usd" else amount
    if cap <= 0 or cap.denominator != 1:
        kind = "an amount > 0 with at most 6 decimals" if unit == "usd" else "a whole amount > 0"
        raise BudgetError(f"expected {kind}")
    if cap > MAX_LIMIT:
        raise BudgetError(f"expected an amount of at most {amount_text(MAX_LIMIT, unit)}")
    return int(cap)


def contradiction(patterns: list[str]) -> str:
    """Why no one value can match all of these patterns; empty if one may."""
    plain = [pattern for pattern in patterns if not is_glob(pattern)]
    return f"no value is both {plain[0]!r} and {plain[1]!r}" if len(plain) > 1 else ""


def is_glob(pattern: str) -> bool:
    """Whether a pattern may match another text than itself."""
    return any(character in pattern for character in "*?[")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """``; did you mean 'tokens'?`` where a known word is near, else nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _quoted(value: str) -> str:
    if _WORD.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(found[1], found.start(1), found.end(1)) for found in _TOKEN.finditer(text)]
        self.at = 0

    def budget(self) -> Terms:
        amount, money = self.amount()
        unit = "usd" if money else self.unit()
        try:
            cap = cap_of(amount, unit)
        except BudgetError as error:
            self.fail(error.problem, 0)
        self.slash()
        window = self.window()
        by = self.list_of(self.counted_apart) if self.accept("per") else ()
        match = self.list_of(self.pair) if self.accept("where") else ()
        if self.at < len(self.tokens):
            done = "'where' or the end" if by and not match else "'per', 'where' or the end"
            self.fail(f"expected {'the end' if match else done}")
        return Terms(cap, unit, window, by, tuple(sorted(match)))

    def limit(self) -> tuple[Fraction, str | None]:
        amount, money = self.amount()
        unit = "usd" if money else self.unit() if self.at < len(self.tokens) else None
        if self.at < len(self.tokens):
            self.fail("expected the end")
        return amount, unit

    def amount(self) -> tuple[Fraction, bool]:
        """What the text says, and whether it says that it is money."""
        found = _AMOUNT.fullmatch(self.word)
        scale = found and _SCALE.get(found[3].lower())
        if not found or not scale:
            self.fail("expected an amount such as 500, 20k, 1.5M or $50")
        digits = found[2].replace("_", "").replace(",", "")
        self.at += 1
        if len(digits) > 40:  # so many digits take long to read
            return Fraction(MAX_LIMIT + 1), bool(found[1])
        return Fraction(digits) * scale, bool(found[1])

    def unit(self) -> str:
        two = " ".join(token[0] for token in self.tokens[self.at : self.at + 2])
        for words, count in ((two, 2), (self.word, 1)):
            if unit := _SPELLINGS.get(words):
                self.at += count
                return unit
        hint = nearest(self.word.lower(), UNITS)
        self.fail(f"unknown unit {self.word!r}; expected {', '.join(UNITS)}{hint}")

    def slash(self) -> None:
        if self.word in ("per", "a", "every") and self.next_word in WINDOWS:
            self.fail(f"expected '/' and a window: write '/ {self.next_word}'")
        if not self.accept("/"):
            self.fail("expected '/' and a window, e.g. '/ minute'")

    def window(self) -> str:
        word = self.word
        if word in WINDOWS:
            self.at += 1
            return word
        if word == "rolling":
            return self.rolling()
        hint = nearest_window(word)
        if word.isdecimal() and _LENGTH.fullmatch(self.next_word):
            hint = f"; did you mean 'rolling {word} {self.next_word}'?"
        expected = f"{', '.join(WINDOWS)} or 'rolling 5 minutes' and the like"
        self.fail(f"unknown window {word!r}; expected {expected}{hint}")

    def rolling(self) -> str:
        begin = self.at
        self.at += 1
        words = ["rolling"]
        if self.word.isdecimal():
            words.append(self.word)
            self.at += 1
        if not _LENGTH.fullmatch(self.word):
            self.fail(
                "expected seconds, minutes, hours, days or weeks, e.g. 'rolling 5 minutes'"
                + nearest(self.word, ("seconds", "minutes", "hours", "days", "weeks"))
            )
        words.append(self.word)
        try:
            name = Window(" ".join(words)).name
        except BudgetError as error:
            self.fail(error.problem, begin + 1)
        self.at += 1
        return name

    def key(self) -> str:
        if not self.word.isidentifier():
            self.fail("expected a scope key, e.g. user, team or model")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def counted_apart(self, earlier: list[str]) -> str:
        before, key = self.at, self.key()
        if key == TAGS:
            self.fail("a call can have several tags, so they are not counted apart", before)
        if key in earlier:
            self.fail("this is there twice", before)
        return key

    def pair(self, earlier: list[tuple[str, str]]) -> tuple[str, str]:
        before, key = self.at, self.key()
        if not self.accept("="):
            self.fail(f"expected '=' and a value for {key!r}")
        word = self.word
        if word.startswith('"') and len(word) > 2:
            word = re.sub(r"\\(.)", r"\1", word[1:-1])
        elif not _WORD.fullmatch(word):
            self.fail(f"expected a value for {key!r}: a word, or a text in double quotes")
        self.at += 1
        if (key, word) in earlier:
            self.fail("this is there twice", before)
        values = [other for name, other in (*earlier, (key, word)) if name == key]
        if key != TAGS and (problem := contradiction(values)):
            self.fail(problem, before)
        return key, word

    def list_of(self, item: Callable[[list[_T]], _T]) -> tuple[_T, ...]:
        items = [item([])]
        while self.accept(","):
            items.append(item(items))
        return tuple(items)

    @property
    def word(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    @property
    def next_word(self) -> str:
        return self.tokens[self.at + 1][0] if self.at + 1 < len(self.tokens) else ""

    def accept(self, word: str) -> bool:
        if self.word != word:
            return False
        self.at += 1
        return True

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        index = self.at if at is None else at
        end = len(self.text.rstrip())
        start, stop = self.tokens[index][1:] if index < len(self.tokens) else (end, end + 1)
        where = f"column {start + 1}" if index < len(self.tokens) else "the end"
        raise BudgetError(f"{problem} (at {where})", self.text, start, stop)
