"""Native responses: what the objects of the providers' clients say was used.

Objects, dicts and the final chunks of streams of google-genai, openai (chat, responses,
embeddings), anthropic, mistral, cohere, bedrock and ollama. Only counts, names and ids are looked
at; never what was said.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_atm.facade.objects import field, plain
from otel_atm.facade.words import usage_of
from otel_atm.guards.answers import parsed
from otel_atm.guards.counts import COUNTS, Json, together
from otel_atm.guards.shape import Shape
from otel_atm.price import Tokens


class Native(NamedTuple):
    """What a response says of itself.

    Attributes:
        tokens: what the provider says was used; None: it says nothing.
        model: that answered; None if it does not say.
        provider: of the client; None where several share a format.
    """

    tokens: Tokens | None
    model: str | None
    provider: str | None


#: Where a chunk, or what wraps an answer, has the answer.
_WRAPS: Final = ("response", "message", "delta", "data", "metadata", "chunk")


def read_native(response: object) -> Native | None:
    """What a response of a provider's client says was used; None if it is none that is known.

    Args:
        response: an object, a dict, or a chunk of a stream that tells usage.
    """
    silent = None
    for holder in _holders(response):
        answer = usage_of(holder)
        if not answer:
            continue
        shape, provider = _shape_of(answer)
        model = _model(holder, response)
        told = COUNTS[shape](answer)
        if told is not None:
            return Native(together(shape, told), model, provider)
        silent = silent or Native(None, model, None)
    return silent


def _holders(response: object) -> list[object]:
    """The response, and what it wraps, e.g. an event its response."""
    chunk = field(field(response, "chunk"), "bytes")
    if isinstance(chunk, bytes):  # as botocore has an event of a model on Bedrock
        response = parsed(chunk)
    found = [response]
    for name in _WRAPS:
        inner = field(response, name)
        if inner is not None and not isinstance(inner, str | bytes | int | float):
            found.append(inner)
    return found


def _shape_of(answer: Json) -> tuple[Shape, str | None]:
    """The format of what tells usage, by the words in it, and whose it is."""
    usage = plain(answer.get("usage"))
    for words, shape, provider in _WORDS:
        if not words.isdisjoint(answer):
            return shape, provider
    for words, shape, provider in _WORDS_OF_USAGE:
        if not words.isdisjoint(usage):
            return shape, provider
    return (Shape.COHERE_CHAT, "cohere") if "meta" in answer else (Shape.INVOKE, "aws.bedrock")


#: What lies beside the usage, if anything does, → its format and whose that is.
_WORDS: Final[tuple[tuple[frozenset[str], Shape, str | None], ...]] = (
    (frozenset({"usageMetadata"}), Shape.GENERATE, "gcp.gemini"),
    (frozenset({"x_groq"}), Shape.CHAT, "groq"),
    (frozenset({"prompt_eval_count", "eval_count"}), Shape.OLLAMA, "ollama"),
    (frozenset({"predictions"}), Shape.PREDICT, "gcp.vertex_ai"),
    (frozenset({"amazon-bedrock-invocationMetrics"}), Shape.INVOKE, "aws.bedrock"),
)
#: The same of what lies in the usage: the first that is there counts.
_WORDS_OF_USAGE: Final[tuple[tuple[frozenset[str], Shape, str | None], ...]] = (
    # Before the next: gateways that speak OpenAI's language have Anthropic's words beside its own.
    (frozenset({"prompt_tokens"}), Shape.CHAT, None),
    (
        frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"}),
        Shape.MESSAGES,
        "anthropic",
    ),
    (frozenset({"inputTokens", "outputTokens"}), Shape.CONVERSE, "aws.bedrock"),
    (frozenset({"billed_units", "tokens"}), Shape.COHERE_CHAT, "cohere"),
    (frozenset({"total_tokens", "input_tokens_details"}), Shape.RESPONSES, "openai"),
    (frozenset({"input_tokens", "output_tokens"}), Shape.MESSAGES, "anthropic"),
)


def _model(holder: object, response: object) -> str | None:
    for one in (holder, response):
        for name in ("model", "model_version", "modelVersion"):
            model = field(one, name)
            if isinstance(model, str) and model:
                return model
    return None
