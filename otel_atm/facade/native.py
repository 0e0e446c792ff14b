"""Native responses: what the objects of the providers' clients say was used.

Objects, dicts and the final chunks of streams of google-genai, openai (chat, responses,
embeddings), anthropic, mistral, cohere, bedrock and ollama. Only counts, names and ids are looked
at; never what was said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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
#: Where an answer has its usage.
_USAGES: Final = ("usage", "usage_metadata", "usageMetadata", "meta")
#: Beside the answer: ollama's, and Bedrock's own.
_COUNTS: Final = (
    "prompt_eval_count",
    "eval_count",
    "amazon-bedrock-invocationMetrics",
    "prompt_token_count",
    "generation_token_count",
    "inputTextTokenCount",
)
_SNAKE: Final = re.compile(r"_([a-z])")


def read_native(response: object) -> Native | None:
    """What a response of a provider's client says was used; None if it is none that is known.

    Args:
        response: an object, a dict, or a chunk of a stream that tells usage.
    """
    for holder in _holders(response):
        answer = _answer(holder)
        if answer:
            shape, provider = _shape_of(answer)
            told = COUNTS[shape](answer)
            tokens = None if told is None else together(shape, told)
            return Native(tokens, _model(holder, response), provider)
    return None


def _holders(response: object) -> list[object]:
    """The response, and what it wraps, e.g. an event its response."""
    found = [response]
    for name in _WRAPS:
        inner = _get(response, name)
        if inner is not None and not isinstance(inner, str | bytes | int | float):
            found.append(inner)
    return found


def _answer(holder: object) -> Json:
    """The parts of a response that tell usage, as JSON."""
    answer: Json = {}
    for name in _USAGES:
        usage = plain(_get(holder, name))
        if usage and any(_is_count(value) for value in _leaves(usage)):
            answer[name] = usage
    for name in _COUNTS:
        value = _get(holder, name)
        if _is_count(value) or isinstance(value, Mapping):
            answer[name] = value
    if "input_tokens" in answer.get("usage_metadata", {}):
        answer["usage"] = _in_openais_words(answer.pop("usage_metadata"))
    elif "usage_metadata" in answer:
        answer["usageMetadata"] = _camel(answer.pop("usage_metadata"))
    elif "usageMetadata" in answer:
        answer["usageMetadata"] = _camel(answer["usageMetadata"])
    if not answer and (headers := _bedrock_headers(holder)):
        answer["amazon-bedrock-invocationMetrics"] = headers
    return answer


def _shape_of(answer: Json) -> tuple[Shape, str | None]:
    if "usageMetadata" in answer:
        return Shape.GENERATE, "gcp.gemini"
    if "prompt_eval_count" in answer or "eval_count" in answer:
        return Shape.OLLAMA, "ollama"
    usage = answer.get("usage") or {}
    if "inputTokens" in usage:
        return Shape.CONVERSE, "aws.bedrock"
    if answer.get("meta") or "billed_units" in usage or "tokens" in usage:
        return Shape.COHERE_CHAT, "cohere"
    if not usage:
        return Shape.INVOKE, "aws.bedrock"
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        return Shape.MESSAGES, "anthropic"
    if "prompt_tokens" in usage:
        return Shape.CHAT, None
    if "total_tokens" in usage:
        return Shape.RESPONSES, "openai"
    return Shape.MESSAGES, "anthropic"


def _model(holder: object, response: object) -> str | None:
    for one in (holder, response):
        for name in ("model", "model_version", "modelVersion"):
            model = _get(one, name)
            if isinstance(model, str) and model:
                return model
    return None


def _get(holder: object, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's object
        return None


def plain(value: object) -> Json:
    """An object of a client as a dict of what is set; {} for anything else."""
    if isinstance(value, Mapping):
        return {str(key): _plain_or_self(each) for key, each in value.items() if each is not None}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        dumped = dump(exclude_none=True)
        return dumped if isinstance(dumped, dict) else {}
    fields = getattr(value, "__dict__", None)
    if not isinstance(fields, dict) or isinstance(value, type):
        return {}
    return {
        key: _plain_or_self(each)
        for key, each in fields.items()
        if each is not None and not key.startswith("_")
    }


def _plain_or_self(value: object) -> object:
    return value if isinstance(value, str | int | float | list | tuple) else plain(value)


def _in_openais_words(usage: Json) -> Json:
    """LangChain's ``AIMessage.usage_metadata``, whatever the provider."""
    read, made = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": {
            "cached_tokens": read.get("cache_read"),
            "cache_creation_tokens": read.get("cache_creation"),
        },
        "completion_tokens_details": {"reasoning_tokens": made.get("reasoning")},
    }


def _camel(usage: Json) -> Json:
    return {_SNAKE.sub(lambda found: found[1].upper(), key): each for key, each in usage.items()}


def _leaves(usage: Json) -> list[object]:
    """The counts, also those in details."""
    return [
        leaf
        for value in usage.values()
        for leaf in (value.values() if isinstance(value, Mapping) else [value])
    ] + [
        leaf
        for value in usage.values()
        if isinstance(value, Mapping)
        for inner in value.values()
        if isinstance(inner, Mapping)
        for leaf in inner.values()
    ]


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
}


def _bedrock_headers(response: object) -> dict[str, int]:
    """What Bedrock tells of ``invoke_model`` besides its body, whatever the model says."""
    headers = _get(_get(response, "ResponseMetadata"), "HTTPHeaders")
    if not isinstance(headers, Mapping):
        return {}
    return {
        ours: int(headers[name])
        for name, ours in _HEADERS.items()
        if str(headers.get(name, "")).isdigit()
    }
