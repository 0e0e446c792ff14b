"""Requests: whose they are, of which model, and how much text is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent_framework import ChatContext

from otel_atm.guards.text import written
from otel_atm.scope import current_scope
from otel_atm.tokenizers.estimate import factor, tokens_in, utf8
from otel_atm.usage import MOST_TOKENS

#: Who nobody said it is.
ANONYMOUS: Final = "anonymous"
#: Contents that are no text: pictures, sounds, documents.
_MEDIA: Final = frozenset(("data", "uri", "hosted_file"))


def default_user_id_getter(context: ChatContext) -> str:
    """The user of a call: ``context.metadata["user_id"]``, else who ``otel_atm.context`` says.

    "anonymous" where neither does.
    """
    metadata: Any = getattr(context, "metadata", None)
    said = getattr(context, "user_id", None) or (
        metadata.get("user_id") if isinstance(metadata, Mapping) else None
    )
    return str(said or current_scope().get("user") or ANONYMOUS)


def model_of(context: ChatContext) -> str | None:
    """The model that a request asks for, as far as it or its client says."""
    options = context.options or {}
    said = options.get("model") or getattr(context.client, "model", None)
    return said if isinstance(said, str) else None


def most_output(context: ChatContext) -> int:
    """The most tokens that the answer may have; `MOST_TOKENS` where nothing says so."""
    most = (context.options or {}).get("max_tokens")
    return most if type(most) is int and 0 < most < MOST_TOKENS else MOST_TOKENS


def input_of(context: ChatContext, model: str | None) -> int:
    """About how many tokens of input a request is: its messages, instructions and tools."""
    options = context.options or {}
    size = utf8(str(options.get("instructions") or ""))
    media = 0
    for message in context.messages:
        text, more = size_of(message.contents)
        size, media = size + text, media + more
    for tool in _many(options.get("tools")):
        size += _size_of_tool(tool)
    return reckon(size, media, model)


def size_of(contents: Iterable[Any]) -> tuple[int, int]:
    """Of contents of a message: bytes of text, and how many media."""
    size = media = 0
    for content in contents:
        if getattr(content, "type", None) in _MEDIA:
            media += 1
            continue
        for name in ("text", "arguments", "result"):
            size += _size(getattr(content, name, None))
    return size, media


def reckon(size: int, media: int, model: str | None) -> int:
    """About how many tokens of a model so many bytes of text and so many media are."""
    return round(tokens_in(size, media) * factor(model))


def _size(value: object) -> int:
    return utf8(value) if isinstance(value, str) else written(value)


def _many(tools: object) -> Iterable[object]:
    return tools if isinstance(tools, list | tuple) else () if tools is None else (tools,)


def _size_of_tool(tool: Any) -> int:
    if isinstance(tool, Mapping):
        return written(dict(tool))
    spec = getattr(tool, "to_json_schema_spec", None)
    return written(spec()) if callable(spec) else 0
