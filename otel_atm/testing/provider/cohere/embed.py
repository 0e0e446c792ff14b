"""`POST /v2/embed` and `/v1/embed`."""

from __future__ import annotations

from typing import ClassVar

from otel_atm.testing.provider.body import Body, Json
from otel_atm.testing.provider.cohere.dialect import Cohere
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.url import Url
from otel_atm.testing.provider.words import vector

_DIMENSIONS = 8
_GIVEN = ("texts", "inputs", "images")


class Embed(Cohere):
    """Vectors of 8 numbers, or of `output_dimension`; they cost input tokens only."""

    paths = ("/v2/embed", "/v1/embed")
    needs: ClassVar[Fields] = {"model": str}
    prompts = _GIVEN
    streams = False

    def read(self, raw: bytes, url: Url) -> Body:
        """The request, which needs texts, images or inputs of both."""
        body = super().read(raw, url)
        if not any(isinstance(body.get(name), list) and body[name] for name in _GIVEN):
            raise Problem(400, "invalid request: valid input must be provided as texts")
        return body

    def fit(self, tokens: Tokens) -> Tokens:
        """The input tokens, without details."""
        return Tokens(input=tokens.input)

    def answer(self, turn: Turn) -> Json:
        """Floats, whatever types were asked for; `meta` tells the usage."""
        given = next(turn.body[name] for name in _GIVEN if turn.body.get(name))
        length = turn.body.get("output_dimension") or _DIMENSIONS
        floats = [vector(length, index) for index in range(len(given))]
        by_type = turn.url.path == "/v2/embed" or bool(turn.body.get("embedding_types"))
        billed = {"billed_units": {"input_tokens": float(turn.tokens.input)}}
        return {
            "id": turn.id,
            "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
            "embeddings": {"float": floats} if by_type else floats,
            "texts": turn.body.get("texts") or [],
            "meta": {
                "api_version": {"version": turn.url.path[2:3]},
                **(billed if turn.tells else {}),
            },
        }
