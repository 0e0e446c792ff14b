"""httpx and httpx2: what their clients send, and the answers that pass by."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from otel_atm.guards.door import Attempt, Door

_Door = Callable[[], Door | None]


def guard(module: ModuleType, door: _Door) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: httpx or httpx2.
        door: gives the one to pass; None when guards are off.
    """
    name = module.__name__

    def send(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        attempt = _attempt(name, door(), args, kwargs)
        if attempt is None:
            return wrapped(*args, **kwargs)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            attempt.failed(error)
            raise
        _answered(attempt, response)
        return response

    async def send_async(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        attempt = _attempt(name, door(), args, kwargs)
        if attempt is None:
            return await wrapped(*args, **kwargs)
        try:
            response = await wrapped(*args, **kwargs)
        except BaseException as error:
            attempt.failed(error)
            raise
        _answered(attempt, response)
        return response

    return [(module.Client, "send", send), (module.AsyncClient, "send", send_async)]


def _attempt(name: str, door: Door | None, args: Any, kwargs: Any) -> Attempt | None:
    """Let the request pass.

    Raises:
        TokenQuotaExceeded: a budget refuses it.
    """
    request = args[0] if args else kwargs.get("request")
    if door is None or getattr(request, "method", None) != "POST":
        return None
    url = request.url
    return door.send(
        name, "POST", url.netloc.decode("ascii", "replace"), url.path, lambda: _body(request)
    )


def _body(request: Any) -> bytes | None:
    content = getattr(request, "_content", None)
    return content if isinstance(content, bytes) else None


def _answered(attempt: Attempt, response: Any) -> None:
    """Look at the answer: now, where it was read already, else while it is read."""
    if not attempt.status(response.status_code):
        return
    content = getattr(response, "_content", None)
    if isinstance(content, bytes):
        attempt.body(content)
        return
    attempt.stream()
    response.__class__ = _watched(response.__class__)
    response._atm_attempt = attempt
    weakref.finalize(response, attempt.end)  # dropped without being closed


_watched_kinds: dict[type, type] = {}


def _watched(kind: type) -> type:
    """The same class, whose bytes are seen as they pass: byte for byte, when they come."""
    watched = _watched_kinds.get(kind)
    if watched is None:
        watched = _watched_kinds[kind] = type(kind.__name__, (_Watched, kind), {})
    return watched


class _Watched:
    """A response whose body is looked at while it is read; everything reads through these."""

    _atm_attempt: Attempt
    #: Whether bytes are being waited for: then it is the transport that closes, at their end.
    _atm_reading = False

    @contextmanager
    def _atm_waiting(self) -> Iterator[None]:
        """Bytes are read in here, up to their end."""
        self._atm_reading = True
        try:
            yield
        except BaseException as error:
            self._atm_attempt.end(error)
            raise
        finally:
            self._atm_reading = False
        self._atm_attempt.end(whole=True)

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        with self._atm_waiting():
            for chunk in super().iter_bytes(chunk_size):  # type: ignore[misc]
                self._atm_attempt.chunk(chunk)
                self._atm_reading = False
                yield chunk
                self._atm_reading = True

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        with self._atm_waiting():
            async for chunk in super().aiter_bytes(chunk_size):  # type: ignore[misc]
                self._atm_attempt.chunk(chunk)
                self._atm_reading = False
                yield chunk
                self._atm_reading = True

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            if not self._atm_reading:
                self._atm_attempt.end()

    async def aclose(self) -> None:
        try:
            await super().aclose()  # type: ignore[misc]
        finally:
            if not self._atm_reading:
                self._atm_attempt.end()
