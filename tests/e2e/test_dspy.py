"""DSPy's way with errors, in modules that stand in for it: a refusal comes out as it is.

DSPy itself is too heavy for these tests; the conformance suite runs it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import httpx
import pytest

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import Program

ONCE = atm.Budget("1 request / month", name="once")
HOLDERS = ("dspy.clients.errors", "dspy.clients.engines.legacy_engine")
every_holder = pytest.mark.parametrize("holder", HOLDERS)


class LMError(Exception):
    """The base of DSPy's errors."""


class LMUnexpectedError(LMError):
    """What DSPy makes of everything that it does not know."""


def call(url: str, holder: str) -> None:
    """As ``dspy.LM`` does it: whatever its engine raises is made one of its own."""
    body = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hi"}]}
    try:
        httpx.post(f"{url}/chat/completions", json=body).raise_for_status()
    except (httpx.HTTPError, atm.TokenQuotaExceeded) as error:
        make: Any = sys.modules[holder].__dict__["wrap_error"]
        raise make(error, model="gpt-5.1", provider="openai") from error


@pytest.fixture(autouse=True)
def dspy(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrap_error(exc: Exception, *, model: str, provider: str | None = None) -> Exception:
        return exc if isinstance(exc, LMError) else LMUnexpectedError(str(exc))

    for name in HOLDERS:
        module = ModuleType(name)
        module.__dict__.update(wrap_error=wrap_error, LMError=LMError)
        monkeypatch.setitem(sys.modules, name, module)


@every_holder
def test_a_refusal_comes_out_unwrapped_and_is_caught_as_an_error_of_dspy_too(
    blank: Program, server: ProviderServer, holder: str
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    call(server.openai_url, holder)
    with pytest.raises(atm.TokenQuotaExceeded) as refusal:
        call(server.openai_url, holder)
    error: Any = refusal.value
    assert isinstance(error, LMError)
    assert not isinstance(error, LMUnexpectedError)
    assert (error.budget, error.status, error.retry_after) == ("once", None, None)
    assert error.message == str(error)
    assert "once" in error.message
    assert server.requests == 1


@every_holder
def test_other_errors_are_made_as_ever(blank: Program, closed_url: str, holder: str) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    with pytest.raises(LMUnexpectedError):
        call(closed_url, holder)


@every_holder
def test_its_modules_are_left_as_they_were(blank: Program, holder: str) -> None:
    module = sys.modules[holder].__dict__
    before = module["wrap_error"]
    blank.meter(guards=True, joined=False)
    assert module["wrap_error"] is not before
    assert blank.processor is not None
    blank.processor.retire()
    assert module["wrap_error"] is before
