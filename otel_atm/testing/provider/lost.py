"""Requests that no endpoint takes: each provider refuses them in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from otel_atm.testing.provider import anthropic, cohere, gemini, mistral, ollama, openai
from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.problem import Problem


class _Provider(NamedTuple):
    """How to tell that a request is for a provider, and how that refuses."""

    asked: Callable[[Request, str], bool]
    refusal: Callable[[Problem], Json]


#: The first that fits refuses; OpenAI whatever is left.
_PROVIDERS = (
    _Provider(
        lambda request, path: path == "/v1/messages" or "anthropic-version" in request.headers,
        anthropic.refusal,
    ),
    _Provider(lambda _, path: ":" in path or path.startswith("/v1beta"), gemini.refusal),
    _Provider(lambda _, path: path.startswith("/api/"), ollama.refusal),
    _Provider(lambda _, path: path.startswith("/v2/"), cohere.refusal),
    _Provider(lambda _, path: path in (*cohere.ChatV1.paths, *cohere.Embed.paths), cohere.refusal),
    _Provider(lambda _, path: path.startswith(mistral.PREFIX), mistral.refusal),
)


async def not_found(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """There is no such path."""
    message = f"Invalid URL ({request.method} {request.url.path})"
    return _refused(request, Problem(404), Problem(404, message, code="unknown_url"))


async def not_allowed(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """There is one, for another method."""
    message = f"Not allowed to {request.method} on {request.url.path}."
    own = Problem(405, message, code="method_not_supported")
    return _refused(request, Problem(405, "Method Not Allowed"), own)


def _refused(request: Request, problem: Problem, at_openai: Problem) -> Response:
    path = request.url.path
    for provider in _PROVIDERS:
        if provider.asked(request, path):
            return JSONResponse(provider.refusal(problem), problem.status)
    return JSONResponse(openai.refusal(at_openai), at_openai.status)
