"""`POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain
from typing import Any, ClassVar

import orjson

from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Fields, Turn
from otel_atm.testing.provider.framing import JSON_LIST, SSE, Event, Framing
from otel_atm.testing.provider.gemini.dialect import Gemini, at
from otel_atm.testing.provider.gemini.usage import usage
from otel_atm.testing.provider.words import pieces


class GenerateContent(Gemini):
    """Whole answers."""

    paths = at("generateContent")
    needs: ClassVar[Fields] = {"contents": (list, dict)}
    prompts = ("systemInstruction", "system_instruction", "contents")

    def wants_stream(self, body: Body) -> bool:  # noqa: ARG002
        """The path says."""
        return False

    def limit(self, body: Body) -> int | None:
        """`generationConfig.maxOutputTokens`."""
        most = branch(body, "generationConfig").get("maxOutputTokens")
        return most if isinstance(most, int) else None

    def tool(self, body: Body) -> Call | None:
        """The first function declaration."""
        tools = items(body, "tools")
        declared = chain.from_iterable(items(tool, "functionDeclarations") for tool in tools)
        return next((_call(each) for each in declared), None)

    def rounds(self, body: Body) -> int:
        """The function responses in the contents."""
        parts = chain.from_iterable(items(each, "parts") for each in items(body, "contents"))
        return sum("functionResponse" in part for part in parts)

    def schema(self, body: Body) -> Mapping[str, Any] | None:
        """`generationConfig.responseJsonSchema` or `.responseSchema`."""
        config = branch(body, "generationConfig")
        return branch(config, "responseJsonSchema") or branch(config, "responseSchema") or None

    def answer(self, turn: Turn) -> Json:
        """A response with one candidate."""
        return _response(turn, _part(turn.says), Fraction(1))


class StreamGenerateContent(GenerateContent):
    """Streamed answers; each event tells all that was used so far."""

    paths = at("streamGenerateContent")

    def wants_stream(self, body: Body) -> bool:  # noqa: ARG002
        """The path says."""
        return True

    def events(self, turn: Turn) -> Iterator[Event]:
        """Responses with a piece of the candidate each; the last says why it ends."""
        said: list[str | Call] = [turn.says]
        if isinstance(turn.says, str):
            said = list(pieces(turn.says)) or [""]
        for number, each in enumerate(said, 1):
            data = _response(turn, _part(each), Fraction(number, len(said)))
            yield Event(data, tells=turn.tells and number == len(said))

    def framing(self, turn: Turn) -> Framing:
        """Server-sent events for `alt=sse`, else a list."""
        return SSE if turn.url.query.get("alt") == "sse" else JSON_LIST


def _call(declaration: Body) -> Call:
    field = "parametersJsonSchema" if "parametersJsonSchema" in declaration else "parameters"
    return call_of(declaration, field)


def _part(says: str | Call) -> Json:
    if isinstance(says, str):
        return {"text": says}
    return {"functionCall": {"name": says.name, "args": orjson.loads(says.arguments)}}


def _response(turn: Turn, part: Json, out: Fraction) -> Json:
    candidate: Json = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if out == 1:
        candidate["finishReason"] = "STOP"
    return {
        "candidates": [candidate],
        **({"usageMetadata": usage(turn.tokens, out)} if turn.tells else {}),
        "modelVersion": turn.asked.model,
        "responseId": turn.id,
    }
