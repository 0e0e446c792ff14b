from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.spans.emitters import EMITTERS, GEN_AI, OPEN_INFERENCE, Emitter
from otel_atm.spans.reading import read_text, read_tokens

INPUT, OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"

values = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.tuples(st.integers())
)


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        ({INPUT: 11, OUTPUT: 7}, (11, 7, 0, 0, 0)),
        ({INPUT: 11}, (11, 0, 0, 0, 0)),
        ({OUTPUT: 7}, (0, 7, 0, 0, 0)),
        (
            {"gen_ai.usage.prompt_tokens": 11, "gen_ai.usage.completion_tokens": 7},
            (11, 7, 0, 0, 0),
        ),
        ({INPUT: 11, "gen_ai.usage.prompt_tokens": 99, OUTPUT: 7}, (11, 7, 0, 0, 0)),
        ({INPUT: 11.0, OUTPUT: 7}, (11, 7, 0, 0, 0)),
        (
            {
                INPUT: 11,
                OUTPUT: 7,
                "gen_ai.usage.cache_read.input_tokens": 4,
                "gen_ai.usage.cache_write.input_tokens": 2,
                "gen_ai.usage.reasoning.output_tokens": 3,
            },
            (11, 7, 4, 2, 3),
        ),
        (
            {
                INPUT: 11,
                OUTPUT: 7,
                "gen_ai.usage.cache_read_input_tokens": 4,
                "gen_ai.usage.cache_creation.input_tokens": 2,
                "gen_ai.usage.reasoning_tokens": 3,
            },
            (11, 7, 4, 2, 3),
        ),
        ({INPUT: 11, "gen_ai.usage.cache_creation_input_tokens": 2}, (11, 0, 0, 2, 0)),
        # an emitter that leaves the cache out of the input
        (
            {
                INPUT: 5,
                OUTPUT: 7,
                "gen_ai.usage.cache_read.input_tokens": 40,
                "gen_ai.usage.cache_write.input_tokens": 2,
            },
            (47, 7, 40, 2, 0),
        ),
        # and one that leaves reasoning out of the output
        ({INPUT: 5, OUTPUT: 7, "gen_ai.usage.reasoning_tokens": 30}, (5, 37, 0, 0, 30)),
        ({INPUT: 5, OUTPUT: 7, "gen_ai.usage.details.reasoning_tokens": 3}, (5, 7, 0, 0, 3)),
        ({}, None),
        ({INPUT: 0, OUTPUT: 0}, None),
        ({INPUT: -1, OUTPUT: -1}, None),
        ({INPUT: "11", OUTPUT: True}, None),
        ({INPUT: 11, OUTPUT: -1}, (11, 0, 0, 0, 0)),
        ({INPUT: 1.5, OUTPUT: float("nan")}, None),
        ({"llm.token_count.prompt": 11}, None),
    ],
)
def test_what_a_genai_span_says_was_used(
    attributes: dict[str, Any], tokens: tuple[int, ...] | None
) -> None:
    assert read_tokens(GEN_AI, attributes) == tokens


def test_what_an_openinference_span_says_was_used() -> None:
    attributes = {
        "llm.token_count.prompt": 11,
        "llm.token_count.completion": 7,
        "llm.token_count.prompt_details.cache_read": 4,
        "llm.token_count.prompt_details.cache_write": 2,
        "llm.token_count.completion_details.reasoning": 3,
        INPUT: 99,
    }
    assert read_tokens(OPEN_INFERENCE, attributes) == (11, 7, 4, 2, 3)


@pytest.mark.parametrize("emitter", EMITTERS, ids=lambda emitter: emitter.name)
@given(data=st.data())
def test_whatever_a_span_says_input_includes_cache_and_output_reasoning(
    emitter: Emitter, data: st.DataObject
) -> None:
    names = [
        *emitter.input,
        *emitter.output,
        *emitter.cache_read,
        *emitter.cache_write,
        *emitter.reasoning,
    ]
    attributes = data.draw(st.dictionaries(st.sampled_from(names), values))
    tokens = read_tokens(emitter, attributes)
    if tokens is not None:
        given_tokens, made, cache_read, cache_write, reasoning = tokens
        assert all(type(count) is int and count >= 0 for count in tokens)
        assert given_tokens + made > 0
        assert given_tokens >= cache_read + cache_write
        assert made >= reasoning


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"a": "x", "b": "y"}, "x"),
        ({"b": "y"}, "y"),
        ({"a": "", "b": "y"}, "y"),
        ({"a": 7, "b": "y"}, "y"),
        ({"a": ("x",)}, None),
        ({}, None),
    ],
)
def test_the_first_text_that_is_not_empty(attributes: dict[str, Any], text: str | None) -> None:
    assert read_text(attributes, ("a", "b")) == text
