"""Whole requests: what providers add, held against what they said they counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.errors import ConfigurationError
from otel_atm.guards.shape import Shape
from otel_atm.tokenizers import TokenCount, Tokenizers
from otel_atm.tokenizers.estimate import MEDIA_TOKENS
from otel_atm.tokenizers.requests import ANSWER, MESSAGE, SHAPES
from tests.tokenizers.texts import CHINESE

#: OpenAI cookbook, "How to count tokens with tiktoken": the messages, and what the API answered.
JARGON = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate "
        "jargon into plain English.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "New synergies will help drive top-line growth.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities "
        "for increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client "
        "deliverable.",
    },
]
LOCATION = {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}
WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": LOCATION,
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}
PITTSBURGH = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in Pittsburgh tomorrow?"},
]
#: Anthropic, "Token counting": requests, and what the API answered.
SCIENTIST = {
    "system": "You are a scientist",
    "messages": [{"role": "user", "content": "Hello, Claude"}],
}
FRANCISCO = {
    "tools": [
        {
            "name": "get_weather",
            "description": "Get the current weather in a given location",
            "input_schema": {
                "type": "object",
                "properties": {"location": LOCATION},
                "required": ["location"],
            },
        }
    ],
    "messages": [{"role": "user", "content": "What's the weather like in San Francisco?"}],
}


@pytest.mark.parametrize(("model", "answered"), [("gpt-4o", 124), ("gpt-4", 129)])
def test_openais_messages_are_counted_as_the_api_does(
    model: str, answered: int, real: Tokenizers
) -> None:
    count = real.count_request({"model": model, "messages": JARGON}, "openai.chat")
    assert (count.tokens, count.estimated) == (answered, True)


@pytest.mark.parametrize("old", [False, True])
def test_openais_tools_are_counted_as_the_api_does(old: bool, real: Tokenizers) -> None:
    tools = (
        {"functions": [WEATHER]} if old else {"tools": [{"type": "function", "function": WEATHER}]}
    )
    body = {"model": "gpt-4o", "messages": PITTSBURGH, **tools}
    assert real.count_request(body, "openai.chat").tokens == 101


def test_a_request_to_responses_is_as_one_to_chat(real: Tokenizers) -> None:
    system, user = (each["content"] for each in PITTSBURGH)
    tools = [{"type": "function", **WEATHER}]
    asked = {"model": "gpt-4o", "instructions": system, "input": user, "tools": tools}
    assert real.count_request(asked, "openai.responses").tokens == pytest.approx(101, abs=1)
    items = [{"role": "user", "content": [{"type": "input_text", "text": user}]}]
    listed = {**asked, "input": items}
    assert real.count_request(listed, "openai.responses") == real.count_request(
        asked, "openai.responses"
    )


@pytest.mark.parametrize(("body", "answered"), [(SCIENTIST, 14), (FRANCISCO, 403)])
def test_anthropics_requests_are_about_what_the_api_says(
    body: dict[str, Any], answered: int, real: Tokenizers
) -> None:
    count = real.count_request({"model": "claude-3-5-sonnet", **body}, "anthropic.messages")
    assert count.tokens == pytest.approx(answered, rel=0.05)
    assert count.upper >= answered


@pytest.mark.parametrize(
    ("model", "choice", "prompt"),
    [
        ("claude-opus-4-6", None, 346),
        ("claude-opus-4-6", {"type": "any"}, 313),
        ("anthropic.claude-3-opus-20240229-v1:0", {"type": "auto"}, 530),
        ("claude-3-opus-20240229", {"type": "tool", "name": "get_weather"}, 281),
        ("claude-3-sonnet-20240229", None, 159),
        ("claude-3-5-haiku-latest", None, 264),
    ],
)
def test_anthropics_tools_come_with_a_prompt(model: str, choice: Any, prompt: int) -> None:
    def tokens(**more: Any) -> int:
        return Tokenizers().count_request({**more, "model": model}, "anthropic.messages").tokens

    tools = [{}]  # nothing but that there is one
    assert tokens(tools=tools, tool_choice=choice) - tokens() == prompt


def test_what_a_model_reads_as_it_is_is_counted_exactly(real: Tokenizers) -> None:
    body = {"model": "text-embedding-3-small", "input": ["tiktoken is great!", CHINESE]}
    tokens = sum(real.count(text, "text-embedding-3-small").tokens for text in body["input"])
    assert real.count_request(body, "openai.embeddings") == TokenCount(
        tokens, False, "tiktoken:cl100k_base", tokens
    )


@pytest.mark.parametrize(("given_", "tokens"), [([1, 2, 3], 3), ([[1, 2], [3]], 3), ([], 0)])
def test_tokens_that_are_given_by_their_numbers_are_counted(given_: Any, tokens: int) -> None:
    count = Tokenizers().count_request({"input": given_}, "openai.embeddings")
    assert (count.tokens, count.estimated) == (tokens, False)


def message(*parts: dict[str, Any]) -> int:
    """Tokens of a message with these parts, beyond one without any."""
    return tokens_of(list(parts)) - tokens_of([])


def tokens_of(content: list[dict[str, Any]]) -> int:
    body = {"messages": [{"role": "user", "content": content}]}
    return Tokenizers().count_request(body, "anthropic.messages").tokens


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9_999}},
        {"type": "image", "source": {"type": "base64", "data": "A" * 9_999}},
        {"type": "document", "source": {"type": "base64", "data": "A" * 9_999}},
        {"type": "document", "source": None},
        {"inlineData": {"mimeType": "image/png", "data": "A" * 9_999}},
        {"file_data": {"file_uri": "gs://a/b"}},
    ],
)
def test_a_picture_or_a_file_is_not_counted_as_text(part: dict[str, Any]) -> None:
    assert message(part) == MEDIA_TOKENS


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "text", "text": "x" * 40}, 10),
        ({"type": "document", "source": {"type": "text", "data": "x" * 40}}, 10),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "text", "text": "x" * 40}]},
            },
            10,
        ),
        ({"type": "tool_result", "content": [{"type": "text", "text": "x" * 40}]}, 10),
        ({"type": "tool_use", "name": "wait", "input": {"seconds": 4}}, 1 + 4),
        ({"functionCall": {"name": "wait", "args": {"seconds": 4}}}, 1 + 4),
        ({"type": "function_call_output", "output": "x" * 40}, 10),
        ({"type": "unknown"}, 0),
    ],
)
def test_what_a_part_says_is_counted(part: dict[str, Any], said: int) -> None:
    assert message(part) == said


def test_calls_of_tools_are_part_of_what_was_said() -> None:
    calls = [{"id": "call_1", "function": {"name": "wait", "arguments": '{"seconds":4}'}}]
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]}
    expected = MESSAGE + ANSWER + 3 + 1 + 4  # assistant, wait, its arguments
    assert Tokenizers().count_request(body, "openai.chat").tokens == expected


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        ("openai.chat", "response_format"),
        ("openai.responses", "text"),
        ("anthropic.messages", "output_config"),
        ("gemini.generate_content", "generationConfig"),
        ("ollama.chat", "format"),
        ("bedrock.converse", "toolConfig"),
    ],
)
def test_schemas_of_answers_are_read_too(shape: str, field: str) -> None:
    schema = {"type": "object", "properties": {"city": LOCATION}}
    inside = {
        "json_schema": schema,
        "format": schema,
        "responseSchema": schema,
    }
    without = Tokenizers().count_request({}, shape).tokens
    assert Tokenizers().count_request({field: inside}, shape).tokens > without + 20


def test_nested_parameters_are_counted() -> None:
    def tokens(parameters: Any) -> int:
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        return Tokenizers().count_request({"tools": [tool]}, "openai.chat").tokens

    flat = tokens({"properties": {"a": {"type": "object"}}})
    inner = {"properties": {"b": {"type": "string"}}}
    assert tokens({"properties": {"a": {"type": "object", **inner}}}) > flat
    assert tokens({"properties": {"a": {"type": "object", "items": inner}}}) > flat
    assert tokens({"properties": {"a": {"type": "object", "anyOf": [inner]}}}) > flat
    assert tokens({"properties": {"a": {"type": "object"}}, "$defs": {"x": inner}}) > flat


def test_every_wire_format_that_guards_know_can_be_counted() -> None:
    assert set(SHAPES) == set(Shape)


def test_a_wire_format_that_is_not_known_is_an_error_that_quotes_it() -> None:
    with pytest.raises(ConfigurationError, match=r"^shape='openai': expected one of openai.chat, "):
        Tokenizers().count_request({}, "openai")


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_nested_deeper_than_anybody_reads_does_no_harm(shape: str) -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [{"content": deep}]
    body = {"messages": deep, "input": deep, "contents": deep, "tools": deep, "prompt": deep}
    count = Tokenizers().count_request(body, shape)
    assert 0 <= count.tokens <= count.upper


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("role", "content", "type", "text", "name", "function", "parameters"),
                    *("properties", "enum", "items", "source", "data", "input", "parts"),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.sampled_from(
        (
            *("model", "messages", "input", "prompt", "tools", "system", "contents", "content"),
            *("instructions", "tool_choice", "text", "response_format", "generationConfig"),
        )
    ),
    JSON,
)


@given(BODIES, st.sampled_from(sorted(SHAPES)))
def test_any_request_has_a_count(body: dict[str, Any], shape: str) -> None:
    count = Tokenizers().count_request(body, shape)
    assert 0 <= count.tokens <= count.upper


class Whole:
    """Counts requests of its own."""

    def count(self, text: str, model: str | None) -> None:
        return None

    def count_request(self, body: Any, shape: str, model: str | None) -> TokenCount | None:
        return TokenCount(7, method=f"{shape} {model}") if body.get("mine") else None


def test_a_tokenizer_that_counts_whole_requests_is_asked_for_them() -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Whole())
    body = {"model": "m", "mine": True}
    assert tokenizers.count_request(body, "openai.chat") == TokenCount(7, False, "openai.chat m", 7)
    assert tokenizers.count_request({"model": "m"}, "openai.chat").method == "none+openai.chat"
