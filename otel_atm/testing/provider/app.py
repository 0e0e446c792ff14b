"""The web application: routes, and refusals outside of them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_atm.testing.provider import anthropic, openai
from otel_atm.testing.provider.dialect import Dialect
from otel_atm.testing.provider.endpoint import Desk, Endpoint
from otel_atm.testing.provider.problem import Problem

_DIALECTS: Sequence[Dialect] = (
    openai.ChatCompletions(),
    openai.Responses(),
    openai.Embeddings(),
    anthropic.Messages(),
)


def application(desk: Desk) -> Starlette:
    """All endpoints of both providers."""
    routes = [Route(each.path, Endpoint(each, desk), methods=["POST"]) for each in _DIALECTS]
    routes.append(Route("/v1/models", openai.model_list))
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_allowed})


async def _not_found(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if _is_anthropic(request):
        return JSONResponse(anthropic.refusal(Problem(404)), 404)
    problem = Problem(404, f"Invalid URL ({request.method} {request.url.path})", code="unknown_url")
    return JSONResponse(openai.refusal(problem), 404)


async def _not_allowed(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if _is_anthropic(request):
        return JSONResponse(anthropic.refusal(Problem(405, "Method Not Allowed")), 405)
    message = f"Not allowed to {request.method} on {request.url.path}."
    problem = Problem(405, message, code="method_not_supported")
    return JSONResponse(openai.refusal(problem), 405)


def _is_anthropic(request: Request) -> bool:
    at_home = request.url.path == anthropic.Messages.path
    return at_home or "anthropic-version" in request.headers
