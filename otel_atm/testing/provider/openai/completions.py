"""`POST /v1/completions`, the endpoint from before chats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from otel_atm.testing.provider.body import Body, Json, branch
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import Event
from otel_atm.testing.provider.openai.chat import usage
from otel_atm.testing.provider.openai.dialect import OpenAI, at
from otel_atm.testing.provider.words import pieces


class Completions(OpenAI):
    """Text completions, one a prompt; a stream tells its usage only when asked."""

    paths = at("completions")
    needs: ClassVar[Fields] = {"model": str, "prompt": (str, list)}
    prompts = ("prompt", "suffix")
    limits = ("max_tokens",)

    def tells(self, body: Body) -> bool:
        """Plain answers always do."""
        wanted = branch(body, "stream_options").get("include_usage") is True
        return wanted or body.get("stream") is not True

    def answer(self, turn: Turn) -> Json:
        """A `text_completion` with one choice a prompt."""
        choices = [_choice(str(turn.says), index, "stop") for index in range(_prompts(turn.body))]
        answer = _head(turn) | {"choices": choices}
        return answer | {"usage": usage(turn.tokens)} if turn.tells else answer

    def events(self, turn: Turn) -> Iterator[Event]:
        """Pieces of the text; `[DONE]` ends them."""
        head = _head(turn) | ({"usage": None} if turn.tells else {})
        for index in range(_prompts(turn.body)):
            for piece in pieces(str(turn.says)):
                yield Event({**head, "choices": [_choice(piece, index)]})
            yield Event({**head, "choices": [_choice("", index, "stop")]})
        if turn.tells:
            yield Event({**head, "choices": [], "usage": usage(turn.tokens)}, tells=True)
        yield Event("[DONE]")


def _prompts(body: Body) -> int:
    """A list holds one text or token list a prompt, unless it is itself a token list."""
    asked = body["prompt"]
    return 1 if isinstance(asked, str) or isinstance(asked[0], int) else len(asked)


def _head(turn: Turn) -> Json:
    return {
        "id": f"cmpl-{turn.id}",
        "object": "text_completion",
        "created": turn.created,
        "model": turn.asked.model,
        "system_fingerprint": None,
    }


def _choice(text: str, index: int, finish: str | None = None) -> Json:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
