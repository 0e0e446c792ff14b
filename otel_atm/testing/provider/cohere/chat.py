"""`POST /v2/chat`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.cohere.dialect import Cohere, usage
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.words import pieces


class Chat(Cohere):
    """Chats; a stream tells the usage in its last event."""

    paths = ("/v2/chat",)
    needs: ClassVar[Fields] = {"model": str, "messages": list}
    prompts = ("messages",)
    limits = ("max_tokens",)

    def tool(self, body: Body) -> Call | None:
        """The first function."""
        functions = (branch(tool, "function") for tool in items(body, "tools"))
        return next((call_of(each, "parameters") for each in functions if each), None)

    def rounds(self, body: Body) -> int:
        """The messages of role `tool`."""
        return [message.get("role") for message in items(body, "messages")].count("tool")

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`response_format.json_schema`."""
        return branch(branch(body, "response_format"), "json_schema") or None

    def answer(self, turn: Turn) -> Json:
        """A message and its usage."""
        return {
            "id": turn.id,
            "finish_reason": _finish(turn),
            "message": {"role": "assistant", **_message(turn)},
            **({"usage": usage(turn)} if turn.tells else {}),
        }

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `message-start` to `message-end`; `[DONE]` ends them."""
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
        yield _event("message-start", {"message": message}, id=turn.id)
        if isinstance(turn.says, str):
            yield from _text_events(turn.says)
        else:
            yield from _call_events(turn, turn.says)
        end = {"finish_reason": _finish(turn), **({"usage": usage(turn)} if turn.tells else {})}
        last = {"type": "message-end", "id": turn.id, "delta": end}
        yield Event(last, "message-end", tells=turn.tells)
        yield Event("[DONE]")


def _event(kind: str, delta: Json | None = None, **more: Any) -> Event:
    return Event({"type": kind, **more, **({"delta": delta} if delta else {})}, kind)


def _text_events(text: str) -> Iterator[Event]:
    empty = {"message": {"content": {"type": "text", "text": ""}}}
    yield _event("content-start", empty, index=0)
    for piece in pieces(text):
        yield _event("content-delta", {"message": {"content": {"text": piece}}}, index=0)
    yield _event("content-end", index=0)


def _call_events(turn: Turn, call: Call) -> Iterator[Event]:
    begun = {"message": {"tool_calls": _tool_call(turn, call, "")}}
    yield _event("tool-call-start", begun, index=0)
    for piece in pieces(call.arguments):
        delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
        yield _event("tool-call-delta", delta, index=0)
    yield _event("tool-call-end", index=0)


def _finish(turn: Turn) -> str:
    return "TOOL_CALL" if isinstance(turn.says, Call) else "COMPLETE"


def _message(turn: Turn) -> Json:
    if isinstance(turn.says, str):
        return {"content": [{"type": "text", "text": turn.says}]}
    return {"tool_calls": [_tool_call(turn, turn.says, turn.says.arguments)]}


def _tool_call(turn: Turn, call: Call, arguments: str) -> Json:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"{call.name}_{turn.id}", "type": "function", "function": function}
