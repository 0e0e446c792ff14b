"""What the Bedrock endpoints share: the model in the path, errors and the usual usage."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from otel_atm.testing.provider.bedrock.frame import AMAZON
from otel_atm.testing.provider.body import Body, Json
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.framing import Framing
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens

_KINDS = {
    403: ("AccessDeniedException", "You don't have access to the model."),
    404: ("ResourceNotFoundException", "The model does not exist."),
    408: ("ModelTimeoutException", "The model took too long."),
    424: ("ModelErrorException", "The model had an error."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system had an error."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
}


class Bedrock(Dialect):
    """An endpoint of Bedrock that answers as a whole."""

    usual: ClassVar[Tokens] = Tokens(input=11, output=7, cache_read=4, cache_write=2)

    def wants_stream(self, body: Body) -> bool:  # noqa: ARG002
        """The path says."""
        return False

    def fit(self, tokens: Tokens) -> Tokens:
        """Without reasoning: Bedrock does not tell it apart."""
        return replace(tokens, reasoning=0)

    def refusal(self, problem: Problem) -> Json:
        """`{"__type": ..., "message": ...}`."""
        kind, message = _KINDS.get(problem.status, ("ValidationException", "Invalid request."))
        return {"__type": kind, "message": message if problem.message is None else problem.message}

    def unreadable(self) -> Problem:
        """A 400 about the body."""
        return Problem(400, "Unable to parse request body.")

    def lacks(self, name: str) -> Problem:
        """A 400 that names the field."""
        return Problem(400, f"The value at {name} is missing.")


class InPieces(Bedrock):
    """An endpoint that answers with an event stream."""

    def wants_stream(self, body: Body) -> bool:  # noqa: ARG002
        """The path says."""
        return True

    def framing(self, turn: Turn) -> Framing:  # noqa: ARG002
        """Amazon's own."""
        return AMAZON
