"""Events: what each event of a stream says, shape by shape.

Sources: the streaming sections of the providers' API references.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from otel_atm.guards.answers import parsed
from otel_atm.guards.counts import Json
from otel_atm.guards.shape import Shape
from otel_atm.guards.text import written
from otel_atm.tokenizers.estimate import utf8

#: (what may hold usage, model and id, or None; bytes of output text in the event; whether usage
#: in it is the last word; whether the stream has said all that it will)
Said: TypeAlias = tuple[Json | None, int, bool, bool]

#: Fields of a delta that hold what the model says; roles, types and signatures it does not say.
_SPOKEN: Final = frozenset(
    (
        *("text", "content", "parts", "message", "delta", "refusal", "partial_json"),
        *("thinking", "reasoning", "reasoning_content", "reasoningContent", "tool_plan"),
        *("tool_calls", "function_call", "functionCall", "toolUse", "function", "name"),
        *("arguments", "args", "input"),
    )
)
_OBJECTS: Final = frozenset(("args", "arguments", "input"))


def spoken(value: Any) -> int:
    """Bytes of text that a model says in a delta."""
    size = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            for name, part in each.items():
                if name not in _SPOKEN:
                    continue
                if type(part) is str:
                    size += len(part) if part.isascii() else utf8(part)
                elif part:
                    # names in the arguments of a tool are the tool's
                    if name in _OBJECTS:
                        size += written(part)
                    else:
                        waiting.append(part)
        elif type(each) is list:
            waiting += each
    return size


def _chat(event: Json) -> Said:
    """Chunks of OpenAI's chat and text completions; `[DONE]` is no event."""
    choices = event.get("choices")
    if not choices or type(choices) is not list:
        return event, 0, True, False
    size, last = 0, False
    for choice in choices:
        if type(choice) is dict:
            delta = choice.get("delta")
            size += spoken(delta) if delta else spoken(choice)
            last = last or bool(choice.get("finish_reason"))
    return event, size, last, False


#: Events of OpenAI's responses after which nothing comes.
_RESPONDED: Final = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
)


def _responses(event: Json) -> Said:
    kind = event.get("type")
    if type(kind) is not str:
        return event, 0, True, False  # a gateway that answers as a whole
    if kind.endswith(".delta"):
        delta = event.get("delta")
        return None, utf8(delta) if type(delta) is str and "audio" not in kind else 0, False, False
    over = kind in _RESPONDED
    response = event.get("response")
    return response if type(response) is dict else None, 0, over, over or kind == "error"


def _messages(event: Json) -> Said:
    kind = event.get("type")
    if kind == "content_block_delta":
        return None, spoken(event.get("delta")), False, False
    if kind == "message_start":
        message = event.get("message")
        return message if type(message) is dict else None, 0, False, False
    if kind == "content_block_start":
        block = event.get("content_block")
        name = block.get("name") if type(block) is dict else None
        return None, utf8(name) if type(name) is str else 0, False, False
    # cumulative, not to be added up; a whole message, if a gateway does not stream, has both
    last = kind in ("message_delta", "message")
    return event if last else None, 0, last, kind in ("message_stop", "message", "error")


def _generate(event: Json) -> Said:
    """Gemini: each event tells all that was used so far; the last one why it ends."""
    size, last = 0, False
    candidates = event.get("candidates")
    for candidate in candidates if type(candidates) is list else ():
        if type(candidate) is dict:
            size += spoken(candidate.get("content"))
            last = last or bool(candidate.get("finishReason"))
    # a prompt that was blocked has no candidates and costs what is told
    return event, size, last or "promptFeedback" in event, False


def _cohere(event: Json) -> Said:
    """The second API has `type`, the first `event_type`."""
    kind = event.get("type") or event.get("event_type")
    if kind == "message-end":
        delta = event.get("delta")
        return delta if type(delta) is dict else None, 0, True, True
    if kind == "stream-end":
        response = event.get("response")
        return response if type(response) is dict else None, 0, True, True
    if kind == "text-generation":
        return None, spoken(event), False, False
    if kind in ("message-start", "stream-start"):
        return event, 0, False, False
    return None, spoken(event.get("delta")), False, False


def _ollama(event: Json) -> Said:
    over = event.get("done") is True
    text = event.get("response")
    size = utf8(text) if type(text) is str else spoken(event.get("message"))
    return event, size, over, over


def _converse(event: Json) -> Said:
    """As on the wire; or as botocore has it, below the name of the event."""
    if len(event) == 1:
        (inner,) = event.values()
        if type(inner) is dict and "usage" not in event and "delta" not in event:
            event = inner
    over = "usage" in event
    return event if over else None, spoken(event.get("delta")), over, over


def _invoke(event: Json) -> Said:
    """An event of whatever model, in base64; Bedrock adds its own counts to the last one."""
    chunk = event.get("chunk")
    if type(chunk) is dict:
        event = chunk
    if "bytes" in event:
        event = _unpacked(event["bytes"])
    metered = "amazon-bedrock-invocationMetrics" in event
    if metered:
        return event, 0, True, True
    if type(event.get("type")) is str:
        return _messages(event)
    if "choices" in event:
        return _chat(event)
    for name in ("generation", "outputText"):  # Llama, Titan
        text = event.get(name)
        if type(text) is str:
            last = bool(event.get("stop_reason") or event.get("completionReason"))
            return event, utf8(text), last, False
    return _converse(event)


def _unpacked(packed: Any) -> Json:
    """The event in a chunk: base64 on the wire, bytes from botocore."""
    if isinstance(packed, bytes):
        return parsed(packed)
    try:
        return parsed(binascii.a2b_base64(packed)) if type(packed) is str else {}
    except ValueError:
        return {}


def _whole(event: Json) -> Said:
    """Shapes that never stream."""
    return event, 0, True, False


#: Shape → what an event of its streams says.
EVENTS: Final[dict[Shape, Callable[[Json], Said]]] = {
    **dict.fromkeys(Shape, _whole),
    Shape.CHAT: _chat,
    Shape.COMPLETIONS: _chat,
    Shape.RESPONSES: _responses,
    Shape.MESSAGES: _messages,
    Shape.GENERATE: _generate,
    Shape.COHERE_CHAT: _cohere,
    Shape.OLLAMA: _ollama,
    Shape.CONVERSE: _converse,
    Shape.INVOKE: _invoke,
}
