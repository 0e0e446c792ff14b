"""`GET /v1/models`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

_MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-nano", "text-embedding-3-small", "text-embedding-3-large")


async def model_list(request: Request) -> JSONResponse:  # noqa: ARG001 - an endpoint takes it
    """A few names; the other endpoints accept any."""
    data = [
        {"id": name, "object": "model", "created": 1754425777, "owned_by": "system"}
        for name in _MODELS
    ]
    return JSONResponse({"object": "list", "data": data})
