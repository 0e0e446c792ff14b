"""Told: what a processor of ours has written on a span, read back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from otel_atm.errors import ConfigurationError
from otel_atm.event import DECISIONS
from otel_atm.gate import PLAIN, Outcome
from otel_atm.scope import NOBODY, Scope
from otel_atm.semconv import ATM_BUDGET_NAME, ATM_CALL_ID, ATM_DECISION, ATM_PREFIX, ATM_TAGS

_CALL_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFUSED: Final = "refused"
_OTHERS: Final = (ATM_CALL_ID, ATM_DECISION, ATM_BUDGET_NAME, ATM_TAGS)


class Told(NamedTuple):
    """What a processor knew of a call when its span started.

    Attributes:
        call_id: the id of the call's row.
        scope: who pays.
        outcome: what was decided, of a call that has not ended.
    """

    call_id: str
    scope: Scope
    outcome: Outcome


def read_told(attributes: Mapping[str, Any]) -> Told | None:
    """What was written on the span with these attributes; None if no processor has seen it."""
    call_id = attributes.get(ATM_CALL_ID)
    if not (isinstance(call_id, str) and _CALL_ID.fullmatch(call_id)):
        return None
    return Told(call_id, _scope(attributes), _outcome(attributes))


def _scope(attributes: Mapping[str, Any]) -> Scope:
    keys = {
        name.removeprefix(ATM_PREFIX): value
        for name, value in attributes.items()
        if name.startswith(ATM_PREFIX) and name not in _OTHERS and isinstance(value, str)
    }
    tags = attributes.get(ATM_TAGS)
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        tags = ()
    try:
        return Scope(tags=[tag for tag in tags if tag and isinstance(tag, str)], **keys)
    except ConfigurationError:
        return NOBODY  # no processor of ours wrote this


def _outcome(attributes: Mapping[str, Any]) -> Outcome:
    decision, budget = attributes.get(ATM_DECISION), attributes.get(ATM_BUDGET_NAME)
    if decision == PLAIN.decision or decision not in DECISIONS:
        return PLAIN
    budget = budget if isinstance(budget, str) else None
    return Outcome(decision=decision, budget=budget, attempts=0 if decision == REFUSED else 1)
