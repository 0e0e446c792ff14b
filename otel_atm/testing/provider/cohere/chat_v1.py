"""`POST /v1/chat`, which `cohere.Client` still asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.cohere.dialect import Cohere, usage
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import JSON_LINES, Event, Framing
from otel_atm.testing.provider.words import pieces


class ChatV1(Cohere):
    """Chats without tools; a stream is JSON lines, and ends with the whole answer."""

    paths = ("/v1/chat",)
    needs: ClassVar[Fields] = {"model": str, "message": str}
    prompts = ("preamble", "chat_history", "message")
    limits = ("max_tokens",)

    def answer(self, turn: Turn) -> Json:
        """A text; `meta` tells the usage."""
        return {
            "response_id": turn.id,
            "generation_id": turn.id,
            "text": turn.says,
            "finish_reason": "COMPLETE",
            "meta": {"api_version": {"version": "1"}, **(usage(turn) if turn.tells else {})},
        }

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `stream-start` to `stream-end`."""
        yield Event({"event_type": "stream-start", "generation_id": turn.id})
        for piece in pieces(str(turn.says)):
            yield Event({"event_type": "text-generation", "text": piece})
        end = {"event_type": "stream-end", "finish_reason": "COMPLETE"}
        yield Event({**end, "response": self.answer(turn)}, tells=turn.tells)

    def framing(self, turn: Turn) -> Framing:  # noqa: ARG002
        """JSON lines."""
        return JSON_LINES
