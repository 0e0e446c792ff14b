"""A web handler: a refusal becomes 429 with Retry-After, for the user that the session names."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import otel_atm as atm
from otel_atm.testing import ProviderServer


def make_app(base_url: str) -> Starlette:
    client = AsyncOpenAI(base_url=base_url, api_key="unused")

    async def ask(request: Request) -> Response:
        user = request.headers["x-user"]  # yours comes from a session that you have checked
        async with atm.context(user=user):
            answer = await client.chat.completions.create(
                model="gpt-5.1", messages=[{"role": "user", "content": "How are you?"}]
            )
        return JSONResponse({"answer": answer.choices[0].message.content})

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, atm.TokenQuotaExceeded)
        wait_s = error.retry_after_s
        headers = {} if wait_s is None else {"retry-after": str(math.ceil(wait_s))}
        facts = {"budget": error.budget, "limit": error.limit, "used": error.used}
        return JSONResponse(facts, status_code=429, headers=headers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    return Starlette(
        routes=[Route("/ask", ask, methods=["POST"])],
        exception_handlers={atm.TokenQuotaExceeded: refuse},
        lifespan=lifespan,
    )


def main() -> None:
    import uvicorn

    OpenAIInstrumentor().instrument()
    atm.init(budgets=["40 tokens / minute per user"], store=None, default_hold=20)
    with ProviderServer() as server:
        print("curl -i -X POST -H 'x-user: ann' http://127.0.0.1:8080/ask")
        uvicorn.run(make_app(server.openai_url), host="127.0.0.1", port=8080)


if __name__ == "__main__":
    main()
