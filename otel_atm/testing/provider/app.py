"""The web application: routes, and refusals outside of them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from otel_atm.testing.provider import anthropic, bedrock, cohere, gemini, mistral, ollama, openai
from otel_atm.testing.provider.dialect import Dialect
from otel_atm.testing.provider.endpoint import Desk, Endpoint
from otel_atm.testing.provider.lost import not_allowed, not_found

_DIALECTS: Sequence[Dialect] = (
    openai.ChatCompletions(),
    openai.Completions(),
    openai.Responses(),
    openai.Embeddings(),
    anthropic.Messages(),
    bedrock.ConverseStream(),
    bedrock.Converse(),
    bedrock.InvokeStream(),
    bedrock.Invoke(),
    gemini.GenerateContent(),
    gemini.StreamGenerateContent(),
    gemini.EmbedContent(),
    gemini.BatchEmbedContents(),
    cohere.Chat(),
    cohere.ChatV1(),
    cohere.Embed(),
    ollama.Chat(),
    ollama.Generate(),
    ollama.Embed(),
    mistral.Chat(),
    mistral.Embeddings(),
)


def application(desk: Desk) -> Starlette:
    """All endpoints of all providers."""
    routes = [
        Route(path, Endpoint(dialect, desk), methods=["POST"])
        for dialect in _DIALECTS
        for path in dialect.paths
    ]
    routes += [Route(path, openai.model_list) for path in ("/v1/models", "/openai/v1/models")]
    routes += [Route(path, gemini.count_tokens, methods=["POST"]) for path in gemini.COUNT_PATHS]
    return Starlette(routes=routes, exception_handlers={404: not_found, 405: not_allowed})
