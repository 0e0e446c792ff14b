"""Endpoints: the paths at which models are asked."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from otel_atm.guards.shape import Shape


class Endpoint(NamedTuple):
    """One row: how a path ends, and what is asked there.

    Attributes:
        ending: of the path, without its query.
        shape: of the body.
        operation: as ``gen_ai.operation.name`` has it.
        provider: at a host that nobody knows.
        streams: True: the answer is always a stream; None: the body says.
        within: what the path must have besides, "" for nothing.
        anywhere: whether it may be at a host that nobody knows.
    """

    ending: str
    shape: Shape
    operation: str
    provider: str = "openai"
    streams: bool | None = None
    within: str = ""
    anywhere: bool = True


_CHAT, _TEXT, _EMBED, _GENERATE = "chat", "text_completion", "embeddings", "generate_content"
_GEMINI, _VERTEX, _BEDROCK = "gcp.gemini", "gcp.vertex_ai", "aws.bedrock"

#: The first row that fits counts. Paths as in each provider's API reference.
ENDPOINTS: Final = (
    # OpenAI, Azure OpenAI (/openai/deployments/NAME/…), and all that are compatible
    Endpoint("/chat/completions", Shape.CHAT, _CHAT),
    Endpoint("/agents/completions", Shape.CHAT, _CHAT, "mistral_ai"),
    Endpoint("/fim/completions", Shape.COMPLETIONS, _TEXT, "mistral_ai"),
    Endpoint("/completions", Shape.COMPLETIONS, _TEXT),
    Endpoint("/responses", Shape.RESPONSES, _CHAT),
    Endpoint("/responses/compact", Shape.RESPONSES, _CHAT),
    Endpoint("/api/embeddings", Shape.OLLAMA_EMBED, _EMBED, "ollama"),
    Endpoint("/embeddings", Shape.EMBEDDINGS, _EMBED),
    # Anthropic; /v1/threads/ID/messages of OpenAI's assistants is not one of these
    Endpoint("/v1/messages", Shape.MESSAGES, _CHAT, "anthropic"),
    # Gemini and Vertex AI
    Endpoint(":generateContent", Shape.GENERATE, _GENERATE, _GEMINI),
    Endpoint(":streamGenerateContent", Shape.GENERATE, _GENERATE, _GEMINI, True),
    Endpoint(":embedContent", Shape.GEMINI_EMBED, _EMBED, _GEMINI),
    Endpoint(":batchEmbedContents", Shape.GEMINI_EMBED, _EMBED, _GEMINI),
    Endpoint(":rawPredict", Shape.MESSAGES, _CHAT, _VERTEX, None, "/publishers/anthropic/"),
    Endpoint(":streamRawPredict", Shape.MESSAGES, _CHAT, _VERTEX, True, "/publishers/anthropic/"),
    Endpoint(":rawPredict", Shape.CHAT, _CHAT, _VERTEX, None, "/publishers/mistralai/"),
    Endpoint(":streamRawPredict", Shape.CHAT, _CHAT, _VERTEX, True, "/publishers/mistralai/"),
    # :predict also makes images and asks models of one's own
    Endpoint(":predict", Shape.PREDICT, _EMBED, _VERTEX, None, "embedding", anywhere=False),
    # Cohere
    Endpoint("/v2/chat", Shape.COHERE_CHAT, _CHAT, "cohere"),
    Endpoint("/v1/chat", Shape.COHERE_CHAT, _CHAT, "cohere"),
    Endpoint("/v2/embed", Shape.COHERE_EMBED, _EMBED, "cohere"),
    Endpoint("/v1/embed", Shape.COHERE_EMBED, _EMBED, "cohere"),
    # Ollama
    Endpoint("/api/chat", Shape.OLLAMA, _CHAT, "ollama"),
    Endpoint("/api/generate", Shape.OLLAMA, _TEXT, "ollama"),
    Endpoint("/api/embed", Shape.OLLAMA_EMBED, _EMBED, "ollama"),
    # Bedrock
    Endpoint("/converse", Shape.CONVERSE, _CHAT, _BEDROCK, None, "/model/"),
    Endpoint("/converse-stream", Shape.CONVERSE, _CHAT, _BEDROCK, True, "/model/"),
    Endpoint("/invoke", Shape.INVOKE, _CHAT, _BEDROCK, None, "/model/", anywhere=False),
    Endpoint(
        "/invoke-with-response-stream",
        Shape.INVOKE,
        _CHAT,
        _BEDROCK,
        True,
        "/model/",
        anywhere=False,
    ),
)


def _by_last_word() -> dict[str, tuple[Endpoint, ...]]:
    """Last part of a path, or what stands behind its colon → rows: most requests end here."""
    table: dict[str, tuple[Endpoint, ...]] = {}
    for row in ENDPOINTS:
        word = re.split("[/:]", row.ending)[-1]
        table[word] = (*table.get(word, ()), row)
    return table


_TABLE: Final = _by_last_word()
_MOST_PATH: Final = 2_048  # characters
_MOST_REMEMBERED: Final = 1_024
#: Where a path names its model: Azure's deployments, Gemini, Vertex AI, Bedrock.
_MODEL: Final = re.compile(
    r"/(?:deployments/([^/]+)|model/([^/]+)|(?:models|tunedModels|endpoints)/([^/:]+):)"
)


@lru_cache(_MOST_REMEMBERED)
def find_endpoint(path: str) -> Endpoint | None:
    """What is asked at a path, with or without a query; None: no model is."""
    end = path.find("?")
    if end < 0:
        end = len(path)
    last = path[path.rfind("/", 0, end) + 1 : end]
    rows = _TABLE.get(last)
    if rows is None:
        # a model may have a colon in its name, so what counts is the last one
        colon = last.rfind(":")
        rows = _TABLE.get(last[colon + 1 :]) if colon >= 0 else None
    if rows is None or end > _MOST_PATH:
        return None
    for row in rows:
        if path.endswith(row.ending, 0, end) and row.within in path:
            return row
    return None


def model_in(path: str) -> str | None:
    """The model that a path names; of an ARN, what it names.

    >>> model_in("/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Feu.nova/converse")
    'eu.nova'
    """
    found = _MODEL.search(path[:_MOST_PATH].partition("?")[0])
    if found is None:
        return None
    name = unquote(found[1] or found[2] or found[3])
    return name.rpartition("/")[2] if name.startswith("arn:") else name
