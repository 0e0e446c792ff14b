"""Matching: which budgets look at a call, of a thousand or more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import NamedTuple

from otel_atm.budget import Budget
from otel_atm.budget_text import TAGS, is_glob

_Check = Callable[[str], object]
#: Which characters of a value to look at: [start:stop].
_Part = tuple[int | None, int | None]


class _Place(NamedTuple):
    """Where a budget is filed: under a text that a part of a value must be."""

    key: str
    part: _Part
    text: str


class _Condition(NamedTuple):
    """A pattern for a key.

    Attributes:
        place: of all patterns for which a value must have the same beginning or end.
        check: whether a value, which is not empty, matches.
        decided: whether what is found at `place` needs no check.
    """

    place: _Place
    check: _Check
    decided: bool


class _Candidate(NamedTuple):
    """A budget, to be found in the order of `rank`, that matches if all checks hold."""

    rank: int
    budget: Budget
    checks: tuple[tuple[str, _Check], ...]


#: Of one key, for each part of a value that is looked at: its text → candidates.
_Shelf = list[tuple[slice, dict[str, list[_Candidate]]]]


class Matcher:
    """Finds the budgets that match a call, in a time that hardly depends on how many there are.

    Each budget is filed under one of its conditions, by the exact value or by what its pattern
    begins or ends with; of several under the one that it shares with the fewest others. Only
    budgets whose condition a call may meet are looked at.

    Args:
        budgets: in the order in which they are to be found.
    """

    __slots__ = ("_always", "_by_key", "_by_tag")

    def __init__(self, budgets: Iterable[Budget]) -> None:
        wanted = [(budget, [_condition(*pair) for pair in budget.match]) for budget in budgets]
        crowd = Counter(one.place for _, conditions in wanted for one in conditions)
        self._always: list[_Candidate] = []
        filed: dict[str, dict[_Part, dict[str, list[_Candidate]]]] = {}
        for rank, (budget, conditions) in enumerate(wanted):
            if not conditions:
                self._always.append(_Candidate(rank, budget, ()))
                continue
            filed_by = min(conditions, key=lambda one: (crowd[one.place], -len(one.place.text)))
            checks = tuple(
                (one.place.key, one.check)
                for one in conditions
                if not (one is filed_by and one.decided)
            )
            key, part, text = filed_by.place
            shelf = filed.setdefault(key, {}).setdefault(part, {})
            shelf.setdefault(text, []).append(_Candidate(rank, budget, checks))
        shelves = {
            key: [(slice(*part), texts) for part, texts in parts.items()]
            for key, parts in filed.items()
        }
        self._by_tag: _Shelf = shelves.pop(TAGS, [])
        self._by_key = list(shelves.items())

    def find(self, values: Mapping[str, str | None], tags: Sequence[str]) -> list[Budget]:
        """The budgets all of whose patterns a call's values match.

        Args:
            values: of the scope's keys, "provider" and "model". None or an empty text is no value
                and matches nothing.
            tags: of the scope.
        """
        found = {rank: budget for rank, budget, _ in self._always}
        for key, shelf in self._by_key:
            if value := values.get(key):
                for part, texts in shelf:
                    if candidates := texts.get(value[part]):
                        _check(candidates, values, tags, found)
        for part, texts in self._by_tag:
            for tag in tags:
                if candidates := texts.get(tag[part]):
                    _check(candidates, values, tags, found)
        return [found[rank] for rank in sorted(found)]


def _check(
    candidates: list[_Candidate],
    values: Mapping[str, str | None],
    tags: Sequence[str],
    found: dict[int, Budget],
) -> None:
    """Add the candidates that match to those that were found."""
    for rank, budget, checks in candidates:
        for key, check in checks:
            if key == TAGS:
                if not any(check(tag) for tag in tags):
                    break
            elif not ((value := values.get(key)) and check(value)):
                break
        else:
            found[rank] = budget


def _condition(key: str, pattern: str) -> _Condition:
    if not is_glob(pattern):
        return _Condition(_Place(key, (None, None), pattern), pattern.__eq__, decided=True)
    begin, end = re.split(r"[*?\[]", pattern)[0], re.split(r"[*?\]]", pattern)[-1]
    if len(end) > len(begin):
        place = _Place(key, (-len(end), None), end)
        decided = pattern == "*" + end
    else:
        place = _Place(key, (None, len(begin)), begin)
        decided = pattern == begin + "*"
    return _Condition(place, re.compile(translate(pattern)).match, decided)
