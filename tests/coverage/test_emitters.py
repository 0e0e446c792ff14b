"""What doctor says of instrumentations is what the processor takes them for."""

from __future__ import annotations

import pytest

from otel_atm.coverage.clients import BY_NAME
from otel_atm.coverage.instrumentations import (
    INSTRUMENTATIONS,
    NATIVE_ANTHROPIC,
    Instrumentation,
)
from otel_atm.coverage.loaded import packages
from otel_atm.guards.install import seams
from otel_atm.spans.emitters import FOLLOWED, LATE, SWALLOWERS, is_followed, is_late, swallows

EVERY = [*INSTRUMENTATIONS, NATIVE_ANTHROPIC]
SCOPES = {scope for each in EVERY for scope in each.scopes}
#: Scopes of spans that clients make themselves, and whose they are.
OWN = {"litellm": "litellm", "mistralai_sdk_tracer": "mistralai"}
every_one = pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)


@every_one
def test_every_instrumentation_names_its_scopes(each: Instrumentation) -> None:
    assert each.scopes


@pytest.mark.parametrize("start", sorted({*SWALLOWERS, *LATE, *FOLLOWED}))
def test_what_the_processor_knows_of_scopes_is_of_an_instrumentation(start: str) -> None:
    assert OWN.keys() <= {*SWALLOWERS, *LATE, *FOLLOWED}
    assert set(OWN.values()) <= BY_NAME.keys()
    assert any(scope.startswith(start) for scope in SCOPES | OWN.keys())


@every_one
def test_who_passes_over_refusals_is_not_enforced_without_guards(each: Instrumentation) -> None:
    passing = {swallows(scope) for scope in each.scopes}
    assert len(passing) == 1
    assert not (passing == {True} and each.state == "enforced")
    assert not (passing == {False} and "passes over" in each.why)


@every_one
def test_what_is_late_is_not_enforced_without_guards(each: Instrumentation) -> None:
    late = [scope for scope in each.scopes if scope.startswith(tuple(LATE))]
    assert not (late and each.state == "enforced")


def test_only_some_spans_of_a_scope_are_late() -> None:
    assert is_late("logfire.openai", "Chat Completion with 'gpt-5.1'")
    assert is_late("opentelemetry.instrumentation.openai.v1", "openai.response")
    assert not is_late("opentelemetry.instrumentation.openai.v1", "openai.chat")
    assert not is_late("opentelemetry.instrumentation.openai", "openai.response")


@every_one
def test_spans_of_clients_that_have_guards_are_followed(each: Instrumentation) -> None:
    guarded = packages(seams())
    counted = each.state != "unseen" and "not been tested" not in each.why
    if counted and all(guarded.issuperset(_sends_with(name)) for name in each.clients):
        assert all(map(is_followed, each.scopes))


def _sends_with(client: str) -> tuple[str, ...]:
    return BY_NAME[client].sends_with(None)
