"""A program that makes LLM calls, and notes each one that it was told is kept."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}


class Program:
    """Makes calls of 20 users, 2 teams and 2 models; some tell no usage, some fail.

    Args:
        processor: meters them.
        acks: the file that has the id of each call whose end has returned, one a line.
        chance: of everything.
    """

    def __init__(
        self, processor: atm.TokenSpanProcessor, acks: str | Path, chance: random.Random
    ) -> None:
        self.processor = processor
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("program")
        self._acks = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._chance, self._write = chance, os.write  # as it is now, whoever replaces it

    def call(self) -> None:
        """Make one."""
        chance = self._chance
        with atm.context(user=f"u{chance.randrange(20)}", team=chance.choice(["ml", "ops"])):
            model = chance.choice(["gpt-5.1", "claude-opus-4-8"])
            span: Any = self._tracer.start_span(
                "chat", attributes={**CHAT, "gen_ai.request.model": model}
            )
        if chance.random() < 0.9:
            span.set_attribute("gen_ai.usage.input_tokens", chance.randrange(1, 10_000))
            span.set_attribute("gen_ai.usage.output_tokens", chance.randrange(1_000))
        if chance.random() < 0.1:
            span.set_attribute("error.type", "openai.RateLimitError")
        span.end()
        self._write(self._acks, f"{span.attributes['atm.call_id']}\n".encode())
