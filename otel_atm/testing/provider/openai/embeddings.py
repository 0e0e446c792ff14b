"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from typing import ClassVar

from otel_atm.testing.provider.body import Body, Json
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.openai.dialect import OpenAI, at
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import vector

_DIMENSIONS = 8


class Embeddings(OpenAI):
    """Vectors of 8 numbers, or as many `dimensions` as asked for; they cost input tokens only."""

    paths = at("embeddings")
    needs: ClassVar[Fields] = {"model": str, "input": (str, list)}
    prompts = ("input",)
    streams = False

    def fit(self, tokens: Tokens) -> Tokens:
        """The input tokens, without details."""
        return Tokens(input=tokens.input)

    def answer(self, turn: Turn) -> Json:
        """A list with one embedding an input."""
        answer: Json = {
            "object": "list",
            "data": [_embedding(turn.body, index) for index in range(_inputs(turn.body))],
            "model": turn.asked.model,
        }
        if turn.tells:
            count = turn.tokens.input
            answer["usage"] = {"prompt_tokens": count, "total_tokens": count}
        return answer


def _inputs(body: Body) -> int:
    """A list holds one text or token list an input, unless it is itself a token list."""
    asked = body["input"]
    one = isinstance(asked, str) or isinstance(asked[0], int)
    return 1 if one else len(asked)


def _embedding(body: Body, index: int) -> Json:
    dimensions = body.get("dimensions") or _DIMENSIONS
    numbers = vector(dimensions, index)
    packed = body.get("encoding_format") == "base64"
    return {
        "object": "embedding",
        "index": index,
        "embedding": _base64(numbers) if packed else numbers,
    }


def _base64(numbers: list[float]) -> str:
    """Little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
