"""Amazon's event stream, as the test server writes it."""

from __future__ import annotations

import struct
import zlib

import orjson

from otel_atm.guards.pieces import Frames
from otel_atm.testing.provider.bedrock.frame import frame
from otel_atm.testing.provider.framing import Event

MESSAGE = frame(Event({"usage": {"inputTokens": 1}}, "metadata"))


def test_its_lengths_and_checksums_are_right() -> None:
    length, headers, checksum = struct.unpack(">III", MESSAGE[:12])
    assert length == len(MESSAGE)
    assert checksum == zlib.crc32(MESSAGE[:8])
    assert struct.unpack(">I", MESSAGE[-4:]) == (zlib.crc32(MESSAGE[:-4]),)
    assert orjson.loads(MESSAGE[12 + headers : -4]) == {"usage": {"inputTokens": 1}}


def test_its_headers_have_their_names_and_texts() -> None:
    (headers,) = struct.unpack(">I", MESSAGE[4:8])
    assert MESSAGE[12 : 12 + headers].startswith(b"\x0b:event-type\x07\x00\x08metadata")
    assert MESSAGE[12 : 12 + headers].endswith(b"\x0d:message-type\x07\x00\x05event")


def test_what_reads_real_streams_reads_it() -> None:
    cutter = Frames()
    assert cutter.feed(MESSAGE * 2) == [b'{"usage":{"inputTokens":1}}'] * 2
    assert not cutter.lost
