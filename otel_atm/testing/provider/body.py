"""Looking into JSON bodies that may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
Json = dict[str, Any]

#: The fields of messages that hold text: Gemini has parts, Cohere's first API a message.
_TEXTS = ("content", "text", "input", "output", "arguments", "parts", "message")


def branch(body: Body, name: str) -> Body:
    """The object in field `name`; an empty one when there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def items(body: Body, name: str) -> list[Body]:
    """The objects in the list in field `name`; empty when there is none."""
    value = body.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def characters(value: Any) -> int:
    """The length of all texts in a prompt, however deep, in characters."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(characters, value))
    if isinstance(value, dict):
        return sum(characters(value.get(name)) for name in _TEXTS)
    return 0
