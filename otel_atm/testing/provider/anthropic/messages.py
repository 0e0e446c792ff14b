"""`POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar

from otel_atm.testing.provider.anthropic.errors import refusal
from otel_atm.testing.provider.anthropic.shapes import (
    block,
    message,
    message_events,
    stop_reason,
    usage,
)
from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Dialect, Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens


class Messages(Dialect):
    """Messages; a stream tells the input in its first event and the output in its last but one."""

    paths = ("/v1/messages",)
    needs: ClassVar[Fields] = {
        "model": str,
        "messages": list,
        "max_tokens": int,
    }
    prompts = ("system", "messages")
    limits = ("max_tokens",)
    usual = Tokens(input=11, output=7, cache_read=4, cache_write=2)

    def tool(self, body: Body) -> Call | None:
        """The first tool with a schema, which Anthropic's own tools lack."""
        tools = (tool for tool in items(body, "tools") if "input_schema" in tool)
        return next((call_of(each, "input_schema") for each in tools), None)

    def rounds(self, body: Body) -> int:
        """The `tool_result` blocks."""
        messages = items(body, "messages")
        blocks = chain.from_iterable(items(message, "content") for message in messages)
        return [block.get("type") for block in blocks].count("tool_result")

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`output_config.format.schema`."""
        return branch(branch(branch(body, "output_config"), "format"), "schema") or None

    def answer(self, turn: Turn) -> Json:
        """A `message` with one content block."""
        return message(turn) | {
            "content": [block(turn)],
            "stop_reason": stop_reason(turn),
            **({"usage": usage(turn.tokens)} if turn.tells else {}),
        }

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `message_start` to `message_stop`; counts are cumulative, not to be added up."""
        for data in message_events(turn):
            told = turn.tells and data["type"] == "message_delta"
            yield Event(data, data["type"], tells=told)

    def refusal(self, problem: Problem) -> Json:
        """`{"type": "error", "error": {...}}`."""
        return refusal(problem)

    def unreadable(self) -> Problem:
        """A 400 about the body."""
        return Problem(400, "The request body is not valid JSON")

    def lacks(self, name: str) -> Problem:
        """A 400 in the words of Pydantic."""
        return Problem(400, f"{name}: Field required")
