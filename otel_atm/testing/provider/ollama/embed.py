"""`POST /api/embed`."""

from __future__ import annotations

from typing import ClassVar

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.ollama.dialect import Ollama
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import vector

_DIMENSIONS = 8


class Embed(Ollama):
    """Vectors of 8 numbers, or as many `dimensions` as asked for."""

    paths = ("/api/embed",)
    needs: ClassVar[Fields] = {"model": str, "input": (str, list)}
    prompts = ("input",)
    streams = False

    def fit(self, tokens: Tokens) -> Tokens:
        """The input tokens."""
        return Tokens(input=tokens.input)

    def said(self, says: str | Call) -> Json:  # noqa: ARG002
        """Vectors say nothing."""
        return {}

    def answer(self, turn: Turn) -> Json:
        """One embedding an input."""
        asked = turn.body["input"]
        count = 1 if isinstance(asked, str) else len(asked)
        length = turn.body.get("dimensions") or _DIMENSIONS
        return {
            "model": turn.asked.model,
            "embeddings": [vector(length, index) for index in range(count)],
            "total_duration": 2_000_000,
            "load_duration": 1_000_000,
            **({"prompt_eval_count": turn.tokens.input} if turn.tells else {}),
        }
