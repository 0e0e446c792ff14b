"""`POST /v1beta/models/MODEL:countTokens`, which asks no model."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse

from otel_atm.testing.provider.body import characters
from otel_atm.testing.provider.gemini.dialect import at, refusal
from otel_atm.testing.provider.problem import Problem

COUNT_PATHS = at("countTokens")
_CHARACTERS_PER_TOKEN = 4


async def count_tokens(request: Request) -> JSONResponse:
    """A token for every 4 characters of the contents."""
    try:
        contents = orjson.loads(await request.body())["contents"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return JSONResponse(refusal(Problem(400)), 400)
    return JSONResponse({"totalTokens": -(-characters(contents) // _CHARACTERS_PER_TOKEN)})
