"""Budget: how much may be spent, by whom, in which window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from otel_atm import budget_text
from otel_atm.budget_text import UNITS, Terms
from otel_atm.errors import BudgetError
from otel_atm.window import WINDOWS

_UNSET: Final = object()


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """A hard limit on tokens or requests in a calendar window.

    Either a text or fields, not both::

        Budget("500 tokens / minute per user")
        Budget(limit=500, unit="tokens", window="minute", by="user")
        Budget("2M tokens / month per team where env=prod", name="teams")

    The text is ``LIMIT UNIT / WINDOW [per KEY[, KEY…]] [where KEY=VALUE[, KEY=VALUE…]]``; a limit
    may be written 20k, 1.5M or 10_000. ``str(budget)`` gives the canonical text, which reads back
    as an equal budget (but for its name).

    Args:
        text: the whole budget in words.
        limit: the most that one window may spend, an integer > 0, in `unit`.
        unit: "tokens" (input and output), "input_tokens", "output_tokens" or "requests".
        window: "minute", "hour", "day", "week" (ISO, from Monday) or "month", in UTC.
        by: scope keys to count apart for each of their values, e.g. ``("user", "model")``. Calls
            without such a key share one count.
        match: only calls whose scope has exactly these values, e.g. ``{"env": "prod"}``.
        name: shown in errors, rows and metrics instead of the canonical text. Spend belongs to the
            name where there is one, else to (unit, window, by, match); never to the limit. A
            named budget that changes any of these starts a new count.

    Raises:
        BudgetError: for anything that cannot be read; it quotes what was given and where.
    """

    limit: int
    unit: str
    window: str
    by: tuple[str, ...]
    match: tuple[tuple[str, str], ...]
    name: str | None

    def __init__(
        self,
        text: str | None = None,
        /,
        *,
        limit: int | object = _UNSET,
        unit: str | object = _UNSET,
        window: str | object = _UNSET,
        by: str | Iterable[str] | object = _UNSET,
        match: Mapping[str, str] | object = _UNSET,
        name: str | None = None,
    ) -> None:
        fields = {"limit": limit, "unit": unit, "window": window, "by": by, "match": match}
        given = {key: value for key, value in fields.items() if value is not _UNSET}
        if text is None:
            terms = _from_fields(given)
        elif given:
            raise BudgetError(
                f"a budget is a text or fields, not both: also given {list(given)}", text
            )
        else:
            terms = budget_text.parse(text)
        for key, value in zip(Terms._fields, terms, strict=True):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "name", _name(name))

    @property
    def identity(self) -> object:
        """What spend belongs to: the name, else all but the limit."""
        return self.name or (self.unit, self.window, self.by, self.match)

    @property
    def label(self) -> str:
        """The name, else the canonical text."""
        return self.name or str(self)

    def __str__(self) -> str:
        return budget_text.render(Terms(self.limit, self.unit, self.window, self.by, self.match))


def read_budgets(budgets: Iterable[Budget | str]) -> tuple[Budget, ...]:
    """Budgets from budgets and texts.

    Raises:
        BudgetError: for a text that cannot be read, something that is neither, and two budgets of
            one identity (their spend would be one, with two limits).
    """
    if isinstance(budgets, str):
        raise BudgetError(
            f"budgets={budgets!r}: give a list of budgets; budget files come in a later version"
        )
    if isinstance(budgets, Mapping) or not isinstance(budgets, Iterable):
        raise BudgetError(f"budgets={budgets!r}: expected a list of budgets or their texts")
    read: dict[object, Budget] = {}
    for given in budgets:
        budget = Budget(given) if isinstance(given, str) else given
        if not isinstance(budget, Budget):
            raise BudgetError(f"{given!r} is neither a Budget nor the text of one")
        twin = read.setdefault(budget.identity, budget)
        if twin is not budget:
            raise BudgetError(f"two budgets of one identity: {twin} and {budget}; name one of them")
    return tuple(read.values())


def _from_fields(given: dict[str, object]) -> Terms:
    missing = [key for key in ("limit", "window") if key not in given]
    if missing:
        raise BudgetError(
            f"a budget needs {' and '.join(missing)}; given: {list(given) or 'nothing'}"
        )
    return Terms(
        _limit(given["limit"]),
        _one_of("unit", given.get("unit", "tokens"), UNITS, budget_text.LATER_UNITS),
        _one_of("window", given["window"], WINDOWS, budget_text.LATER_WINDOWS),
        _by(given.get("by", ())),
        _match(given.get("match", {})),
    )


def _limit(value: object) -> int:
    if type(value) is not int or value <= 0:
        _refuse("limit", value, "an integer > 0")
    if value > budget_text.MAX_LIMIT:
        _refuse("limit", value, f"at most {budget_text.MAX_LIMIT}")
    return value


def _one_of(field: str, value: object, known: tuple[str, ...], later: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return value
    if value in later:
        raise BudgetError(f"{field}={value!r} comes in a later version; now: {', '.join(known)}")
    _refuse(field, value, f"one of {', '.join(known)}{budget_text.nearest(str(value), known)}")


def _by(value: object) -> tuple[str, ...]:
    keys = (value,) if isinstance(value, str) else value
    if not isinstance(keys, Iterable):
        _refuse("by", value, "a scope key or several")
    keys = tuple(keys)
    for key in keys:
        if not isinstance(key, str) or not key.isidentifier():
            _refuse("by", value, f"scope keys, which are identifiers; {key!r} is none")
    if len(set(keys)) < len(keys):
        _refuse("by", value, "each key once")
    return keys


def _match(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        _refuse("match", value, 'a mapping of scope keys to values, e.g. {"env": "prod"}')
    for key, wanted in value.items():
        if not isinstance(key, str) or not key.isidentifier():
            _refuse("match", value, f"scope keys, which are identifiers; {key!r} is none")
        if not isinstance(wanted, str) or not wanted:
            _refuse("match", value, f"texts as values; {key!r} has {wanted!r}")
    return tuple(sorted(value.items()))


def _name(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    _refuse("name", value, "a text that is not blank")


def _refuse(field: str, value: object, expected: str) -> NoReturn:
    raise BudgetError(f"{field}={value!r}: expected {expected}")
