"""The fields of a budget: each is checked here, and brought into the one form that it has.

Every function takes what was given and raises a `BudgetError` that quotes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn, TypeGuard

from otel_atm import budget_text
from otel_atm.budget_text import TAGS, UNITS, Terms, nearest
from otel_atm.errors import BudgetError
from otel_atm.window import CALENDAR, Window

ACTIONS: Final = ("block", "warn", "degrade", "shadow")
MODES: Final = ("expected", "strict")
MISSING: Final = ("shared", "skip", "block")
ON_ERROR: Final = ("allow", "block", "local")
ON_UNKNOWN_PRICE: Final = ("block", "allow")
#: The fields that a text says instead.
TERMS: Final = ("limit", "unit", "window", "by", "match")
#: The kinds of tokens that can have a weight, and the units that count them.
WEIGHED: Final = {
    "input": ("tokens", "input_tokens"),
    "cache_read": ("tokens", "input_tokens"),
    "cache_write": ("tokens", "input_tokens"),
    "output": ("tokens", "output_tokens"),
    "reasoning": ("tokens", "output_tokens"),
}
MOST_ALERTS: Final = 10

BLOCK_AT: Final = 1.2
UNSET: Final[Any] = object()


class Weights(NamedTuple):
    """Exact: of each kind in the order of `WEIGHED`, times what makes all of them whole."""

    scale: int
    of: tuple[int, ...]


# What is limited ------------------------------------------------------------------------------


def terms_of(given: dict[str, Any]) -> Terms:
    """What the fields limit, unit, window, by and match say together."""
    missing = [key for key in ("limit", "window") if key not in given]
    if missing:
        raise BudgetError(
            f"a budget needs {' and '.join(missing)}; given: {list(given) or 'nothing'}"
        )
    unit = one_of("unit", given["unit"], UNITS) if "unit" in given else None
    cap, unit = _limit(given["limit"], unit)
    window = Window(given["window"]).name
    return Terms(cap, unit, window, _by(given.get("by", ())), _match(given.get("match", {})))


def _limit(value: object, unit: str | None) -> tuple[int, str]:
    if isinstance(value, str):
        amount, said = _said(value)
        if said and unit and said != unit:
            _refuse("limit", value, f"an amount of the unit {unit!r}")
        unit = unit or said
    elif type(value) is int or (unit == "usd" and isinstance(value, float | Decimal)):
        amount = _exact("limit", value)
    else:
        _refuse("limit", value, "a number > 0" if unit == "usd" else "an integer > 0")
    unit = unit or "tokens"
    try:
        return budget_text.cap_of(amount, unit), unit
    except BudgetError as error:
        raise BudgetError(error.problem, field="limit", given=value) from None


def _said(limit: str) -> tuple[Fraction, str | None]:
    try:
        return budget_text.parse_limit(limit)
    except BudgetError as error:
        raise BudgetError(error.problem, field="limit", given=limit) from None


def _by(value: object) -> tuple[str, ...]:
    keys = (value,) if isinstance(value, str) else value
    if not isinstance(keys, Iterable) or isinstance(keys, Mapping):
        _refuse("by", value, "a scope key or several")
    keys = tuple(keys)
    for key in keys:
        if not isinstance(key, str) or not key.isidentifier():
            _refuse("by", value, f"scope keys, which are identifiers; {key!r} is none")
    if TAGS in keys:
        _refuse("by", value, "keys of which a call has one value; it can have several tags")
    if len(set(keys)) < len(keys):
        _refuse("by", value, "each key once")
    return keys


def _match(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        _refuse("match", value, 'a mapping of scope keys to patterns, e.g. {"env": "prod"}')
    pairs: set[tuple[str, str]] = set()
    for key, wanted in value.items():
        if not isinstance(key, str) or not key.isidentifier():
            _refuse("match", value, f"scope keys, which are identifiers; {key!r} is none")
        patterns = dict.fromkeys(wanted if _listed(wanted) else [wanted])
        texts = [pattern for pattern in patterns if isinstance(pattern, str) and pattern]
        if len(texts) < len(patterns) or not texts:
            _refuse("match", value, f"texts as patterns; {key!r} has {wanted!r}")
        if key != TAGS and (problem := budget_text.contradiction(texts)):
            _refuse("match", value, f"patterns that can all match; for {key!r} {problem}")
        pairs.update((key, pattern) for pattern in texts)
    return tuple(sorted(pairs))


@lru_cache(maxsize=4_096)
def _shared(name: str, tz: str, week_start: str, month_day: int) -> Window:
    return Window(name, tz, week_start, month_day)


def clock_of(name: str, tz: str, week_start: str, month_day: int) -> Window:
    """With those settings only that matter to the window; all of them are checked."""
    Window(name, tz, week_start, month_day)
    return _shared(
        name,
        tz if name in CALENDAR else "UTC",
        week_start if name == "week" else "monday",
        month_day if name == "month" else 1,
    )


# What happens then ----------------------------------------------------------------------------


def alerts(value: object) -> tuple[float, ...]:
    """Of `alert_at`: fractions, ascending, each once."""
    given = list(value) if _listed(value) else [value]
    fractions = {_fraction(alert, value) for alert in given}
    if len(fractions) > MOST_ALERTS:
        _refuse("alert_at", value, f"at most {MOST_ALERTS} fractions")
    return tuple(sorted(fractions))


def _fraction(alert: object, given: object) -> float:
    expected = "fractions of the limit in (0, 1], e.g. 0.8 or '80%'"
    if isinstance(alert, str):
        try:
            number = Decimal(alert.strip().removesuffix("%"))
        except ArithmeticError:
            _refuse("alert_at", given, expected)
        alert = number / 100 if "%" in alert else number
    fraction = _exact("alert_at", alert, given, expected)
    if not 0 < fraction <= 1:
        _refuse("alert_at", given, expected)
    return float(fraction)


def degrade_to_of(value: object, action: str) -> str | None:
    """A model if the action needs one, else None."""
    if action == "degrade" and value is None:
        _refuse("degrade_to", value, "the name of a model, which the action 'degrade' needs")
    if action != "degrade" and value is not None:
        _refuse("degrade_to", value, f"nothing, as the action is {action!r}; 'degrade' takes it")
    return text_of("degrade_to", value)


def block_at_of(value: object, action: str) -> float:
    """How many times the limit; other than usual only if the action looks at it."""
    number = _exact("block_at", value, expected="a number, 1 to 1000")
    if not 1 <= number <= 1_000:
        _refuse("block_at", value, "a number, 1 to 1000")
    if action != "degrade" and value != BLOCK_AT:
        _refuse("block_at", value, f"nothing, as the action is {action!r}; 'degrade' takes it")
    return float(number)


def above_of(cap: int, block_at: float, action: str) -> int:
    """How much more than its limit a budget allows before it blocks."""
    if action != "degrade":
        return 0
    return int(cap * Fraction(str(block_at))) - cap  # 1.2 is not quite 1.2 as a float


def unknown_price_of(value: object, unit: str, action: str) -> str | float | None:
    """What to do, or USD per million tokens; None if the unit is not USD."""
    if unit != "usd":
        if value is None:
            return None
        _refuse("on_unknown_price", value, f"nothing, as the unit is {unit!r}; 'usd' takes it")
    if value is None:
        return "block" if action in ("block", "degrade") else "allow"
    if isinstance(value, str):
        return one_of("on_unknown_price", value, ON_UNKNOWN_PRICE)
    expected = "'block', 'allow' or USD per million tokens, a number of at least 0"
    number = _exact("on_unknown_price", value, expected=expected)
    if number < 0:
        _refuse("on_unknown_price", value, expected)
    return float(number)


def weights_of(value: object, unit: str) -> dict[str, Fraction]:
    """The weights that are not 1."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse("weights", value, 'a mapping of kinds to numbers, e.g. {"cache_read": 0.1}')
    kinds = tuple(kind for kind, units in WEIGHED.items() if unit in units)
    if value and not kinds:
        _refuse("weights", value, f"none, as the unit is {unit!r}; units of tokens take them")
    weights = dict.fromkeys(kinds, Fraction(1))
    for kind, weight in value.items():
        if kind not in kinds:
            of = f"kinds of {unit}: {', '.join(kinds)}"
            _refuse("weights", value, f"{of}; {kind!r} is none{nearest(str(kind), kinds)}")
        expected = f"numbers, 0 to 1000; {kind!r} has {weight!r}"
        weights[kind] = _exact("weights", weight, value, expected)
        if not 0 <= weights[kind] <= 1_000:
            _refuse("weights", value, expected)
        weights[kind] = Fraction(str(float(weights[kind])))  # no finer than what is shown
    if value and not any(weights.values()):
        _refuse("weights", value, "something that weighs more than 0")
    return {kind: weight for kind, weight in weights.items() if weight != 1}


def exactly(weighed: Mapping[str, Fraction], unit: str) -> Weights:
    """The weights of all kinds that the unit counts; 0 of the others."""
    scale = math.lcm(*(weight.denominator for weight in weighed.values()))
    of = [weighed.get(kind, 1) * scale if unit in units else 0 for kind, units in WEIGHED.items()]
    return Weights(scale, tuple(int(weight) for weight in of))


# Values ---------------------------------------------------------------------------------------


def _exact(key: str, value: object, given: object = UNSET, expected: str = "") -> Fraction:
    """A number as it was written: 0.1 is a tenth."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    # A huge exponent would take long to read.
    if isinstance(value, float | Decimal) and (not value or 1e-30 < abs(float(value)) < 1e30):
        return Fraction(str(value))
    _refuse(key, value if given is UNSET else given, expected or "a number > 0")


def plain(number: Fraction) -> int | float:
    """An int if the number is whole."""
    return number.numerator if number.denominator == 1 else float(number)


def _listed(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def text_of(key: str, value: object) -> str | None:
    """A text that is not blank, or None."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    _refuse(key, value, "a text that is not blank")


def one_of(key: str, value: object, known: tuple[str, ...]) -> str:
    """One of the known names."""
    if isinstance(value, str) and value in known:
        return value
    hint = nearest(value.lower(), known) if isinstance(value, str) else ""
    _refuse(key, value, f"one of {', '.join(known)}{hint}")


def _refuse(key: str, value: object, expected: str) -> NoReturn:
    raise BudgetError(f"expected {expected}", field=key, given=value)
