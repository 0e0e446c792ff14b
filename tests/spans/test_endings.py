from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event

from otel_atm.spans.endings import CANCELLED, FREE, Ending, ending_of

ANSWERS = (
    {"gen_ai.response.id": "r1"},
    {"gen_ai.response.model": "gpt-5.1-2026"},
    {"gen_ai.response.time_to_first_chunk": 0.2},
)


def ending(error_type: Any, more: Mapping[str, Any] | None = None) -> Ending:
    return ending_of({"error.type": error_type, **(more or {})}, ())


@pytest.mark.parametrize("error_type", sorted(FREE))
def test_what_the_provider_refused_or_never_saw_cost_nothing(error_type: str) -> None:
    assert ending(error_type) == Ending("error", error_type, free=True)


@pytest.mark.parametrize("error_type", sorted(FREE))
@pytest.mark.parametrize("answer", ANSWERS)
def test_but_what_broke_in_the_midst_of_an_answer_may_have(
    error_type: str, answer: dict[str, Any]
) -> None:
    assert ending(error_type, answer) == Ending("error", error_type, free=False)


@pytest.mark.parametrize("status", ["400", "401", "429", "500", "503", "529"])
def test_nor_did_an_http_error(status: str) -> None:
    assert ending(status) == Ending("error", status, free=True)
    assert ending("Odd", {"http.response.status_code": int(status)}).free


@pytest.mark.parametrize("status", ["200", "302", "600", "4290", "42"])
def test_other_numbers_are_not_http_errors(status: str) -> None:
    assert ending(status) == Ending("error", status, free=False)
    assert not ending("Odd", {"http.response.status_code": int(status)}).free


@pytest.mark.parametrize("error_type", sorted(CANCELLED))
def test_whoever_stopped_waiting_cancelled(error_type: str) -> None:
    assert ending(error_type) == Ending("cancelled", error_type, free=False)


@pytest.mark.parametrize("error_type", ["APITimeoutError", "ReadTimeout", "timeout", "KeyError"])
def test_after_anything_else_the_provider_may_have_worked(error_type: str) -> None:
    assert ending(error_type) == Ending("error", error_type, free=False)


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [
        ("openai.RateLimitError", Ending("error", "openai.RateLimitError", free=True)),
        ("asyncio.exceptions.CancelledError", None),
        ("httpx.ReadTimeout", Ending("error", "httpx.ReadTimeout", free=False)),
    ],
)
def test_a_class_is_known_by_its_last_name(error_type: str, expected: Ending | None) -> None:
    assert ending(error_type) == (expected or Ending("cancelled", error_type, free=False))


@pytest.mark.parametrize(
    "text",
    [
        "could not answer 'my secret prompt'",
        "RateLimitError: too many\nsecrets",
        "x" * 129,
        "",
        "1234567",
        "é-",
        7,
        ("RateLimitError",),
    ],
)
def test_a_text_that_is_no_identifier_is_not_repeated(text: Any) -> None:
    assert ending(text) == Ending("error", "_OTHER", free=False)


def test_without_an_error_type_the_last_exception_tells() -> None:
    events = [
        Event("exception", {"exception.type": "ReadTimeout"}),
        Event("exception", {"exception.type": "openai.RateLimitError"}),
        Event("retry", {"exception.type": "Nothing"}),
    ]
    assert ending_of({}, events) == Ending("error", "openai.RateLimitError", free=True)


def test_an_error_type_goes_before_exceptions() -> None:
    events = [Event("exception", {"exception.type": "ReadTimeout"})]
    assert ending_of({"error.type": "429"}, events) == Ending("error", "429", free=True)


@pytest.mark.parametrize("events", [(), [Event("exception")], [Event("exception", {})]])
def test_an_error_that_nobody_names_may_have_cost_something(events: Any) -> None:
    assert ending_of({}, events) == Ending("error", "_OTHER", free=False)
