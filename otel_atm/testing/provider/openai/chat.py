"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.openai.dialect import OpenAI, at
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import pieces


class ChatCompletions(OpenAI):
    """Chat completions; a stream tells its usage only when `include_usage` asks for it."""

    paths = at("chat/completions")
    needs: ClassVar[Fields] = {"model": str, "messages": list}
    prompts = ("messages",)
    limits: ClassVar[Sequence[str]] = ("max_completion_tokens", "max_tokens")

    def tells(self, body: Body) -> bool:
        """Plain answers always do."""
        wanted = branch(body, "stream_options").get("include_usage") is True
        return wanted or body.get("stream") is not True

    def tool(self, body: Body) -> Call | None:
        """The first function."""
        functions = (branch(tool, "function") for tool in items(body, "tools"))
        return next((call_of(each, "parameters") for each in functions if each), None)

    def rounds(self, body: Body) -> int:
        """The messages of role `tool`."""
        roles = [message.get("role") for message in items(body, "messages")]
        return roles.count("tool")

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`response_format.json_schema.schema`."""
        return branch(branch(branch(body, "response_format"), "json_schema"), "schema") or None

    def answer(self, turn: Turn) -> Json:
        """A `chat.completion` with one choice."""
        message = {"role": "assistant", "content": None, "refusal": None, **_content(turn)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(turn)}
        answer = {**_head(turn, "chat.completion"), "choices": [choice]}
        return answer | {"usage": usage(turn.tokens)} if turn.tells else answer

    def events(self, turn: Turn) -> Iterator[Event]:
        """Chunks; the one with the usage has no choices. `[DONE]` ends them."""
        head = _head(turn, "chat.completion.chunk") | ({"usage": None} if turn.tells else {})
        for delta in _deltas(turn):
            yield Event({**head, "choices": [_choice(delta)]})
        yield Event({**head, "choices": [_choice({}, _finish(turn))]})
        if turn.tells:
            yield Event({**head, "choices": [], "usage": usage(turn.tokens)}, tells=True)
        yield Event("[DONE]")


def usage(tokens: Tokens) -> Json:
    """The usage object of chat completions."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _head(turn: Turn, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{turn.id}",
        "object": kind,
        "created": turn.created,
        "model": turn.asked.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _finish(turn: Turn) -> str:
    return "tool_calls" if isinstance(turn.says, Call) else "stop"


def _content(turn: Turn) -> Json:
    if isinstance(turn.says, str):
        return {"content": turn.says}
    return {"tool_calls": [_tool_call(turn, turn.says, turn.says.arguments)]}


def _tool_call(turn: Turn, call: Call, arguments: str) -> Json:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{turn.id}", "type": "function", "function": function}


def _deltas(turn: Turn) -> Iterator[Json]:
    """The role first, with an empty text or a tool call without arguments; then the pieces."""
    first = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(turn.says, str):
        yield first | {"content": ""}
        yield from ({"content": piece} for piece in pieces(turn.says))
        return
    yield first | {"tool_calls": [{"index": 0, **_tool_call(turn, turn.says, "")}]}
    for piece in pieces(turn.says.arguments):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _choice(delta: Json, finish: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
