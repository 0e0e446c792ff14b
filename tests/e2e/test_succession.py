"""Two processors with guards that keep one file: each call of a real client is one row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm as atm
from otel_atm.guards.install import current
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import PLENTY, Program, tokens, told

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def instrumented(blank: Program) -> Iterator[Program]:
    OpenAIInstrumentor().instrument(tracer_provider=blank.provider)
    yield blank
    OpenAIInstrumentor().uninstrument()


def call(server: ProviderServer, **more: Any) -> None:
    with openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=0) as client:
        answer = client.chat.completions.create(model="gpt-5.1", messages=HELLO, **more)
        if more.get("stream"):
            list(answer)


def assert_each_is_one_row(program: Program, server: ProviderServer) -> None:
    assert [tokens(row) for row in program.rows()] == [told(line) for line in server.reported]


def second(program: Program, *budgets: Any, guards: bool = True) -> atm.TokenSpanProcessor:
    """Another one that keeps the same file."""
    other = atm.TokenSpanProcessor(
        budgets, "memory", program.path, clock=program.clock, guards=guards
    )
    program.provider.add_span_processor(other)
    program.trouble.append("two TokenSpanProcessors")
    return other


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("one", "two"), [(True, True), (True, False), (False, True)])
def test_a_call_of_an_instrumented_client_is_one_row(
    instrumented: Program, server: ProviderServer, one: bool, two: bool, stream: bool
) -> None:
    program = instrumented.meter(guards=one)
    other = second(program, guards=two)
    more: Any = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    call(server, **more)
    call(server, **more)
    assert other.force_flush()
    assert_each_is_one_row(program, server)
    assert current() is other._door
    other.retire()


def test_the_budgets_of_the_last_one_hold(instrumented: Program, server: ProviderServer) -> None:
    program = instrumented.meter(atm.Budget("1 request / day"), PLENTY, guards=True)
    call(server)
    with pytest.raises(atm.TokenQuotaExceeded):
        call(server)
    other = second(program, atm.Budget("1 request / day"), PLENTY)
    call(server)
    with pytest.raises(atm.TokenQuotaExceeded):
        call(server)
    assert len(server.reported) == 2
    assert other.force_flush()
    assert [row["decision"] for row in program.rows()] == ["allowed", "refused"] * 2
    other.retire()


def test_the_last_one_guards_though_it_was_made_first(
    instrumented: Program, server: ProviderServer
) -> None:
    made_first = atm.TokenSpanProcessor([], "memory", instrumented.path, clock=instrumented.clock)
    program = instrumented.meter(guards=True)
    program.provider.add_span_processor(made_first)
    program.trouble.append("two TokenSpanProcessors")
    call(server)
    assert current() is made_first._door
    assert made_first.force_flush()
    assert_each_is_one_row(program, server)
    made_first.retire()


@pytest.mark.parametrize("seen", [False, True])
def test_the_guards_of_an_elder_stand_again_when_its_heir_has_retired(
    instrumented: Program, server: ProviderServer, seen: bool
) -> None:
    program = instrumented.meter(guards=True)
    assert program.processor is not None
    other = second(program)
    if seen:
        call(server)
    else:
        program.trouble.clear()  # it is said when a span is seen
    other.retire()
    assert current() is program.processor._door is not None
    call(server)
    assert program.processor.force_flush()
    assert_each_is_one_row(program, server)
