"""A shop under gunicorn: answers who it is, and makes one LLM call for each request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm

provider = TracerProvider()
provider.add_span_processor(
    atm.TokenSpanProcessor(store=os.environ["SHOP_STORE"], ledger="memory", guards=False)
)
tracer = provider.get_tracer("shop")


def call(user: str) -> str:
    """One call; its event id."""
    with atm.context(user=user):
        span: Any = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
    span.set_attribute("gen_ai.usage.input_tokens", 5)
    span.end()
    return str(span.attributes["atm.call_id"])


if not os.environ.get("SHOP_IS_QUIET"):
    call("arbiter")  # there is a segment and a thread when workers are forked


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Of WSGI."""
    body = f"{os.getpid()} {call('worker')}".encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
