"""A message, whole and in the making."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Turn
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import pieces


def usage(tokens: Tokens) -> Json:
    """The usage object, whose `input_tokens` leave out what passed through the cache."""
    thinking = {"output_tokens_details": {"thinking_tokens": tokens.reasoning}}
    return {
        "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
        **(thinking if tokens.reasoning else {}),
    }


def message(turn: Turn) -> Json:
    """A message that has not said anything yet."""
    return {
        "id": f"msg_{turn.id}",
        "type": "message",
        "role": "assistant",
        "model": turn.asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def stop_reason(turn: Turn) -> str:
    """Why the message ends."""
    return "tool_use" if isinstance(turn.says, Call) else "end_turn"


def block(turn: Turn) -> Json:
    """The one content block."""
    if isinstance(turn.says, str):
        return {"type": "text", "text": turn.says}
    arguments = orjson.loads(turn.says.arguments)
    return {
        "type": "tool_use",
        "id": f"toolu_{turn.id}",
        "name": turn.says.name,
        "input": arguments,
    }


def message_events(turn: Turn) -> Iterator[Json]:
    """The data of all events in order."""
    counts = usage(turn.tokens)
    # One token is out when the stream starts; how many it thought is known at its end only.
    first = {**counts, "output_tokens": 1}
    first.pop("output_tokens_details", None)
    started = message(turn) | ({"usage": first} if turn.tells else {})
    yield {"type": "message_start", "message": started}
    yield from _block_events(turn)
    delta = {"stop_reason": stop_reason(turn), "stop_sequence": None}
    last: Json = {"type": "message_delta", "delta": delta}
    yield last | ({"usage": counts} if turn.tells else {})
    yield {"type": "message_stop"}


def _block_events(turn: Turn) -> Iterator[Json]:
    empty, deltas = _text(turn.says) if isinstance(turn.says, str) else _input(turn.says)
    yield {"type": "content_block_start", "index": 0, "content_block": block(turn) | empty}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}


def _text(text: str) -> tuple[Json, list[Json]]:
    return {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(text)]


def _input(call: Call) -> tuple[Json, list[Json]]:
    parts = pieces(call.arguments)
    return {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
