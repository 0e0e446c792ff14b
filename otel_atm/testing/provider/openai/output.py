"""The output item of a response, whole and in the making."""

from __future__ import annotations

from collections.abc import Iterator

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Turn
from otel_atm.testing.provider.words import pieces


def finished(turn: Turn) -> Json:
    """The whole item: a message or a function call."""
    if isinstance(turn.says, str):
        return _message(turn, "completed") | {"content": [_part(turn.says)]}
    return _function_call(turn, turn.says, "completed") | {"arguments": turn.says.arguments}


def item_events(turn: Turn) -> Iterator[Json]:
    """The events of the item, without sequence numbers."""
    if isinstance(turn.says, str):
        started, inner = _message(turn, "in_progress"), _text_events(turn, turn.says)
    else:
        started = _function_call(turn, turn.says, "in_progress")
        inner = _call_events(turn, turn.says)
    yield {"type": "response.output_item.added", "output_index": 0, "item": started}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": 0, "item": finished(turn)}


def _text_events(turn: Turn, text: str) -> Iterator[Json]:
    place = {"item_id": f"msg_{turn.id}", "output_index": 0, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": _part("")}
    for piece in pieces(text):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _part(text)}


def _call_events(turn: Turn, call: Call) -> Iterator[Json]:
    kind = "response.function_call_arguments"
    place = {"item_id": f"fc_{turn.id}", "output_index": 0}
    for piece in pieces(call.arguments):
        yield {"type": f"{kind}.delta", **place, "delta": piece}
    yield {"type": f"{kind}.done", **place, "arguments": call.arguments}


def _message(turn: Turn, status: str) -> Json:
    return {
        "id": f"msg_{turn.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [],
    }


def _function_call(turn: Turn, call: Call, status: str) -> Json:
    return {
        "id": f"fc_{turn.id}",
        "type": "function_call",
        "status": status,
        "call_id": f"call_{turn.id}",
        "name": call.name,
        "arguments": "",
    }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
