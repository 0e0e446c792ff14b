"""Words: usage as clients and frameworks have it, in the words of the providers' own answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from otel_atm.facade.objects import field, fields, has_counts, is_count, plain
from otel_atm.guards.answers import USAGE
from otel_atm.guards.counts import Json

#: What google-genai's objects and LangChain's messages call their usage.
_THEIRS: Final = "usage_metadata"
_SNAKE: Final = re.compile(r"_([a-z])")


def usage_of(holder: object) -> Json:
    """The parts of an answer that tell usage, as its provider writes them; {} if none does.

    Args:
        holder: an answer of a client, or the part of one that has usage: an object or a dict.
    """
    answer: Json = {}
    for name in USAGE:
        value = field(holder, name)
        usage = value if is_count(value) else plain(value)
        if has_counts(usage):
            answer[name] = usage
    theirs = plain(field(holder, _THEIRS)) or plain(field(holder, "usageMetadata"))
    if "input_tokens" in theirs:
        answer["usage"] = _in_openais_words(theirs)
    elif has_counts(theirs):
        answer["usageMetadata"] = _camel(theirs)
    if "inputTextTokenCount" in answer:  # Titan: its whole answers tell the output apart
        told = [field(each, "tokenCount") for each in fields(holder, "results")]
        answer["results"] = [{"tokenCount": count} for count in told]
    return answer or _predictions(holder) or _headers(holder)


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


def _predictions(holder: object) -> Json:
    """Embeddings of Vertex AI, of its API or of google-genai: each has statistics of its text."""
    vectors = [field(each, "embeddings") for each in fields(holder, "predictions")]
    told = [plain(field(each, "statistics")) for each in vectors or fields(holder, "embeddings")]
    found = [{"embeddings": {"statistics": each}} for each in told if has_counts(each)]
    return {"predictions": found} if found else {}


_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
}


def _headers(response: object) -> Json:
    """What Bedrock tells of ``invoke_model`` besides its body, whatever the model says."""
    headers = field(field(response, "ResponseMetadata"), "HTTPHeaders")
    if not isinstance(headers, Mapping):
        return {}
    found = {
        ours: int(headers[name])
        for name, ours in _HEADERS.items()
        if str(headers.get(name, "")).isdigit()
    }
    return {"amazon-bedrock-invocationMetrics": found} if found else {}
