"""`POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar

from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.openai.dialect import OpenAI, at
from otel_atm.testing.provider.openai.output import finished, item_events
from otel_atm.testing.provider.tokens import Tokens


class Responses(OpenAI):
    """Responses; their streams always tell the usage."""

    paths = (*at("responses"), "/openai/responses")
    needs: ClassVar[Fields] = {"model": str, "input": (str, list)}
    prompts = ("instructions", "input")
    limits = ("max_output_tokens",)

    def tool(self, body: Body) -> Call | None:
        """The first tool of type `function`."""
        functions = (tool for tool in items(body, "tools") if tool.get("type") == "function")
        return next((call_of(each, "parameters") for each in functions), None)

    def rounds(self, body: Body) -> int:
        """The function outputs in the input, and those before `previous_response_id`."""
        kinds = [item.get("type") for item in items(body, "input")]
        return kinds.count("function_call_output") + _rounds_before(body)

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`text.format.schema`."""
        return branch(branch(branch(body, "text"), "format"), "schema") or None

    def answer(self, turn: Turn) -> Json:
        """A completed `response` with one output item."""
        answer = self._response(turn, "completed") | {"output": [finished(turn)]}
        return answer | {"usage": usage(turn.tokens)} if turn.tells else answer

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `response.created` to `response.completed`, numbered."""
        begun = self._response(turn, "in_progress")
        sequence = chain(
            [{"type": f"response.{state}", "response": begun} for state in _BEGINNINGS],
            item_events(turn),
            [{"type": "response.completed", "response": self.answer(turn)}],
        )
        for number, data in enumerate(sequence):
            last = data["type"] == "response.completed"
            yield Event(data | {"sequence_number": number}, data["type"], tells=last and turn.tells)

    def _response(self, turn: Turn, status: str) -> Json:
        body = turn.body
        return {
            "id": f"resp_{self.rounds(body):02x}{turn.id}",
            "object": "response",
            "created_at": turn.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": turn.asked.model,
            "output": [],
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": None,
            **{name: body.get(name) for name in _ECHOED},
            **{name: body[name] for name in ("text", "tool_choice", "tools") if body.get(name)},
        }


_BEGINNINGS = ("created", "in_progress")
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "previous_response_id",
    "reasoning",
    "temperature",
    "top_p",
)


def usage(tokens: Tokens) -> Json:
    """The usage object of responses."""
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def _rounds_before(body: Body) -> int:
    """Ids carry the count, so that the server need not remember conversations."""
    previous = body.get("previous_response_id")
    if not isinstance(previous, str):
        return 0
    try:
        return int(previous.removeprefix("resp_")[:2], 16)
    except ValueError:
        return 0
