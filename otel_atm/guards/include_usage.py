"""Usage on request: OpenAI's chat streams tell it only if asked to.

Source: OpenAI API reference, chat completions, ``stream_options.include_usage``: before ``[DONE]``
comes one more chunk with the usage and no choices. A client that did not ask for it need not
expect such a chunk, so what is asked for in its name is kept from it.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from otel_atm.guards.requests import read_body

_ASKED: Final = b'"stream_options":{"include_usage":true}'
_MOST_HELD: Final = 1 << 16  # bytes; the chunk with the usage has a few hundred
#: What such a chunk has to have, before one looks closer.
_MARKS: Final = (b'"usage"', b'"choices"')


def include_usage(body: bytes) -> bytes:
    """The body of a chat request, made to ask for the usage of its stream.

    It comes back as it is if it asks for no stream, or asks already, or is no JSON object. Else
    all the rest of it stays as it is, to the byte, unless it has other `stream_options`.
    """
    fields = read_body(body)
    if fields.get("stream") is not True:
        return body
    options = fields.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        return body
    if "stream_options" in fields:
        return _rewritten(body)
    place = body.find(b"{") + 1
    return b"%s%s,%s" % (body[:place], _ASKED, body[place:])


def _rewritten(body: bytes) -> bytes:
    try:
        # not orjson, which makes floats of integers above 64 bits
        fields: dict[str, Any] = json.loads(body)
        options = fields["stream_options"]
        kept = options if isinstance(options, dict) else {}
        fields["stream_options"] = {**kept, "include_usage": True}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError, LookupError):
        return body


def is_usage_only(event: bytes) -> bool:
    """Whether an event of a chat stream tells nothing but the usage.

    Args:
        event: with ``data:`` or without, with its line ends or without.
    """
    if len(event) > _MOST_HELD or not all(mark in event for mark in _MARKS):
        return False
    for line in event.splitlines():
        try:
            chunk = orjson.loads(line.removeprefix(b"data:"))
        except orjson.JSONDecodeError:
            continue
        if isinstance(chunk, dict) and chunk.get("choices") == []:
            return isinstance(chunk.get("usage"), dict)
    return False


class WithoutUsage:
    """A chat stream without the event that tells nothing but the usage.

    Whole events pass at once and byte-equal. The beginning of one waits for its end, which no
    client could do anything without; beyond 64 KiB it waits no longer. Nothing here raises.
    """

    __slots__ = ("_held", "_open")

    def __init__(self) -> None:
        self._held = b""
        self._open = False  # in the middle of an event whose beginning has passed

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may pass now."""
        if not self._held and not self._open and chunk.endswith(b"\n\n") and _MARKS[0] not in chunk:
            return chunk  # as nearly all are
        passing = []
        self._held += chunk
        while end := _end_of_event(self._held):
            event, self._held = self._held[:end], self._held[end:]
            if self._open or not is_usage_only(event):
                passing.append(event)
            self._open = False
        if len(self._held) > _MOST_HELD:
            # the last bytes stay: an end may be among them
            passing.append(self._held[:-3])
            self._held, self._open = self._held[-3:], True
        return b"".join(passing)

    def finish(self) -> bytes:
        """What is left when the stream has ended."""
        left, self._held = self._held, b""
        return b"" if not self._open and is_usage_only(left) else left


def _end_of_event(text: bytes) -> int:
    """Where the first event ends, its blank line with it; 0 if it goes on."""
    ends = [
        place + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if (place := text.find(blank)) >= 0
    ]
    return min(ends, default=0)
