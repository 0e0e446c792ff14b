"""Whole answers: what one says was used, where its body comes in pieces."""

from __future__ import annotations

from typing import Final

import orjson

from otel_atm.guards.answers import MOST_PARSED, WINDOW, Answer, read_answer
from otel_atm.guards.counts import Json
from otel_atm.guards.shape import Shape
from otel_atm.guards.streams import StreamWatch

_BLANK: Final = b" \t\r\n"


class WholeWatch:
    """Looks on as the body of an answer passes by that is one JSON object.

    Of what passes it keeps the beginning and the end, 80 KiB: that is what is read of a long
    answer. If it is no JSON object it is looked at as a stream, whatever the request asked for.

    It is not for use in several threads at once.

    Args:
        shape: of the request.

    >>> watch = WholeWatch(Shape.CONVERSE)
    >>> watch.feed(b'{"usage": {"inputTokens": 3, ')
    >>> watch.feed(b'"outputTokens": 2}}')
    >>> watch.finish().tokens
    (3, 2, 0, 0, 0)
    """

    __slots__ = ("_answer", "_besides", "_kept", "_shape", "_stream")

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._kept = bytearray()
        self._besides: Json | None = None
        self._stream: StreamWatch | None = None
        self._answer: Answer | None = None

    @property
    def done(self) -> bool:
        """Whether it has said all that it will, whatever comes after."""
        return self._stream is not None and self._stream.done

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes, which are not compressed. Never raises."""
        if self._answer is not None:
            return
        if not self._kept and self._stream is None:
            chunk = chunk.lstrip(_BLANK)
            if chunk and not chunk.startswith(b"{"):
                self._stream = StreamWatch(self._shape)
        if self._stream is not None:
            self._stream.feed(chunk)
            return
        self._kept += chunk
        # statistics of Vertex AI's embeddings are all over the body
        if len(self._kept) > 2 * (MOST_PARSED + WINDOW) and self._shape is not Shape.PREDICT:
            del self._kept[WINDOW:-MOST_PARSED]

    def take(self, event: Json) -> None:
        """What is said besides the body, e.g. in headers: it counts if the body says nothing."""
        self._besides = event

    def finish(self) -> Answer:
        """What the answer has said; once that is asked for, nothing more is looked at."""
        if self._answer is None:
            self._answer = self._read()
            self._kept = bytearray()
        return self._answer

    def _read(self) -> Answer:
        if self._stream is not None:
            answer = self._stream.finish()
        else:
            answer = read_answer(self._shape, bytes(self._kept))
        if answer.tokens is not None or self._besides is None:
            return answer
        # a body that was not seen to its end might have told of a cache besides
        whole = self._kept.rstrip(_BLANK).endswith(b"}")
        told = read_answer(self._shape, orjson.dumps(self._besides))
        return told._replace(exact=told.exact and whole)
