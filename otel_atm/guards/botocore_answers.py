"""Answers of Bedrock's runtime, as botocore gives them to its callers."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import orjson
import wrapt

from otel_atm.guards.attempt import Attempt
from otel_atm.guards.counts import Json
from otel_atm.guards.looked_at import look_at

#: Headers of an invocation → the names of Bedrock's own metrics.
_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}


def read(attempt: Attempt, answer: Any) -> None:
    """Look at an answer: now, where it is whole, else while it is read.

    Args:
        attempt: that it answers.
        answer: what the client's method is about to return.
    """
    part = answer.get("stream") or answer.get("body")
    if hasattr(part, "_event_generator"):
        attempt.stream()
        _watch_events(attempt, part)
    elif hasattr(part, "_raw_stream"):
        attempt.stream()
        attempt.event(_told_in_headers(answer))
        part._raw_stream = _Body(part._raw_stream, attempt, part._content_length)
    else:
        attempt.body(orjson.dumps({"usage": answer.get("usage")}))


def _told_in_headers(answer: Any) -> Json:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = {
        name: int(headers[header])
        for header, name in _HEADERS.items()
        if str(headers.get(header, "")).isdecimal()
    }
    return {"amazon-bedrock-invocationMetrics": told}


def _watch_events(attempt: Attempt, stream: Any) -> None:
    stream._atm_attempt = attempt
    look_at(stream, _Events)
    weakref.finalize(stream, attempt.end)  # dropped without being closed


class _Events:
    """An event stream; whoever stops to iterate may go on later, until it is closed or dropped."""

    _atm_attempt: Attempt

    def __iter__(self) -> Iterator[Any]:
        events = super().__iter__()  # type: ignore[misc]
        while True:
            try:
                event = next(events)
            except StopIteration:
                break
            except BaseException as error:
                self._atm_attempt.end(error)
                raise
            self._atm_attempt.event(event)
            yield event
        self._atm_attempt.end(whole=True)

    def close(self) -> None:
        self._atm_attempt.end()
        super().close()  # type: ignore[misc]


if TYPE_CHECKING:
    _Proxy = wrapt.ObjectProxy[Any]
else:
    _Proxy = wrapt.ObjectProxy


class _Body(_Proxy):
    """A body that is read byte for byte, by whichever of these.

    Args:
        raw: urllib3's response.
        attempt: that it answers.
        length: of the body in bytes; None if nobody has said it.
    """

    def __init__(self, raw: Any, attempt: Attempt, length: Any) -> None:
        super().__init__(raw)
        self._self_attempt = attempt
        self._self_left = None if length is None else int(length)
        weakref.finalize(self, attempt.end)  # dropped without being closed

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> bytes:
        chunk: bytes = self._self_step(lambda: self.__wrapped__.read(amt, *args, **kwargs))
        self._self_seen(chunk, ended=amt is None or amt < 0 or (amt > 0 and not chunk))
        return chunk

    def readinto(self, buffer: Any) -> int:
        size: int = self._self_step(lambda: self.__wrapped__.readinto(buffer))
        self._self_seen(bytes(memoryview(buffer)[:size]), ended=not size and len(buffer) > 0)
        return size

    def readlines(self, *args: Any) -> list[bytes]:
        lines: list[bytes] = self._self_step(lambda: self.__wrapped__.readlines(*args))
        self._self_seen(b"".join(lines), ended=not args)
        return lines

    def close(self) -> None:
        self._self_attempt.end()
        self.__wrapped__.close()

    def _self_step(self, step: Any) -> Any:
        try:
            return step()
        except BaseException as error:
            self._self_attempt.end(error)
            raise

    def _self_seen(self, chunk: bytes, *, ended: bool) -> None:
        self._self_attempt.chunk(chunk)
        if self._self_left is not None:
            self._self_left -= len(chunk)
        if ended or self._self_left == 0:
            self._self_attempt.end(whole=True)
