"""How the events of a stream look on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from otel_atm.testing.provider.body import Json


@dataclass(frozen=True, slots=True)
class Event:
    """One event: JSON `data`, or text to be sent as it is.

    `name` is its SSE event type, None for none. `tells` marks the event that carries the final
    usage.
    """

    data: Json | str
    name: str | None = None
    tells: bool = False

    @property
    def json(self) -> bytes:
        """The data on the wire."""
        return self.data.encode() if isinstance(self.data, str) else orjson.dumps(self.data)


class Framing(NamedTuple):
    """A format of streams: its content type, and the bytes of each of its events."""

    media_type: str
    frames: Callable[[Sequence[Event]], list[bytes]]


def _sse(events: Sequence[Event]) -> list[bytes]:
    names = (f"event: {event.name}\n".encode() if event.name else b"" for event in events)
    return [
        b"%sdata: %s\n\n" % (name, event.json) for name, event in zip(names, events, strict=True)
    ]


def _lines(events: Sequence[Event]) -> list[bytes]:
    return [event.json + b"\n" for event in events]


def _list(events: Sequence[Event]) -> list[bytes]:
    frames = [b",\r\n" + event.json for event in events]
    frames[0] = b"[" + events[0].json
    frames[-1] += b"\n]"
    return frames


SSE = Framing("text/event-stream", _sse)
JSON_LINES = Framing("application/x-ndjson", _lines)
JSON_LIST = Framing("application/json", _list)
