"""LiteLLM's way with errors, in a module that stands in for it: a refusal comes out as it is.

LiteLLM itself is too heavy for these tests.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import httpx
import openai
import pytest

import otel_atm as atm
from otel_atm.guards.litellm_unwrap import refusal_in
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import Program

ONCE = atm.Budget("1 request / month", name="once")


class HandlerError(Exception):
    """What a provider's handler makes of everything."""


def completion(url: str) -> None:
    """As ``litellm.completion`` does it: a handler's error, made one of LiteLLM's."""
    body = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hi"}]}
    try:
        try:
            httpx.post(f"{url}/chat/completions", json=body).raise_for_status()
        except (httpx.HTTPError, atm.TokenQuotaExceeded) as error:
            raise HandlerError(str(error)) from None
    except HandlerError as error:
        make: Any = sys.modules["litellm.main"].__dict__["exception_type"]
        raise make(
            model="gpt-5.1", original_exception=error, custom_llm_provider="openai"
        ) from error


@pytest.fixture(autouse=True)
def litellm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def exception_type(model: str, original_exception: Exception, **_: Any) -> Exception:
        return ConnectionError(str(original_exception))

    package = ModuleType("litellm")
    for name in ("litellm.utils", "litellm.main"):
        module = ModuleType(name)
        module.__dict__["exception_type"] = exception_type
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "litellm", package)
    return package


def test_a_refusal_comes_out_unwrapped_and_no_status_asks_to_try_again(
    blank: Program, server: ProviderServer
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    completion(server.openai_url)
    with pytest.raises(atm.TokenQuotaExceeded) as refusal:
        completion(server.openai_url)
    assert isinstance(refusal.value, openai.OpenAIError)
    assert not isinstance(refusal.value, openai.APIError)
    assert refusal.value.__dict__["budget"] == "once"
    assert getattr(refusal.value, "status_code", None) == 402
    assert server.requests == 1


def test_other_errors_are_made_as_ever(blank: Program, closed_url: str) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    with pytest.raises(ConnectionError):
        completion(closed_url)


def test_its_modules_are_left_as_they_were(blank: Program) -> None:
    module = sys.modules["litellm.main"]
    before = module.__dict__["exception_type"]
    blank.meter(guards=True, joined=False)
    assert module.__dict__["exception_type"] is not before
    assert blank.processor is not None
    blank.processor.retire()
    assert module.__dict__["exception_type"] is before


def test_errors_that_are_each_others_cause_have_an_end() -> None:
    one, other = ValueError(), TypeError()
    one.__cause__, other.__cause__ = other, one
    assert refusal_in(one) is None
    assert refusal_in("no error") is None
