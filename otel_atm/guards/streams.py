"""Streams: what a streamed answer says was used, while it passes by."""

from __future__ import annotations

from typing import Final

from otel_atm.guards.answers import SKIMMER, Answer, id_of, parsed
from otel_atm.guards.counts import COUNTS, Json, at_least, together
from otel_atm.guards.events import EVENTS
from otel_atm.guards.pieces import Cutter, Piece, Torn, cutter_for
from otel_atm.guards.shape import Shape
from otel_atm.guards.skim import Skimmer
from otel_atm.price import Tokens
from otel_atm.tokenizers.estimate import tokens_in

_BLANK: Final = b" \t\r\n"
_DONE: Final = b"[DONE]"
#: What kind of event it is, by its beginning.
_KINDS: Final = Skimmer(("type", "event_type"))
#: Shapes whose events may hold a whole answer, which may be long, and under which name.
_WITHIN: Final = {Shape.RESPONSES: "response", Shape.COHERE_CHAT: "response"}


class StreamWatch:
    """Looks on as a stream passes by; however it is cut into chunks, the answer is the same.

    Server-sent events, JSON lines, JSON lists and Amazon's event streams are told apart by their
    first byte. Of what passes, it keeps counts, a model and an id, and one unfinished line: all
    of it up to 32 KiB, of a longer one the first 256 bytes and the last 32 KiB.

    It is not for use in several threads at once.

    Args:
        shape: of the request.

    Attributes:
        done: the stream has said all that it will say; what comes after is not looked at. Not
            every provider says so: the end of the bytes is an end, too.

    >>> watch = StreamWatch(Shape.MESSAGES)
    >>> watch.feed(b'data: {"type":"message_start","message":{"usage":{"input_tokens":3}}}')
    >>> watch.finish().tokens
    (3, 0, 0, 0, 0)
    """

    __slots__ = (
        "_answer",
        "_counts",
        "_cutter",
        "_exact",
        "_id",
        "_said",
        "_shape",
        "_take",
        "_told",
        "done",
    )

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._take, self._counts = EVENTS[shape], COUNTS[shape]
        self._cutter: Cutter | None = None
        self._answer: Answer | None = None
        self._told: Tokens | None = None
        self._id: str | None = None
        self._said = 0
        self._exact = False
        self.done = False

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes, which are not compressed. Never raises.

        Args:
            chunk: of any length.
        """
        if self.done or self._answer is not None:
            return
        cutter = self._cutter
        if cutter is None:
            chunk = chunk.lstrip(_BLANK)
            if not chunk:
                return
            cutter = self._cutter = cutter_for(chunk[0])
        for piece in cutter.feed(chunk):
            if self._look(piece):
                self.done, self._cutter = True, None  # and what it holds of the text
                return

    def take(self, event: Json) -> None:
        """Look at an event that somebody else has parsed, e.g. botocore. Never raises."""
        if not self.done and self._answer is None:
            self.done = self._note(event)

    def finish(self) -> Answer:
        """What the stream has said; once that is asked for, nothing more is looked at."""
        if self._answer is None:
            if self._cutter is not None:
                for piece in self._cutter.finish():
                    self.done = self._look(piece)
                self._cutter = None
            self._answer = self._summed()
        return self._answer

    def _look(self, piece: Piece) -> bool:
        """Note a piece; whether the stream has said all that it will."""
        if isinstance(piece, Torn):
            return self._look_at_torn(piece)
        if piece.startswith(b"data:"):
            piece = piece[5:]
        elif not piece.startswith(b"{"):
            return False  # the end of an event, its name, a comment
        event = parsed(piece)
        return self._note(event) if event else piece.strip() == _DONE

    def _look_at_torn(self, piece: Torn) -> bool:
        """A line too long to be parsed has its kind first, and its usage last."""
        kinds = _KINDS.head(piece.head)
        event = {**SKIMMER.tail(piece.tail), **kinds}
        within = _WITHIN.get(self._shape)
        if within and kinds:
            event[within] = SKIMMER.tail(piece.tail, depth=2)
        return self._note(event, torn=True)

    def _note(self, event: Json, *, torn: bool = False) -> bool:
        holder, size, last, over = self._take(event)
        self._said += size
        if holder is not None:
            # why it ends cannot be seen in a torn event; few tell usage before they end
            self._hear(holder, last=last or torn)
        return over

    def _hear(self, holder: Json, *, last: bool) -> None:
        if self._id is None:
            self._id = id_of(holder)
        told = self._counts(holder)
        if told is not None:
            self._told = at_least(self._told, told)
            self._exact = self._exact or last

    def _summed(self) -> Answer:
        told, seen = self._told, tokens_in(self._said)
        if told is not None:
            told = together(self._shape, told)
            if not self._exact and told[1] < seen:
                told = (told[0], seen, *told[2:])
        return Answer(told, self._id, self._exact, seen)
