"""Budget files: budgets in YAML or TOML, and a switch that stops every call."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.budget_fields import TERMS
from otel_atm.config_file import Node, Problems, load
from otel_atm.errors import BudgetError, ConfigurationError

#: What a budget of a file may say: the arguments of `Budget`, of which one is the text.
KEYS: Final = tuple(name for name in inspect.signature(Budget).parameters)
#: Instead of what a budget must have but cannot be read, so that the rest of it is read, too.
_STAND_IN: Final[dict[str, Any]] = {"limit": 1, "window": "day"}
#: What makes sense or not depending on another key, so that nothing is said of it if that is wrong.
_DEPENDING: Final = {
    "action": ("degrade_to", "block_at"),
    "unit": ("limit", "weights", "on_unknown_price"),
    "text": ("weights", "on_unknown_price"),
}
_NUMBERS: Final = ("limit", "alert_at", "block_at", "month_day", "weights", "on_unknown_price")


@dataclass(frozen=True, slots=True)
class BudgetFile:
    """What a budget file says.

    Attributes:
        budgets: in the order of the file.
        stopped: whether every call is to be refused.
    """

    budgets: tuple[Budget, ...]
    stopped: bool


def says_stop(path: str | os.PathLike[str]) -> bool:
    """Whether a file stops every call, whatever else is wrong in it; never raises."""
    try:
        stop = load(path).get("stop")
    except ConfigurationError:
        return False
    return stop is not None and stop.value is True


def lets_go_on(path: str | os.PathLike[str]) -> bool:
    """Whether a file can be read, and stops nothing; never raises."""
    try:
        return not read_budget_file(path).stopped
    except ConfigurationError:
        return False


def read_budget_file(path: str | os.PathLike[str]) -> BudgetFile:
    """Read a file of budgets.

    It is a mapping of ``budgets``, a list of texts and of mappings with the arguments of `Budget`
    as keys, and ``stop``, true or false::

        budgets:
          - 500 tokens / minute per user
          - text: 50 USD / month per team
            alert_at: [50%, 80%]
          - limit: 20k
            window: day
            match: {user: "bot-*"}

    Args:
        path: ends in ``.yaml``, ``.yml`` or ``.toml``.

    Raises:
        BudgetError: for a file that cannot be read, and for all that is wrong in it at once, a
            line ``file:line: key: value: problem`` each.
    """
    try:
        root = load(path)
    except ConfigurationError as wrong:
        raise BudgetError(str(wrong)) from None
    problems = Problems(os.fspath(path), BudgetError)
    stop, listed = root.get("stop"), root.get("budgets")
    if not isinstance(root.value, dict):
        problems.note(root.line, "expected a mapping of budgets, a list, and stop, true or false")
    problems.unknown_keys(root, ("budgets", "stop"))
    if stop is not None and not isinstance(stop.value, bool):
        problems.add(stop, "stop", "expected true or false")
    if listed is not None and not isinstance(listed.value, list):
        problems.add(listed, "budgets", "expected a list of budgets")
    if listed is None and stop is None and not len(problems):
        problems.note(root.line, "expected budgets, a list")
    budgets = _budgets(listed.items if listed else (), problems)
    problems.check()
    return BudgetFile(budgets, bool(stop and stop.value))


def _budgets(items: tuple[Node, ...], problems: Problems) -> tuple[Budget, ...]:
    read: dict[object, tuple[Budget, int]] = {}
    for item in items:
        budget = _budget(item, problems)
        if budget is None:
            continue
        twin, line = read.setdefault(budget.identity, (budget, item.line))
        if twin is not budget:
            problems.note(
                item.line,
                f"{budget.label!r} has the same identity as the budget in line {line}; "
                "name one of them",
            )
    return tuple(budget for budget, _ in read.values())


def _budget(item: Node, problems: Problems) -> Budget | None:
    """The budget, if nothing is wrong with it."""
    if isinstance(item.value, str):
        try:
            return Budget(item.value)
        except BudgetError as error:
            problems.note(item.line, f"{item.value!r}: {error.problem}")
            return None
    if not isinstance(item.value, dict):
        problems.add(item, "budgets", "expected the text of a budget, or a mapping")
        return None
    before = len(problems)
    problems.unknown_keys(item, KEYS)
    given = {key: node.value for key, node in item.fields.items() if key in KEYS}
    budget = _tried(given, item, problems)
    return budget if len(problems) == before else None


def _tried(given: dict[str, Any], item: Node, problems: Problems) -> Budget | None:
    """A budget of what is left when all that is wrong was noted and taken out."""
    while True:
        arguments = dict(given)
        texts = [arguments.pop("text")] if "text" in given else []
        try:
            return Budget(*texts, **arguments)
        except BudgetError as error:
            wrong = _blame(error, given)
            _note(error, wrong, item, problems)
            if not wrong:
                return None
            for key in wrong:
                _take_out(key, given)
            given.update({key: of for key, of in _STAND_IN.items() if not {key, "text"} & {*given}})


def _blame(error: BudgetError, given: dict[str, Any]) -> list[str]:
    """The keys that are to be taken out; none if that would not help."""
    if error.field:
        return [error.field] if error.field in given else []
    if "text" not in given:  # limit or window are missing
        return [key for key in _STAND_IN if key not in given]
    return [key for key in TERMS if key in given] or ["text"]


def _note(error: BudgetError, wrong: list[str], item: Node, problems: Problems) -> None:
    key = error.field or "text"
    node = item.get(key)
    if node is None or (error.field is None and wrong != ["text"]):
        problem = f"{error.field}: {error.problem}" if error.field else error.problem
        problems.note(item.line, problem)
        return
    problems.add(node, key, error.problem + _quotes(key, node.value))


def _quotes(key: str, value: object) -> str:
    """A hint, where a text was meant and the file's language has read something else."""
    if isinstance(value, dict) and key == "match":
        texts = list(value.values())
    else:
        texts = value if isinstance(value, list) else [value]
    if key in _NUMBERS or all(text is None or isinstance(text, str | list) for text in texts):
        return ""
    why = " (on, off, yes and no are true or false)" if any(map(_is_bool, texts)) else ""
    return f"; is it a text? Then put it in quotes{why}"


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _take_out(key: str, given: dict[str, Any]) -> None:
    says_unit = key == "limit" and isinstance(given.get(key), str) and "unit" not in given
    for name in (key, *_DEPENDING.get("unit" if says_unit else key, ())):
        given.pop(name, None)
