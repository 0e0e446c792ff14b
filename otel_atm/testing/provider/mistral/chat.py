"""`POST /v1/chat/completions` of Mistral."""

from __future__ import annotations

from collections.abc import Iterator

from otel_atm.testing.provider.body import Body, Json
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.mistral.dialect import PREFIX, fit, refusal, usage
from otel_atm.testing.provider.openai.chat import ChatCompletions
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.words import pieces


class Chat(ChatCompletions):
    """Chat completions; a stream tells its usage in the chunk that says why it ends."""

    paths = (f"{PREFIX}/v1/chat/completions",)
    limits = ("max_tokens",)
    usual = Tokens(input=11, output=7, cache_read=4)

    def fit(self, tokens: Tokens) -> Tokens:
        """Neither reasoning nor writing to the cache."""
        return fit(tokens)

    def tells(self, body: Body) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def answer(self, turn: Turn) -> Json:
        """A `chat.completion` with one choice."""
        message = {"role": "assistant", "content": "", **_said(turn.says, turn)}
        choice = {"index": 0, "message": message, "finish_reason": _finish(turn)}
        return _head(turn, "chat.completion") | {"choices": [choice]} | _usage(turn)

    def events(self, turn: Turn) -> Iterator[Event]:
        """Chunks; a tool call comes whole, in the last one. `[DONE]` ends them."""
        head = _head(turn, "chat.completion.chunk")
        yield Event({**head, "choices": [_choice({"role": "assistant", "content": ""})]})
        last: Json = {"content": ""}
        if isinstance(turn.says, str):
            for piece in pieces(turn.says):
                yield Event({**head, "choices": [_choice({"content": piece})]})
        else:
            last |= _said(turn.says, turn)
        data = {**head, "choices": [_choice(last, _finish(turn))], **_usage(turn)}
        yield Event(data, tells=turn.tells)
        yield Event("[DONE]")

    def refusal(self, problem: Problem) -> Json:
        """`{"object": "error", ...}`."""
        return refusal(problem)


def _head(turn: Turn, kind: str) -> Json:
    return {"id": turn.id, "object": kind, "created": turn.created, "model": turn.asked.model}


def _usage(turn: Turn) -> Json:
    return {"usage": usage(turn.tokens)} if turn.tells else {}


def _finish(turn: Turn) -> str:
    return "tool_calls" if isinstance(turn.says, Call) else "stop"


def _said(says: str | Call, turn: Turn) -> Json:
    if isinstance(says, str):
        return {"content": says}
    function = {"name": says.name, "arguments": says.arguments}
    return {"tool_calls": [{"id": turn.id[:9], "function": function, "index": 0}]}


def _choice(delta: Json, finish: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "finish_reason": finish}
