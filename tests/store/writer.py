"""A program that makes LLM calls until it is killed: ``python writer.py STORE ACKS SEED``.

It appends the id of each event to ACKS once the span's end has returned, and prints a line after
every few. It drains at random, besides what its store does by itself.
"""

from __future__ import annotations

import os
import random
import sys

from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm

OFTEN = 20  # events between two lines
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}


def main(store: str, acks: str, seed: int) -> None:
    """Make calls for ever."""
    chance = random.Random(seed)
    processor = atm.TokenSpanProcessor(["1000M tokens / month per user"], store=store)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("writer")
    descriptor = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while True:
        with atm.context(user=f"u{chance.randrange(20)}", team=chance.choice(["ml", "ops"])):
            model = chance.choice(["gpt-5.1", "claude-opus-4-8"])
            span = tracer.start_span("chat", attributes={**CHAT, "gen_ai.request.model": model})
        if chance.random() < 0.9:
            span.set_attribute("gen_ai.usage.input_tokens", chance.randrange(1, 10_000))
            span.set_attribute("gen_ai.usage.output_tokens", chance.randrange(1_000))
        if chance.random() < 0.1:
            span.set_attribute("error.type", "openai.RateLimitError")
        span.end()
        os.write(descriptor, f"{(span.attributes or {})['atm.call_id']}\n".encode())
        number += 1
        if number % OFTEN == 0:
            print(number, flush=True)  # noqa: T201 - its only way to speak
        if chance.random() < 1 / 200:
            processor.force_flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
