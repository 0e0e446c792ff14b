"""`POST /v1/embeddings` of Mistral."""

from __future__ import annotations

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.dialect import Turn
from otel_atm.testing.provider.mistral.dialect import PREFIX, refusal, usage
from otel_atm.testing.provider.openai.embeddings import Embeddings as OpenAIEmbeddings
from otel_atm.testing.provider.problem import Problem


class Embeddings(OpenAIEmbeddings):
    """OpenAI's, with an id and a completion of 0 tokens."""

    paths = (f"{PREFIX}/v1/embeddings",)

    def answer(self, turn: Turn) -> Json:
        """A list with one embedding an input."""
        told = {"usage": usage(turn.tokens)} if turn.tells else {}
        return {"id": turn.id, **super().answer(turn), **told}

    def refusal(self, problem: Problem) -> Json:
        """`{"object": "error", ...}`."""
        return refusal(problem)
