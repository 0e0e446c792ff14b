"""Messages of Amazon's event stream.

Source: Smithy, ``application/vnd.amazon.eventstream``: the length of all and of the headers, a
checksum of both, headers, payload, a checksum of all before it; numbers are big-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from otel_atm.testing.provider.framing import Event, Framing

_TEXT = 7  # the type of a header's value


def frame(event: Event) -> bytes:
    """One message; the event's name is its event type."""
    headers = b"".join(
        _header(name, value)
        for name, value in (
            (":event-type", event.name or ""),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(event.json), len(headers))
    message = b"".join((prelude, _checksum(prelude), headers, event.json))
    return message + _checksum(message)


def _frames(events: Sequence[Event]) -> list[bytes]:
    return [frame(event) for event in events]


def _header(name: str, value: str) -> bytes:
    raw = value.encode()
    return b"%c%s%c%s%s" % (len(name), name.encode(), _TEXT, struct.pack(">H", len(raw)), raw)


def _checksum(of: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(of))


AMAZON = Framing("application/vnd.amazon.eventstream", _frames)
