"""`POST /v1beta/models/MODEL:embedContent` and `:batchEmbedContents`."""

from __future__ import annotations

from typing import ClassVar

from otel_atm.testing.provider.body import Body, Json, items
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.gemini.dialect import Gemini, at
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import vector

_DIMENSIONS = 8


class EmbedContent(Gemini):
    """One vector of 8 numbers, or as many as `outputDimensionality` asks for."""

    paths = at("embedContent")
    needs: ClassVar[Fields] = {"content": dict}
    prompts = ("content",)
    streams = False

    def fit(self, tokens: Tokens) -> Tokens:
        """The input tokens, without details."""
        return Tokens(input=tokens.input)

    def answer(self, turn: Turn) -> Json:
        """The embedding and its usage."""
        return {"embedding": _embedding(turn.body, 0), **_usage(turn)}


class BatchEmbedContents(EmbedContent):
    """One vector a request in the batch."""

    paths = at("batchEmbedContents")
    needs: ClassVar[Fields] = {"requests": list}
    prompts = ("requests",)

    def answer(self, turn: Turn) -> Json:
        """The embeddings, in the order of the requests, and their usage."""
        asked = enumerate(items(turn.body, "requests"))
        return {"embeddings": [_embedding(each, index) for index, each in asked], **_usage(turn)}


def _embedding(asked: Body, index: int) -> Json:
    return {"values": vector(asked.get("outputDimensionality") or _DIMENSIONS, index)}


def _usage(turn: Turn) -> Json:
    count = turn.tokens.input
    usage = {"promptTokenCount": count, "totalTokenCount": count}
    return {"usageMetadata": usage} if turn.tells else {}
