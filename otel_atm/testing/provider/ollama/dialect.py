"""What the Ollama endpoints share: streams unless told otherwise, errors, counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from otel_atm.testing.provider.body import Body, Json, branch
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.framing import JSON_LINES, Event, Framing
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import pieces

_MESSAGES = {
    401: "unauthorized",
    404: "model not found",
    429: "too many requests",
    500: "internal server error",
    503: "server busy, please try again. maximum pending requests exceeded",
}
_MILLISECOND_NS = 1_000_000


class Ollama(Dialect):
    """An endpoint of Ollama that makes text."""

    usual: ClassVar[Tokens] = Tokens(input=11, output=7)

    def fit(self, tokens: Tokens) -> Tokens:
        """Input and output, without details."""
        return Tokens(input=tokens.input, output=tokens.output)

    def wants_stream(self, body: Body) -> bool:
        """Unless the request says otherwise."""
        return body.get("stream") is not False

    def limit(self, body: Body) -> int | None:
        """`options.num_predict`; -1 for no limit."""
        most = branch(body, "options").get("num_predict")
        return most if isinstance(most, int) and most >= 0 else None

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`format`, if it is a schema."""
        return branch(body, "format") or None

    @abstractmethod
    def said(self, says: str | Call) -> Json:
        """The fields that hold a text or a tool call."""

    def answer(self, turn: Turn) -> Json:
        """The whole text, with its counts beside it."""
        return head(turn) | self.said(turn.says) | _end(turn)

    def events(self, turn: Turn) -> Iterator[Event]:
        """Pieces of the text; the last one is empty and has the counts."""
        said: list[str | Call] = [turn.says]
        if isinstance(turn.says, str):
            said = list(pieces(turn.says))
        for each in said:
            yield Event(head(turn) | self.said(each) | {"done": False})
        yield Event(head(turn) | self.said("") | _end(turn), tells=turn.tells)

    def framing(self, turn: Turn) -> Framing:  # noqa: ARG002
        """JSON lines."""
        return JSON_LINES

    def refusal(self, problem: Problem) -> Json:
        """`{"error": ...}`."""
        return refusal(problem)

    def unreadable(self) -> Problem:
        """A 400 about the body."""
        return Problem(400, "invalid JSON in the request body")

    def lacks(self, name: str) -> Problem:
        """A 400 that names the field."""
        return Problem(400, f"{name} is required")


def refusal(problem: Problem) -> Json:
    """The error body of every Ollama endpoint."""
    message = problem.message
    if message is None:
        message = _MESSAGES.get(problem.status, "invalid request")
    return {"error": message}


def head(turn: Turn) -> Json:
    """What every answer begins with."""
    created = datetime.fromtimestamp(turn.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"model": turn.asked.model, "created_at": created}


def _end(turn: Turn) -> Json:
    counts = {"prompt_eval_count": turn.tokens.input, "eval_count": turn.tokens.output}
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": 4 * _MILLISECOND_NS,
        "load_duration": _MILLISECOND_NS,
        "prompt_eval_duration": _MILLISECOND_NS,
        "eval_duration": 2 * _MILLISECOND_NS,
        **(counts if turn.tells else {}),
    }
