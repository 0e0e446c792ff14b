"""Counts: what each provider's usage says, in the words of OpenTelemetry.

Input includes what went through a cache, output includes reasoning. Sources: the response schemas
of the providers' API references; where these are silent, the sums in what they send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from otel_atm.guards.fields import MOST_TOKENS
from otel_atm.guards.shape import Shape
from otel_atm.price import Tokens

Json: TypeAlias = dict[str, Any]


def count_of(value: object) -> int:
    """A count ≥ 0; what is none, is 0. Cohere writes whole floats."""
    if value is None:
        return 0
    if type(value) is int:
        return value if 0 <= value < MOST_TOKENS else 0
    if isinstance(value, float) and 0 <= value < MOST_TOKENS and value.is_integer():
        return int(value)
    return 0


def _first(holder: Json, *names: str) -> int:
    for name in names:
        if found := count_of(holder.get(name)):
            return found
    return 0


def _object(holder: Json, *names: str) -> Json:
    for name in names:
        value = holder.get(name)
        if type(value) is dict:
            return value
    return {}


def _told(tokens: Tokens) -> Tokens | None:
    """No call is free of both input and output: who says 0 and 0 does not know."""
    return tokens if any(tokens) else None


def _openai(answer: Json) -> Tokens | None:
    """OpenAI's ``usage`` and that of all who took it over."""
    usage = answer.get("usage")
    if type(usage) is not dict:
        # Groq's streams, which tell it unasked
        usage = _object(_object(answer, "x_groq"), "usage")
        if not usage:
            return None
    if _CHAT_USAGE.issuperset(usage):  # as mostly
        return _plain_chat(usage) or _chat(usage)
    total_in = _first(usage, "prompt_tokens", "input_tokens")
    out = _first(usage, "completion_tokens", "output_tokens")
    details = _object(usage, "prompt_tokens_details", "input_tokens_details")
    thought = _object(usage, "completion_tokens_details", "output_tokens_details")
    read = _first(details, "cached_tokens", "cache_read_input_tokens") or _first(
        # DeepSeek; Moonshot; LiteLLM's proxy
        usage,
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
    )
    write = _first(details, "cache_write_tokens", "cache_creation_tokens") or _first(
        usage, "cache_creation_input_tokens"
    )
    reasoning = count_of(thought.get("reasoning_tokens"))
    if not reasoning and (apart := count_of(usage.get("reasoning_tokens"))):
        reasoning = apart  # Perplexity and early xAI: besides the completion
        out += apart
    total_in, out = _summed(total_in, out, read + write, count_of(usage.get("total_tokens")))
    # Perplexity bills citations as it bills input
    total_in += count_of(usage.get("citation_tokens"))
    return _told((max(total_in, read + write), max(out, reasoning), read, write, reasoning))


#: What OpenAI itself says of a chat.
_CHAT_USAGE: Final = frozenset(
    (
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    )
)


#: How some gateways say in OpenAI's words what went through a cache.
_CACHED: Final = frozenset(
    ("cache_read_input_tokens", "cache_write_tokens", "cache_creation_tokens")
)


def _plain_chat(usage: Json) -> Tokens | None:
    """The same where all is there and nothing odd, so that nothing has to be put right; or None."""
    try:
        given, made = usage["prompt_tokens"], usage["completion_tokens"]
        details = usage["prompt_tokens_details"]
        read = details["cached_tokens"]
        reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
        plain = (
            given.__class__ is made.__class__ is read.__class__ is reasoning.__class__ is int
            and 0 <= read <= given < MOST_TOKENS > made >= reasoning >= 0 < given
            and usage["total_tokens"] == given + made
            and _CACHED.isdisjoint(details)
        )
    except (KeyError, TypeError):
        return None
    return (given, made, read, 0, reasoning) if plain else None


def _chat(usage: Json) -> Tokens | None:
    tell = usage.get  # nearly every answer comes by here
    total_in, out = count_of(tell("prompt_tokens")), count_of(tell("completion_tokens"))
    details, thought = tell("prompt_tokens_details"), tell("completion_tokens_details")
    read = write = reasoning = 0
    if details and type(details) is dict:
        parts = details.get
        read = count_of(parts("cached_tokens")) or count_of(parts("cache_read_input_tokens"))
        write = count_of(parts("cache_write_tokens")) or count_of(parts("cache_creation_tokens"))
    if thought and type(thought) is dict:
        reasoning = count_of(thought.get("reasoning_tokens"))
    total = count_of(tell("total_tokens"))
    if total > total_in + out:
        total_in, out = _summed(total_in, out, read + write, total)
    if read or write or reasoning > out:
        total_in, out = max(total_in, read + write), max(out, reasoning)
    return (total_in, out, read, write, reasoning) if total_in or out else None


def _summed(total_in: int, out: int, cached: int, total: int) -> tuple[int, int]:
    """Input and output, with what only the total has.

    xAI, and Gemini where it speaks OpenAI's language, leave reasoning out of the completion;
    some gateways leave the cache out of the prompt.
    """
    missing = total - total_in - out
    if missing <= 0:
        return total_in, out
    return (total_in + missing, out) if missing == cached else (total_in, out + missing)


def _anthropic(answer: Json) -> Tokens | None:
    """Anthropic's ``usage``, whose input leaves the cache out."""
    usage = answer.get("usage")
    if type(usage) is not dict:
        return None
    thought = _object(usage, "output_tokens_details")
    return _told(
        (
            count_of(usage.get("input_tokens")),
            count_of(usage.get("output_tokens")),
            count_of(usage.get("cache_read_input_tokens")),
            count_of(usage.get("cache_creation_input_tokens")),
            count_of(thought.get("thinking_tokens")),
        )
    )


def _gemini(answer: Json) -> Tokens | None:
    """Gemini's ``usageMetadata``: the prompt has the cache in it, the candidates no thoughts."""
    usage = answer.get("usageMetadata")
    if type(usage) is not dict:
        return None
    tell = usage.get  # in every chunk of a stream
    thoughts = count_of(tell("thoughtsTokenCount"))
    given = count_of(tell("promptTokenCount")) + count_of(tell("toolUsePromptTokenCount"))
    made = count_of(tell("candidatesTokenCount")) + thoughts
    return _told((given, made, count_of(tell("cachedContentTokenCount")), 0, thoughts))


def _predict(answer: Json) -> Tokens | None:
    """Vertex AI's embeddings: each has the statistics of its text."""
    predictions = answer.get("predictions")
    total = 0
    for each in predictions if type(predictions) is list else ():
        if type(each) is dict:
            total += count_of(_object(_object(each, "embeddings"), "statistics").get("token_count"))
    return _told((total, 0, 0, 0, 0))


def _cohere(answer: Json) -> Tokens | None:
    """Cohere's ``usage``, in its first API ``meta``: what it bills, else what it processed."""
    usage = _object(answer, "usage", "meta")
    for name in ("billed_units", "tokens"):
        units = _object(usage, name)
        given = _first(units, "input_tokens") + count_of(units.get("image_tokens"))
        made = _first(units, "output_tokens")
        if given or made:
            read = min(count_of(usage.get("cached_tokens")), given)
            return given, made, read, 0, 0
    return None


def _ollama(answer: Json) -> Tokens | None:
    """Ollama's counts beside the answer; a prompt it remembers may have none."""
    given, made = count_of(answer.get("prompt_eval_count")), count_of(answer.get("eval_count"))
    return _told((given, made, 0, 0, 0))


def _converse(answer: Json) -> Tokens | None:
    """Bedrock's ``TokenUsage``, whose input leaves the cache out."""
    usage = answer.get("usage")
    if type(usage) is not dict:
        return None
    return _told(
        (
            count_of(usage.get("inputTokens")),
            count_of(usage.get("outputTokens")),
            _first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
            _first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
            0,
        )
    )


def _invoke(answer: Json) -> Tokens | None:
    """Whatever a model on Bedrock says, else what Bedrock says of it; the cache left out."""
    usage = _object(answer, "usage")
    if "prompt_tokens" in usage:
        told = _openai(answer)
        return told and (max(0, told[0] - told[2] - told[3]), *told[1:])
    metrics = _object(answer, "amazon-bedrock-invocationMetrics")
    return (
        _anthropic(answer)
        or _converse(answer)
        or _told(
            (
                # Bedrock's own; Llama; Titan's whole answers, embeddings and streams
                _first(metrics, "inputTokenCount")
                or _first(answer, "prompt_token_count", "inputTextTokenCount"),
                _first(metrics, "outputTokenCount")
                or _first(answer, "generation_token_count", "totalOutputTextTokenCount")
                or _titan(answer),
                _first(metrics, "cacheReadInputTokenCount"),
                _first(metrics, "cacheWriteInputTokenCount"),
                0,
            )
        )
    )


def _titan(answer: Json) -> int:
    results = answer.get("results")
    each = results[0] if type(results) is list and results else None
    return count_of(each.get("tokenCount")) if type(each) is dict else 0


#: Shape → what an answer of it says was used, as the provider splits it; None: nothing.
COUNTS: Final[dict[Shape, Callable[[Json], Tokens | None]]] = {
    Shape.CHAT: _openai,
    Shape.COMPLETIONS: _openai,
    Shape.RESPONSES: _openai,
    Shape.EMBEDDINGS: _openai,
    Shape.MESSAGES: _anthropic,
    Shape.GENERATE: _gemini,
    Shape.GEMINI_EMBED: _gemini,
    Shape.PREDICT: _predict,
    Shape.COHERE_CHAT: _cohere,
    Shape.COHERE_EMBED: _cohere,
    Shape.OLLAMA: _ollama,
    Shape.OLLAMA_EMBED: _ollama,
    Shape.CONVERSE: _converse,
    Shape.INVOKE: _invoke,
}

#: Shapes of which `COUNTS` says all as `together` does.
WHOLE: Final = frozenset(shape for shape, count in COUNTS.items() if count is _openai)
#: Shapes whose input leaves out what went through a cache.
_CACHE_APART: Final = frozenset({Shape.MESSAGES, Shape.CONVERSE, Shape.INVOKE})


def together(shape: Shape, told: Tokens) -> Tokens:
    """The counts of `COUNTS` with the cache in the input, and no part larger than its whole."""
    given, made, read, write, reasoning = told
    if shape in _CACHE_APART:
        given += read + write
    return max(given, read + write), max(made, reasoning), read, write, reasoning


def at_least(one: Tokens | None, other: Tokens) -> Tokens:
    """The larger count of each kind: what a stream tells again, it tells from its beginning."""
    if one is None:
        return other
    a, b, c, d, e = one
    f, g, h, i, j = other
    return max(a, f), max(b, g), max(c, h), max(d, i), max(e, j)
