"""Answers that come to aiohttp: looked at when they arrive, before anybody reads them.

aiohttp takes compression off before it feeds a body to its reader, so that is where to look.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any, Final

from otel_atm.guards.attempt import Attempt
from otel_atm.guards.looked_at import look_at

#: Reader of a body, by its id, → the attempt that it answers. A reader has no room for more
#: attributes; its response keeps it alive for as long as it is in here.
_attempts: Final[dict[int, Attempt]] = {}


def watch(attempt: Attempt, response: Any) -> bool:
    """Look at a response while its body arrives: byte for byte, and nothing is held back."""
    reader, body = response.content, response._body
    for chunk in [body] if body is not None else list(reader._buffer):  # that were here first
        attempt.chunk(bytes(chunk))
    if body is not None or reader.is_eof():
        attempt.end(whole=True)
        return True
    look_at(response, _Response)
    look_at(reader, _Reader)
    _attempts[id(reader)] = attempt
    # its connection keeps it alive, so this is when that goes
    weakref.finalize(response, _dropped, id(reader), attempt)
    return True


def _dropped(key: int, attempt: Attempt) -> None:
    """A response that nobody has any more."""
    _attempts.pop(key, None)
    attempt.end()


class _Reader:
    """A reader that the parser feeds."""

    __slots__ = ()

    def feed_data(self, data: bytes, *size: int) -> Any:
        attempt = _attempts.get(id(self))
        if attempt is not None:
            attempt.chunk(data)
        return super().feed_data(data, *size)  # type: ignore[misc]

    def feed_eof(self) -> None:
        attempt = _attempts.pop(id(self), None)
        if attempt is not None:
            attempt.end(whole=True)
        super().feed_eof()  # type: ignore[misc]

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """The connection is broken, or nothing has come for too long."""
        attempt = _attempts.pop(id(self), None)
        if attempt is not None:
            attempt.end(exc)
        super().set_exception(exc, *cause)  # type: ignore[misc]


class _Response:
    """A response that somebody may have had enough of; known here before its reader is told."""

    def close(self) -> None:
        _left(self)
        super().close()  # type: ignore[misc]

    def release(self) -> Any:
        _left(self)
        return super().release()  # type: ignore[misc]


def _left(response: Any) -> None:
    attempt = _attempts.pop(id(response.content), None)
    if attempt is not None:
        error = sys.exception()
        # aiohttp closes what took longer than it may
        attempt.end(error if isinstance(error, TimeoutError) else None)
