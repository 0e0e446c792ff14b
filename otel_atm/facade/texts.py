"""Texts: what a request or an answer says, where nobody tells its usage; to be counted only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

#: Where clients' objects have text, or what holds it.
_NAMES: Final = (
    *("content", "contents", "text", "thinking", "output_text", "arguments", "outputText"),
    *("messages", "message", "choices", "delta", "output", "outputs", "candidates", "parts"),
    *("response", "results", "prompt", "input", "system", "tool_calls", "function"),
)
_DEEPEST: Final = 8


def texts_in(said: object) -> str:
    """All text of a client's object, a dict or a list, as far as it is where texts mostly are."""
    return "\n".join(_texts(said, _DEEPEST))


def _texts(said: object, depth: int) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif depth and isinstance(said, list | tuple):
        for each in said:
            yield from _texts(each, depth - 1)
    elif depth and said is not None and not isinstance(said, bytes | int | float | type):
        found = [_get(said, name) for name in _NAMES]
        for each in found:
            if isinstance(each, str) or not callable(each):
                yield from _texts(each, depth - 1)


def _get(holder: Any, name: str) -> object:
    if isinstance(holder, Mapping):
        return holder.get(name)
    return getattr(holder, "__dict__", {}).get(name)
