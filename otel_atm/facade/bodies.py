"""Bodies: the wire format of a request that is handed over as messages, contents or a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_atm.facade.objects import plain

Body = Mapping[str, Any]

#: What a body has → its wire format; the first counts.
_SHAPES: Final = (
    ("contents", "gemini.generate_content"),
    ("messages", "openai.chat"),
    ("input", "openai.responses"),
    ("prompt", "openai.completions"),
    ("message", "cohere.chat"),
    ("texts", "cohere.embed"),
    ("instances", "vertex.predict"),
    ("inputText", "bedrock.invoke"),
)


def body_of(said: object) -> tuple[Body, str] | None:
    """A request as its wire format has it, and the format; None if it is none that is known.

    Args:
        said: a body, or the list of its messages or contents: dicts, clients' objects, texts.
    """
    if isinstance(said, list | tuple):
        parts = [_part(each) for each in said]
        chat = any(isinstance(part, Mapping) and "content" in part for part in parts)
        said = {"messages" if chat else "contents": parts}
    if not isinstance(said, Mapping):
        return None
    for name, shape in _SHAPES:
        value = said.get(name)
        if isinstance(value, list | tuple):
            parts = [_part(each) for each in value]
            return {**said, name: parts}, _shape(shape, said, parts)
        if value:
            return said, shape
    return None


def _shape(shape: str, body: Body, parts: list[object]) -> str:
    """The format, where another has the same field."""
    if shape == "openai.chat" and "system" in body:
        return "anthropic.messages"
    if shape == "openai.responses" and not any(isinstance(part, Mapping) for part in parts):
        return "openai.embeddings"
    return shape


def _part(said: object) -> object:
    """What a client's object says as a dict; a dict, a text, a number as it is."""
    return said if isinstance(said, Mapping | str | int) else plain(said)
