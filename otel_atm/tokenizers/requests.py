"""Requests: what providers add to the texts of a request, by its wire format.

What is added are tokens that nobody wrote: who speaks, where a message ends, how tools are told.
Providers do not say how; the numbers are what others found out, and what this gives is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.count import TokenCount
from otel_atm.tokenizers.tally import Tally
from otel_atm.tokenizers.tools import anthropic_tools, openai_tools

Body: TypeAlias = Mapping[str, Any]

#: OpenAI: tokens around each message, for the name of its speaker, and to begin the answer.
#: (OpenAI cookbook, "How to count tokens with tiktoken".)
MESSAGE: Final = 3
NAME: Final = 1
ANSWER: Final = 3
#: Anthropic: tokens around each message, and to begin the answer: "Hello" alone is 8 there.
TURN: Final = 4
REPLY: Final = 3


def count_parts(
    body: Body, shape: str, model: str | None, count: Callable[[str], TokenCount]
) -> TokenCount:
    """About how many tokens a request is, by counting its texts and adding what is added.

    Args:
        body: as JSON has it; what does not fit its shape is passed over.
        shape: one of `SHAPES`.
        model: that is asked.
        count: counts one text.
    """
    tally = Tally(count)
    try:
        SHAPES[shape](tally, body, (model or "").lower())
    except RecursionError:  # deeper than anybody reads: what was counted so far
        tally.exact = False
    return tally.result(shape)


def known_shape(shape: str) -> None:
    """Check a wire format.

    Raises:
        ConfigurationError: quotes one that is not known.
    """
    if shape not in SHAPES:
        raise ConfigurationError(f"shape={shape!r}: expected one of {', '.join(SHAPES)}")


def _chat(tally: Tally, body: Body, _: str) -> None:
    for message in _mappings(body.get("messages")):
        _message(tally, message)
    tally.add(ANSWER)
    openai_tools(tally, body.get("tools"))
    openai_tools(tally, body.get("functions"))
    tally.json(_at(body, "response_format", "json_schema"))


def _message(tally: Tally, message: Body) -> None:
    tally.add(MESSAGE)
    for field in ("role", "name", "content", "tool_calls", "function_call"):
        tally.content(message.get(field))
    if message.get("name"):
        tally.add(NAME)


def _responses(tally: Tally, body: Body, _: str) -> None:
    told, asked = body.get("instructions"), body.get("input")
    first = [{"role": "developer", "content": told}] if told else []
    rest = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    for item in (*first, *_mappings(rest)):
        if "role" in item:
            _message(tally, item)
        else:  # what goes into a tool, and comes out
            tally.add(MESSAGE)
            tally.content(item)
    tally.add(ANSWER)
    openai_tools(tally, body.get("tools"))
    tally.json(_at(body, "text", "format"))


def _given(*fields: str) -> Callable[[Tally, Body, str], None]:
    """A shape whose texts a model reads as they are: embeddings, completions."""

    def shape(tally: Tally, body: Body, _: str) -> None:
        for field in fields:
            _texts_or_tokens(tally, body.get(field))

    return shape


def _texts_or_tokens(tally: Tally, given: Any) -> None:
    """A text, tokens by their numbers, or a list of either."""
    if isinstance(given, list | tuple) and given and isinstance(given[0], int):
        tally.numbers(len(given))
    elif isinstance(given, list | tuple):
        for each in given:
            _texts_or_tokens(tally, each)
    else:
        tally.content(given)


def _anthropic(tally: Tally, body: Body, model: str) -> None:
    tally.content(body.get("system"))
    for message in _mappings(body.get("messages")):
        tally.add(TURN)
        tally.content(message.get("content"))
    tally.add(REPLY)
    anthropic_tools(tally, body.get("tools"), body.get("tool_choice"), model)
    tally.json(_at(body, "output_config", "format") or body.get("output_format"))


def _gemini(tally: Tally, body: Body, _: str) -> None:
    """Google counts the texts alone; tools and schemas by theirs, which is a little less."""
    for field in ("systemInstruction", "system_instruction", "contents"):
        tally.content(body.get(field))
    tally.json(body.get("tools"))
    for field in ("responseSchema", "responseJsonSchema"):
        tally.json(_at(body, "generationConfig", field))


def _others(tally: Tally, body: Body, _: str) -> None:
    """Wire formats of which nobody said what is added: as OpenAI's chat."""
    for field in ("system", "preamble", "chat_history", "message", "prompt", "inputText"):
        tally.content(body.get(field))
    for message in _mappings(body.get("messages")):
        _message(tally, message)
    tally.add(ANSWER)
    for field in ("tools", "toolConfig", "documents", "response_format", "format"):
        tally.json(body.get(field))


def _mappings(value: Any) -> Iterable[Body]:
    if not isinstance(value, list | tuple):
        return ()
    return [each for each in value if isinstance(each, Mapping)]


def _at(body: Body, outer: str, inner: str) -> Any:
    found = body.get(outer)
    return found.get(inner) if isinstance(found, Mapping) else None


#: Wire format, by the names that guards have for them → adds a request to a tally.
SHAPES: Final[dict[str, Callable[[Tally, Body, str], None]]] = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "openai.completions": _given("prompt", "suffix"),
    "openai.embeddings": _given("input"),
    "anthropic.messages": _anthropic,
    "gemini.generate_content": _gemini,
    "gemini.embed_content": _given("content", "requests"),
    "vertex.predict": _given("instances"),
    "cohere.chat": _others,
    "cohere.embed": _given("texts"),
    "ollama.chat": _others,
    "ollama.embed": _given("input", "prompt"),
    "bedrock.converse": _others,
    "bedrock.invoke": _others,
}
