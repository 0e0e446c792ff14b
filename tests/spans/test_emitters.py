from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from otel_atm.spans.emitters import (
    AGENT_FRAMEWORK,
    EMITTERS,
    GEN_AI,
    KINDS,
    OPEN_INFERENCE,
    Emitter,
    recognise,
)


def what(
    attributes: Mapping[str, Any], scope: str = "openai", name: str = "span"
) -> tuple[Emitter, str] | None:
    known = recognise(attributes, scope, name)
    return known and (known.emitter, known.operation)


@pytest.mark.parametrize("operation", ["chat", "text_completion", "generate_content", "embeddings"])
def test_genai_operations_that_spend_tokens_are_calls(operation: str) -> None:
    assert what({"gen_ai.operation.name": operation}) == (GEN_AI, operation)


@pytest.mark.parametrize(
    "operation",
    ["invoke_agent", "invoke_workflow", "create_agent", "plan", "execute_tool", "retrieval", ""],
)
def test_totals_of_calls_and_tools_are_none(operation: str) -> None:
    assert what({"gen_ai.operation.name": operation}) is None


@pytest.mark.parametrize(("kind", "operation"), [("LLM", "chat"), ("EMBEDDING", "embeddings")])
def test_openinference_says_it_in_its_own_words(kind: str, operation: str) -> None:
    assert what({"openinference.span.kind": kind}) == (OPEN_INFERENCE, operation)


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN", "TOOL", "RETRIEVER", "RERANKER", "llm"])
def test_openinference_kinds_that_spend_nothing_themselves_are_none(kind: str) -> None:
    assert what({"openinference.span.kind": kind}) is None


@pytest.mark.parametrize(
    ("name", "operation"), [("chat gpt-5.1", "chat"), ("embeddings ada", "embeddings")]
)
def test_agent_framework_tells_by_the_names_of_its_spans(name: str, operation: str) -> None:
    assert what({}, "agent_framework", name) == (AGENT_FRAMEWORK, operation)


@pytest.mark.parametrize("name", ["invoke_agent Ann", "execute_tool x", "chatter", "chat"])
def test_its_other_spans_are_none(name: str) -> None:
    assert what({}, "agent_framework", name) is None


def test_a_name_alone_says_nothing_of_others_spans() -> None:
    assert what({}, "my.app", "chat gpt-5.1") is None


def test_what_a_span_says_goes_before_its_name() -> None:
    said = {"gen_ai.operation.name": "execute_tool"}
    assert what(said, "agent_framework", "chat gpt-5.1") is None


def test_the_standard_is_asked_before_openinference() -> None:
    both = {"openinference.span.kind": "LLM", "gen_ai.operation.name": "invoke_agent"}
    assert what(both) is None


@pytest.mark.parametrize("odd", [("chat",), 7, True, 1.5])
def test_an_odd_value_is_no_call(odd: Any) -> None:
    assert what({"gen_ai.operation.name": odd}) is None


def test_what_a_span_is_is_made_once() -> None:
    said = {"gen_ai.operation.name": "chat"}
    assert recognise(said, "a", "x") is recognise(said, "b", "y")


def test_kinds_are_what_any_emitter_says_a_span_is_with() -> None:
    assert {emitter.kind for emitter in EMITTERS} == KINDS
    assert {"gen_ai.operation.name", "openinference.span.kind"} < KINDS
    assert {"llm.request.type", "llm.usage.total_tokens"} < KINDS
