"""`POST /model/{model}/invoke` and `/invoke-with-response-stream`, in the language of Claude."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import ClassVar

import orjson

from otel_atm.testing.provider.anthropic import shapes
from otel_atm.testing.provider.bedrock.dialect import Bedrock, InPieces
from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event


class Invoke(Bedrock):
    """A request in a model's own words; headers tell what Bedrock has counted."""

    paths = ("/model/{model:path}/invoke",)
    needs: ClassVar[Fields] = {"messages": list, "max_tokens": int}
    prompts = ("system", "messages")
    limits = ("max_tokens",)

    def answer(self, turn: Turn) -> Json:
        """A `message` of Claude."""
        return shapes.message(turn) | {
            "content": [shapes.block(turn)],
            "stop_reason": shapes.stop_reason(turn),
            **({"usage": shapes.usage(turn.tokens)} if turn.tells else {}),
        }

    def headers(self, turn: Turn) -> Mapping[str, str]:
        """The counts, where the answer may tell them."""
        if not turn.tells:
            return {}
        names = {"inputTokenCount": "input-token-count", "outputTokenCount": "output-token-count"}
        counts = _counts(turn)
        return {f"x-amzn-bedrock-{header}": str(counts[name]) for name, header in names.items()}


class InvokeStream(InPieces, Invoke):
    """The same in pieces: Claude's events in base64, Bedrock's counts in the last one."""

    paths = ("/model/{model:path}/invoke-with-response-stream",)

    def headers(self, turn: Turn) -> Mapping[str, str]:  # noqa: ARG002
        """None: they go out before anything is counted."""
        return {}

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `message_start` to `message_stop`."""
        for data in shapes.message_events(turn):
            last = turn.tells and data["type"] == "message_stop"
            event = {**data, "amazon-bedrock-invocationMetrics": _counts(turn)} if last else data
            packed = base64.b64encode(orjson.dumps(event)).decode()
            yield Event({"bytes": packed, "p": "abcdef"}, "chunk", tells=last)


def _counts(turn: Turn) -> Json:
    tokens = turn.tokens
    return {
        "inputTokenCount": tokens.input - tokens.cache_read - tokens.cache_write,
        "outputTokenCount": tokens.output,
        "cacheReadInputTokenCount": tokens.cache_read,
        "cacheWriteInputTokenCount": tokens.cache_write,
        "invocationLatency": 1,
        "firstByteLatency": 1,
    }
