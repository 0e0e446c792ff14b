from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from otel_atm import (
    AtmError,
    BudgetError,
    ConfigurationError,
    StoreError,
    TokenQuotaExceeded,
)

FACTS: Mapping[str, Any] = {
    "budget": "500 tokens / minute per user",
    "scope": {"user": "ann"},
    "unit": "tokens",
    "requested": 150,
    "used": 400,
    "held": 0,
    "limit": 500,
    "resets_at": datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
    "retry_after_s": 48.0,
    "window": "minute",
    "reason": None,
}


def refusal(**other: Any) -> TokenQuotaExceeded:
    return TokenQuotaExceeded(**{**FACTS, **other})


def test_every_error_is_an_atm_error_and_wrong_settings_are_value_errors() -> None:
    bases = {kind: kind.__bases__ for kind in (ConfigurationError, BudgetError, StoreError)}
    assert bases == {
        ConfigurationError: (AtmError, ValueError),
        BudgetError: (ConfigurationError,),
        StoreError: (AtmError,),
    }
    assert (AtmError.__bases__, TokenQuotaExceeded.__bases__) == ((Exception,), (AtmError,))


def test_a_refusal_carries_its_facts() -> None:
    assert vars(refusal()) == FACTS


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            {},
            (
                "user='ann' asked for 150 tokens, 100 of 500 left this minute; resets in 48 s "
                "[budget: 500 tokens / minute per user]"
            ),
        ),
        (
            {"held": 60},
            (
                "user='ann' asked for 150 tokens, 40 of 500 left this minute (60 held by calls in "
                "flight); resets in 48 s [budget: 500 tokens / minute per user]"
            ),
        ),
        (
            {"scope": {}, "budget": "all", "used": 900},
            (
                "this call asked for 150 tokens, 0 of 500 left this minute; resets in 48 s "
                "[budget: all]"
            ),
        ),
        (
            {"scope": {"team": "ml", "model": "gpt-5.1"}, "budget": "teams"},
            (
                "team='ml' model='gpt-5.1' asked for 150 tokens, 100 of 500 left this minute; "
                "resets in 48 s [budget: teams]"
            ),
        ),
        (
            {"unit": "requests", "requested": 1, "used": 3, "limit": 3, "budget": "calls"},
            (
                "user='ann' asked for 1 request, 0 of 3 left this minute; resets in 48 s "
                "[budget: calls]"
            ),
        ),
        (
            {"unit": "input_tokens", "budget": "in"},
            (
                "user='ann' asked for 150 input tokens, 100 of 500 left this minute; resets "
                "in 48 s [budget: in]"
            ),
        ),
        (
            {"retry_after_s": None, "requested": 600, "used": 0, "budget": "b"},
            "user='ann' asked for 600 tokens, 500 of 500 left this minute [budget: b]",
        ),
        (
            {"reason": "the call has no team", "scope": {}, "budget": "b"},
            "this call was refused: the call has no team [budget: b]",
        ),
        (
            {"unit": "usd", "requested": 0.0123, "used": 4.5, "limit": 5, "budget": "b"},
            (
                "user='ann' asked for 0.0123 USD, 0.5 of 5 left this minute; resets in 48 s "
                "[budget: b]"
            ),
        ),
        (
            {"window": "lifetime", "retry_after_s": None, "budget": "b"},
            "user='ann' asked for 150 tokens, 100 of 500 left in all [budget: b]",
        ),
        (
            {"window": "rolling 5 minutes", "budget": "b"},
            (
                "user='ann' asked for 150 tokens, 100 of 500 left in any 5 minutes; resets in "
                "48 s [budget: b]"
            ),
        ),
    ],
)
def test_it_says_in_one_sentence_who_asked_for_what_and_what_is_left(
    other: dict[str, Any], sentence: str
) -> None:
    assert str(refusal(**other)) == sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (48, "48 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3_600, "1 h"),
        (18_720, "5 h 12 min"),
        (86_400, "1 d"),
        (1_047_600, "12 d 3 h"),
    ],
)
def test_the_wait_is_said_in_its_two_largest_parts(seconds: float, words: str) -> None:
    assert f"; resets in {words} [" in str(refusal(retry_after_s=seconds))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_refusal_crosses_processes_whole(protocol: int) -> None:
    error = refusal()
    error.add_note("in the nightly job")
    sent = pickle.loads(pickle.dumps(error, protocol))
    assert (type(sent), vars(sent), str(sent)) == (type(error), vars(error), str(error))


class _Mine(TokenQuotaExceeded):
    pass


def test_so_does_a_subclass_and_a_copy() -> None:
    error = _Mine(**FACTS)
    sent, copied = pickle.loads(pickle.dumps(error)), copy.copy(error)
    assert type(sent) is type(copied) is _Mine
    assert vars(sent) == vars(copied) == FACTS
    assert str(sent) == str(copied) == str(error)


def test_a_refusal_keeps_its_own_copy_of_the_scope() -> None:
    scope = {"user": "ann"}
    error = refusal(scope=scope)
    scope["user"] = "bob"
    assert error.scope == {"user": "ann"}


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (BudgetError("a budget needs limit"), "a budget needs limit"),
        (BudgetError("not both", "5 tokens / day"), "not both\n  5 tokens / day"),
        (BudgetError("no unit", "5 tok / day", 2, 5), "no unit\n  5 tok / day\n    ^^^"),
        (BudgetError("ends", "5 tokens", 8, 8), "ends\n  5 tokens\n          ^"),
    ],
)
def test_a_budget_error_points_at_what_is_wrong(error: BudgetError, shown: str) -> None:
    assert str(error) == shown


def test_a_budget_error_crosses_processes_whole() -> None:
    error = BudgetError("no unit", "5 tok / day", 2, 5)
    sent = pickle.loads(pickle.dumps(error))
    assert (vars(sent), str(sent)) == (vars(error), str(error))
