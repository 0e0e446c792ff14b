from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards import Answer, Shape, read_answer
from otel_atm.guards.answers import MOST_PARSED
from otel_atm.testing.provider import cohere, gemini, mistral, ollama
from otel_atm.testing.provider.anthropic import Messages
from otel_atm.testing.provider.asked import Asked
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.openai import ChatCompletions, Completions, Embeddings, Responses
from otel_atm.testing.provider.tokens import Tokens
from tests.guards.bodies import CHAT_USAGE, LIE, RESPONSE_USAGE
from tests.guards.test_streams import HOSTILE, json_values

FULL = (11, 7, 4, 0, 3)
CLAUDE_USAGE = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 4,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 3},
    "server_tool_use": {"web_search_requests": 1},
}


#: (shape, an answer of it, what it says was used)
BODIES: list[tuple[Shape, dict[str, Any], tuple[int, ...] | None]] = [
    (Shape.CHAT, {"usage": CHAT_USAGE}, FULL),
    (Shape.CHAT, {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4, 0, 0, 0)),
    (Shape.CHAT, {"usage": None}, None),
    (Shape.CHAT, {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, None),
    (Shape.CHAT, {"usage": {"prompt_tokens": "3", "completion_tokens": True}}, None),
    (Shape.CHAT, {"error": {"message": "no"}}, None),
    # OpenRouter: what was written to the cache
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 11, "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}}},
     (11, 7, 4, 2, 0)),
    # DeepSeek
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
                "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 7}},
     (11, 7, 4, 0, 0)),
    # xAI: reasoning besides the completion, as the total shows
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
                "prompt_tokens_details": {"cached_tokens": 128},
                "completion_tokens_details": {"reasoning_tokens": 2809}}},
     (10120, 4308, 128, 0, 2809)),
    # Gemini in OpenAI's language: thoughts in the total only
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 113}},
     (9, 104, 0, 0, 0)),
    # Perplexity's research: reasoning and citations besides both
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 33, "completion_tokens": 700, "total_tokens": 733,
                "citation_tokens": 200, "num_search_queries": 18, "reasoning_tokens": 900}},
     (233, 1600, 0, 0, 900)),
    # a gateway that leaves the cache out of the prompt
    (Shape.CHAT,
     {"usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 4}}},
     (9, 7, 4, 0, 0)),
    (Shape.COMPLETIONS, {"usage": CHAT_USAGE}, FULL),
    (Shape.EMBEDDINGS, {"usage": {"prompt_tokens": 11, "total_tokens": 11}}, (11, 0, 0, 0, 0)),
    (Shape.RESPONSES, {"usage": RESPONSE_USAGE}, FULL),
    (Shape.MESSAGES, {"usage": CLAUDE_USAGE}, (11, 7, 4, 2, 3)),
    (Shape.MESSAGES,
     {"content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 9999}}}],
      "usage": {"input_tokens": 3, "output_tokens": 4}},
     (3, 4, 0, 0, 0)),
    (Shape.GENERATE,
     {"usageMetadata": {"promptTokenCount": 9, "toolUsePromptTokenCount": 2,
                        "candidatesTokenCount": 4, "thoughtsTokenCount": 3,
                        "cachedContentTokenCount": 4, "totalTokenCount": 18}},
     FULL),
    (Shape.GENERATE, {"usageMetadata": {"promptTokenCount": 9}}, (9, 0, 0, 0, 0)),
    (Shape.GEMINI_EMBED, {"embedding": {"values": [0.5]}}, None),
    (Shape.GEMINI_EMBED,
     {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 9}},
     (9, 0, 0, 0, 0)),
    (Shape.PREDICT,
     {"predictions": [{"embeddings": {"statistics": {"token_count": 5}, "values": [0.5]}},
                      {"embeddings": {"statistics": {"token_count": 6}, "values": [0.5]}}]},
     (11, 0, 0, 0, 0)),
    (Shape.COHERE_CHAT,
     {"usage": {"billed_units": {"input_tokens": 11, "output_tokens": 7},
                "tokens": {"input_tokens": 80, "output_tokens": 8}}},
     (11, 7, 0, 0, 0)),
    (Shape.COHERE_CHAT,
     {"usage": {"tokens": {"input_tokens": 80, "output_tokens": 8}, "cached_tokens": 16}},
     (80, 8, 16, 0, 0)),
    (Shape.COHERE_EMBED, {"meta": {"billed_units": {"input_tokens": 11.0}}}, (11, 0, 0, 0, 0)),
    (Shape.OLLAMA, {"done": True, "prompt_eval_count": 11, "eval_count": 7}, (11, 7, 0, 0, 0)),
    (Shape.OLLAMA, {"done": True, "eval_count": 7}, (0, 7, 0, 0, 0)),
    (Shape.OLLAMA_EMBED, {"prompt_eval_count": 11}, (11, 0, 0, 0, 0)),
    (Shape.CONVERSE,
     {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 18,
                "cacheReadInputTokens": 4, "cacheWriteInputTokens": 2}},
     (11, 7, 4, 2, 0)),
    (Shape.INVOKE, {"usage": CLAUDE_USAGE}, (11, 7, 4, 2, 3)),
    (Shape.INVOKE, {"usage": CHAT_USAGE}, FULL),
    (Shape.INVOKE, {"usage": {"inputTokens": 11, "outputTokens": 7}}, (11, 7, 0, 0, 0)),
    (Shape.INVOKE, {"prompt_token_count": 11, "generation_token_count": 7}, (11, 7, 0, 0, 0)),
    (Shape.INVOKE, {"inputTextTokenCount": 11, "results": [{"tokenCount": 7}]},
     (11, 7, 0, 0, 0)),
    (Shape.INVOKE, {"inputTextTokenCount": 11, "embedding": []}, (11, 0, 0, 0, 0)),
    (Shape.INVOKE, {"outputs": [{"text": "Mistral says nothing of it"}]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "body", "tokens"), BODIES)
def test_what_an_answer_says_was_used(
    shape: Shape, body: dict[str, Any], tokens: tuple[int, ...] | None
) -> None:
    answer = read_answer(shape, orjson.dumps(body))
    assert answer.tokens == tokens
    assert answer.exact is (tokens is not None)


@pytest.mark.parametrize(
    ("shape", "body", "response_id"),
    [
        (Shape.CHAT, {"model": "m", "id": "chatcmpl-1"}, "chatcmpl-1"),
        (Shape.GENERATE, {"modelVersion": "g", "responseId": "r"}, "r"),
        (Shape.COHERE_CHAT, {"generation_id": "c"}, "c"),
        (Shape.CHAT, {"id": "x" * 257}, None),
        (Shape.CHAT, {"id": 7}, None),
        (Shape.CHAT, {"id": ""}, None),
    ],
)
def test_what_an_answer_is_called(
    shape: Shape, body: dict[str, Any], response_id: str | None
) -> None:
    assert read_answer(shape, orjson.dumps(body)).response_id == response_id


@pytest.mark.parametrize(
    ("dialect", "shape"),
    [
        (ChatCompletions(), Shape.CHAT),
        (Responses(), Shape.RESPONSES),
        (Messages(), Shape.MESSAGES),
        (Embeddings(), Shape.EMBEDDINGS),
        (Completions(), Shape.COMPLETIONS),
        (gemini.GenerateContent(), Shape.GENERATE),
        (gemini.EmbedContent(), Shape.GEMINI_EMBED),
        (gemini.BatchEmbedContents(), Shape.GEMINI_EMBED),
        (cohere.Chat(), Shape.COHERE_CHAT),
        (cohere.ChatV1(), Shape.COHERE_CHAT),
        (cohere.Embed(), Shape.COHERE_EMBED),
        (ollama.Chat(), Shape.OLLAMA),
        (ollama.Generate(), Shape.OLLAMA),
        (ollama.Embed(), Shape.OLLAMA_EMBED),
        (mistral.Chat(), Shape.CHAT),
        (mistral.Embeddings(), Shape.EMBEDDINGS),
    ],
    ids=lambda value: value if isinstance(value, Shape) else type(value).__name__,
)
@pytest.mark.parametrize("length", [10, 30_000], ids=["short", "long"])
def test_it_is_what_the_provider_says_it_billed(
    dialect: Dialect, shape: Shape, length: int
) -> None:
    asked = Asked(path="/", model="m-1", stream=False, characters=0, max_output_tokens=None)
    tokens = dialect.fit(Tokens(input=21, output=9, cache_read=5, cache_write=3, reasoning=2))
    body: dict[str, Any] = dict.fromkeys(
        ("dimensions", "outputDimensionality", "output_dimension"), length // 2
    )
    body |= {"messages": [], "input": "x", "prompt": "x", "texts": ["x"]}
    body["requests"] = [{"outputDimensionality": length // 2}]
    turn = Turn(body=body, asked=asked, says='a \\"b" ' * length, tokens=tokens, tells=True)
    answer = read_answer(shape, orjson.dumps(dialect.answer(turn)))
    assert answer.tokens == (
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write,
        tokens.reasoning,
    )


FLOATS = [0.123456789 * place for place in range(9_000)]
LIES = {"usage": {"input_tokens": 9999}, "usageMetadata": {"promptTokenCount": 9999}}


@pytest.mark.parametrize(
    ("shape", "body", "tokens"),
    [
        (Shape.EMBEDDINGS,
         {"data": FLOATS, "model": "m", "usage": {"prompt_tokens": 11, "total_tokens": 11}},
         (11, 0, 0, 0, 0)),
        (Shape.EMBEDDINGS,
         {"model": "m", "usage": {"prompt_tokens": 11, "total_tokens": 11}, "data": FLOATS},
         (11, 0, 0, 0, 0)),
        (Shape.CHAT, {"model": "m", "choices": [{"text": LIE * 900}], "usage": CHAT_USAGE}, FULL),
        (Shape.CHAT, {"model": "m", "choices": [{"text": LIE * 900}]}, None),
        (Shape.MESSAGES,
         {"model": "m", "content": [{"text": LIE * 900}, {"input": LIES}], "usage": CLAUDE_USAGE},
         (11, 7, 4, 2, 3)),
        (Shape.MESSAGES, {"model": "m", "content": [{"text": LIE * 900}, {"input": LIES}]}, None),
        (Shape.MESSAGES, {"model": "m", "content": [{"input": LIES}, {"text": LIE * 900}]}, None),
        (Shape.GENERATE,
         {"candidates": [LIE * 900, LIES], "usageMetadata": {"promptTokenCount": 9},
          "modelVersion": "m"},
         (9, 0, 0, 0, 0)),
        (Shape.OLLAMA_EMBED,
         {"model": "m", "embeddings": [FLOATS], "total_duration": 1, "prompt_eval_count": 11},
         (11, 0, 0, 0, 0)),
        (Shape.COHERE_EMBED,
         {"embeddings": [FLOATS], "meta": {"billed_units": {"input_tokens": 11}}},
         (11, 0, 0, 0, 0)),
        (Shape.PREDICT,
         {"predictions": [{"embeddings": {"values": FLOATS, "statistics": {"token_count": 5}}},
                          {"embeddings": {"statistics": {"token_count": 5}}}]},
         (10, 0, 0, 0, 0)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", [None, orjson.OPT_INDENT_2], ids=["compact", "indented"])
def test_of_a_large_answer_both_ends_are_read(
    shape: Shape, body: dict[str, Any], tokens: tuple[int, ...] | None, style: int | None
) -> None:
    content = orjson.dumps(body, option=style)
    assert len(content) > MOST_PARSED
    answer = read_answer(shape, content)
    assert answer.tokens == tokens


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answers_say_nothing_and_do_no_harm(shape: Shape, content: bytes) -> None:
    assert read_answer(shape, content * 3).tokens is None


@given(shape=st.sampled_from(Shape), body=json_values, padding=st.sampled_from([0, MOST_PARSED]))
def test_whatever_an_answer_is_made_of_nothing_is_raised(
    shape: Shape, body: Any, padding: int
) -> None:
    read_answer(shape, orjson.dumps(body) + b" " * padding)


def test_nothing_of_what_is_said_is_kept() -> None:
    body = {"id": "1", "choices": [{"message": {"content": "s3cret"}}], "usage": CHAT_USAGE}
    assert read_answer(Shape.CHAT, orjson.dumps(body)) == Answer(FULL, "1", True)
