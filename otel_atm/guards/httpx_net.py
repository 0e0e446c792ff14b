"""httpx and httpx2: what their clients send, and the answers that pass by."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from otel_atm.guards.asking import Passing, ask, ask_async, hides, without_usage
from otel_atm.guards.attempt import Attempt
from otel_atm.guards.door import Door
from otel_atm.guards.looked_at import look_at

_Door = Callable[[], Door | None]


def guard(module: ModuleType, door: _Door) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: httpx or httpx2.
        door: gives the one to pass; None when guards are off.
    """
    name = module.__name__

    def send(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        attempt = _attempt(name, at, args, kwargs)
        if at is None or attempt is None:
            return wrapped(*args, **kwargs)
        with attempt:
            if attempt.asks:
                response = ask(wrapped, at, attempt, module, args, kwargs)
            else:
                response = wrapped(*args, **kwargs)
        _answered(attempt, response)
        return response

    async def send_async(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        attempt = _attempt(name, at, args, kwargs)
        if at is None or attempt is None:
            return await wrapped(*args, **kwargs)
        with attempt:
            if attempt.asks:
                response = await ask_async(wrapped, at, attempt, module, args, kwargs)
            else:
                response = await wrapped(*args, **kwargs)
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
    # as it is sent: what is escaped in the name of a model is not of the path
    path = url.raw_path.decode("ascii", "replace")
    content = getattr(request, "_content", None)
    return door.send(
        name,
        "POST",
        url.netloc.decode("ascii", "replace"),
        path,
        content if isinstance(content, bytes) else None,
    )


def _answered(attempt: Attempt, response: Any) -> None:
    """Look at the answer: now, where it was read already, else while it is read."""
    if not attempt.status(response.status_code):
        return
    content = getattr(response, "_content", None)
    hiding = attempt.asks and hides(response)
    if isinstance(content, bytes):
        attempt.body(content)
        if hiding:
            response._content = without_usage(content)
        return
    attempt.stream()
    look_at(response, _Watched)
    response._atm_attempt, response._atm_hiding = attempt, hiding
    # dropped without being closed; not the response itself: there may be a copy that is read
    weakref.finalize(response.stream, attempt.end)


def watch_copy(copy: Any) -> None:
    """Look at what another class was given of a response that is looked at."""
    if "_atm_attempt" in copy.__dict__:
        look_at(copy, _Watched)


class _Watched:
    """A response whose body is looked at while it is read: byte for byte, when it comes.

    Everything reads through these.
    """

    _atm_attempt: Attempt
    #: Whether what tells the usage is kept from who reads: it was asked for in the client's name.
    _atm_hiding = False
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
        return self._atm_hide(chunk_size) if self._atm_hiding else self._atm_see(chunk_size)

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        return self._atm_ahide(chunk_size) if self._atm_hiding else self._atm_asee(chunk_size)

    def _atm_see(self, chunk_size: int | None) -> Iterator[bytes]:
        with self._atm_waiting():
            for chunk in super().iter_bytes(chunk_size):  # type: ignore[misc]
                self._atm_attempt.chunk(chunk)
                self._atm_reading = False
                yield chunk
                self._atm_reading = True

    async def _atm_asee(self, chunk_size: int | None) -> AsyncGenerator[bytes, None]:
        with self._atm_waiting():
            async for chunk in super().aiter_bytes(chunk_size):  # type: ignore[misc]
                self._atm_attempt.chunk(chunk)
                self._atm_reading = False
                yield chunk
                self._atm_reading = True

    def _atm_hide(self, chunk_size: int | None) -> Iterator[bytes]:
        passing = Passing(chunk_size)
        for chunk in self._atm_see(None):
            yield from passing.feed(chunk)
        yield from passing.finish()

    async def _atm_ahide(self, chunk_size: int | None) -> AsyncIterator[bytes]:
        passing = Passing(chunk_size)
        seen = self._atm_asee(None)
        try:
            async for chunk in seen:
                for piece in passing.feed(chunk):
                    yield piece
            for piece in passing.finish():
                yield piece
        finally:
            await seen.aclose()

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
