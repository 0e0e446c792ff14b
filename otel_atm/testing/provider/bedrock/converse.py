"""`POST /model/{model}/converse` and `/converse-stream`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import orjson

from otel_atm.testing.provider.bedrock.dialect import Bedrock, InPieces
from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import pieces


class Converse(Bedrock):
    """A conversation with any model."""

    paths = ("/model/{model:path}/converse",)
    needs: ClassVar[Fields] = {"messages": list}
    prompts = ("system", "messages")

    def limit(self, body: Body) -> int | None:
        """`inferenceConfig.maxTokens`."""
        most = branch(body, "inferenceConfig").get("maxTokens")
        return most if isinstance(most, int) else None

    def tool(self, body: Body) -> Call | None:
        """The first tool, whose schema is in `toolSpec.inputSchema`."""
        tools = [branch(each, "toolSpec") for each in items(branch(body, "toolConfig"), "tools")]
        for tool in tools:
            return call_of({**branch(tool, "inputSchema"), "name": tool.get("name")}, "json")
        return None

    def rounds(self, body: Body) -> int:
        """The `toolResult` blocks."""
        messages = items(body, "messages")
        return sum("toolResult" in each for one in messages for each in items(one, "content"))

    def answer(self, turn: Turn) -> Json:
        """A message with one content block."""
        message = {"role": "assistant", "content": [_block(turn)]}
        return {
            "output": {"message": message},
            "stopReason": _stop_reason(turn),
            "metrics": {"latencyMs": 1},
            **_usage(turn),
        }


class ConverseStream(InPieces, Converse):
    """The same in pieces; what was used comes last."""

    paths = ("/model/{model:path}/converse-stream",)

    def events(self, turn: Turn) -> Iterator[Event]:
        """From `messageStart` to `metadata`."""
        yield Event({"role": "assistant"}, "messageStart")
        place = {"contentBlockIndex": 0}
        if isinstance(turn.says, str):
            deltas: list[Json] = [{"text": piece} for piece in pieces(turn.says)]
        else:
            started = {"toolUseId": f"tooluse_{turn.id}", "name": turn.says.name}
            yield Event({**place, "start": {"toolUse": started}}, "contentBlockStart")
            deltas = [{"toolUse": {"input": piece}} for piece in pieces(turn.says.arguments)]
        for delta in deltas:
            yield Event({**place, "delta": delta}, "contentBlockDelta")
        yield Event(place, "contentBlockStop")
        yield Event({"stopReason": _stop_reason(turn)}, "messageStop")
        metrics = {"metrics": {"latencyMs": 1}, **_usage(turn)}
        yield Event(metrics, "metadata", tells=turn.tells)


def _block(turn: Turn) -> Json:
    if isinstance(turn.says, str):
        return {"text": turn.says}
    use = {"toolUseId": f"tooluse_{turn.id}", "name": turn.says.name}
    return {"toolUse": {**use, "input": orjson.loads(turn.says.arguments)}}


def _stop_reason(turn: Turn) -> str:
    return "tool_use" if isinstance(turn.says, Call) else "end_turn"


def _usage(turn: Turn) -> Json:
    """`TokenUsage`, whose input leaves out what passed through the cache."""
    return {"usage": _counts(turn.tokens)} if turn.tells else {}


def _counts(tokens: Tokens) -> Json:
    return {
        "inputTokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output,
        "cacheReadInputTokens": tokens.cache_read,
        "cacheWriteInputTokens": tokens.cache_write,
    }
