"""What the Cohere endpoints share: errors, usage and the usual usage."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens

_MESSAGES = {
    401: "invalid api token",
    403: "api token is not allowed to use this resource",
    404: "model not found",
    429: "You are using a Trial key, which is limited to 20 API calls / minute.",
    500: "internal server error",
    503: "service unavailable",
}


class Cohere(Dialect):
    """An endpoint of Cohere."""

    usual: ClassVar[Tokens] = Tokens(input=11, output=7, cache_read=4)

    def fit(self, tokens: Tokens) -> Tokens:
        """Neither reasoning nor writing to the cache is told."""
        return replace(tokens, cache_write=0, reasoning=0)

    def refusal(self, problem: Problem) -> Json:
        """`{"id": ..., "message": ...}`."""
        return refusal(problem)

    def unreadable(self) -> Problem:
        """A 400 about the body."""
        return Problem(400, "invalid request: the body is not valid JSON")

    def lacks(self, name: str) -> Problem:
        """A 400 that names the field."""
        return Problem(400, f"invalid request: {name} is a required field")


def refusal(problem: Problem) -> Json:
    """The error body of every Cohere endpoint."""
    message = problem.message
    if message is None:
        message = _MESSAGES.get(problem.status, "invalid request")
    return {"id": "otel-atm", "message": message}


def usage(turn: Turn) -> Json:
    """What is billed is what was processed: then any reader of either finds the same counts."""
    tokens = turn.tokens
    counts = {"input_tokens": float(tokens.input), "output_tokens": float(tokens.output)}
    return {
        "billed_units": counts,
        "tokens": counts,
        "cached_tokens": float(tokens.cache_read),
    }
