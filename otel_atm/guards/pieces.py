"""Pieces: streams cut into what can be parsed, in bounded memory.

However the bytes are cut into chunks, the pieces are the same.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol, TypeAlias

#: Bytes of the longest piece that is kept whole; of a longer one, how much of both its ends is.
MOST_WHOLE: Final = 1 << 15
HEAD: Final = 256


class Torn(NamedTuple):
    """The ends of a piece that was too long to be kept: `HEAD` and `MOST_WHOLE` bytes."""

    head: bytes
    tail: bytes


Piece: TypeAlias = bytes | Torn


class Cutter(Protocol):
    """Cuts a stream into pieces."""

    def feed(self, chunk: bytes) -> list[Piece]:
        """The pieces that are now complete."""

    def finish(self) -> list[Piece]:
        """What is left when the stream has ended; nothing is kept."""


class _Unfinished:
    """One piece that grows."""

    __slots__ = ("_head", "_kept")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._head: bytes | None = None  # set when the piece has become too long

    def add(self, part: bytes) -> None:
        self._kept += part
        if len(self._kept) > MOST_WHOLE:
            if self._head is None:
                self._head = bytes(self._kept[:HEAD])
            del self._kept[:-MOST_WHOLE]

    def take(self) -> Piece:
        kept, head = bytes(self._kept), self._head
        self._kept, self._head = bytearray(), None
        return kept if head is None else Torn(head, kept)

    def __bool__(self) -> bool:
        return bool(self._kept)


class Lines:
    """Server-sent events and JSON lines: each line is a piece.

    Source: WHATWG HTML, server-sent events. That a line may also end with a mere carriage return,
    and that data may have several lines, no provider makes use of.
    """

    __slots__ = ("_unfinished",)

    def __init__(self) -> None:
        self._unfinished = _Unfinished()

    def feed(self, chunk: bytes) -> list[Piece]:
        """The lines that are now complete, without their ends."""
        lines = chunk.split(b"\n")
        last = lines.pop()
        if self._unfinished and lines:
            self._unfinished.add(lines[0])
            pieces: list[Piece] = [self._unfinished.take()]
            pieces += [_bounded(line) for line in lines[1:]]
        elif len(chunk) > MOST_WHOLE:
            pieces = [_bounded(line) for line in lines]
        else:
            pieces = lines  # type: ignore[assignment] # list is invariant; nobody else has it
        if last:
            self._unfinished.add(last)
        return pieces

    def finish(self) -> list[Piece]:
        """The last line, which need not have an end."""
        return [self._unfinished.take()]


def _bounded(line: bytes) -> Piece:
    return line if len(line) <= MOST_WHOLE else Torn(line[:HEAD], line[-MOST_WHOLE:])


_MARK: Final = re.compile(rb'[{}\[\]"]')
#: What matters inside a string: its end, and escaped characters, one of which may be a quote.
_IN_STRING: Final = re.compile(rb'"|\\.', re.DOTALL)


class Elements:
    """A JSON list that comes bit by bit: each object in it is a piece.

    Source: Gemini API, streamGenerateContent without ``alt=sse``.
    """

    __slots__ = ("_depth", "_escape", "_in_string", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = _Unfinished()
        self._depth = 0
        self._in_string = False
        self._escape = b""  # a backslash whose character is still to come

    def feed(self, chunk: bytes) -> list[Piece]:
        """The objects that are now complete."""
        text, self._escape = self._escape + chunk, b""
        if _ends_in_escape(text):
            text, self._escape = text[:-1], b"\\"
        return self._cut(text)

    def _cut(self, text: bytes) -> list[Piece]:
        pieces: list[Piece] = []
        begin = place = 0
        while mark := (_IN_STRING if self._in_string else _MARK).search(text, place):
            place = mark.end()
            sign = mark[0]
            if sign == b'"':
                self._in_string = not self._in_string
            elif sign in (b"{", b"["):
                if self._depth == 1:
                    begin = mark.start()
                self._depth += 1
            elif sign in (b"}", b"]"):
                self._depth -= 1
                if self._depth == 1:
                    self._unfinished.add(text[begin:place])
                    pieces.append(self._unfinished.take())
        if self._depth > 1:
            self._unfinished.add(text[begin:])
        return pieces

    def finish(self) -> list[Piece]:
        """Nothing: an object that is not complete tells nothing."""
        self._unfinished.take()
        return []


def _ends_in_escape(text: bytes) -> bool:
    """Whether the last backslash escapes what is still to come."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


_PRELUDE: Final = 12  # bytes: length of all, length of the headers, checksum of both
_CHECKSUM: Final = 4


class Frames:
    """Amazon's event stream: the payload of each message is a piece.

    Source: Smithy, ``application/vnd.amazon.eventstream``. Headers and checksums are passed over;
    a message that is too long is, too: those with usage are short.
    """

    __slots__ = ("_held", "_skip", "lost")

    def __init__(self) -> None:
        self._held = bytearray()
        self._skip = 0  # bytes still to come of a message that is too long
        self.lost = False  # the stream is none of these, or broken

    def feed(self, chunk: bytes) -> list[Piece]:
        """The payloads that are now complete."""
        pieces: list[Piece] = []
        passed = min(self._skip, len(chunk))
        self._skip -= passed
        if not self.lost:
            self._held += chunk[passed:]
            while len(self._held) >= _PRELUDE and self._next(pieces):
                pass
        return pieces

    def _next(self, pieces: list[Piece]) -> bool:
        """Take one message off, if it is there; False: wait for more."""
        held = self._held
        length = int.from_bytes(held[:4], "big")
        begin = _PRELUDE + int.from_bytes(held[4:8], "big")
        if begin + _CHECKSUM > length:
            self.lost, self._held = True, bytearray()
            return False
        if length > MOST_WHOLE:
            self._skip = max(0, length - len(held))
            del held[:length]
            return not self._skip
        if len(held) < length:
            return False
        pieces.append(bytes(held[begin : length - _CHECKSUM]))
        del held[:length]
        return True

    def finish(self) -> list[Piece]:
        """Nothing: a message that is not complete tells nothing."""
        self._held = bytearray()
        return []


def cutter_for(first: int) -> Cutter:
    """The cutter for a stream, by its first byte that is no blank.

    The length of an Amazon message has a zero first, as none is longer than 16 MiB; a list begins
    with a bracket, and neither an event nor an object does.
    """
    if first == 0:
        return Frames()
    return Elements() if first == ord("[") else Lines()
