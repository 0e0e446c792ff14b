"""lm15, of which DSPy has a copy: what its transports send, and the answers that pass by."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from otel_atm.guards.attempt import Attempt
from otel_atm.guards.door import Door

_Door = Callable[[], Door | None]
#: Packages that have it, and how the modules in them are called that send.
_PACKAGES: Final = ("lm15", "dspy._vendor.lm15")
_SYNC, _ASYNC = ".transports._sync", ".transports._async"
#: The modules that can be guarded.
MODULES: Final = tuple(package + name for package in _PACKAGES for name in (_SYNC, _ASYNC))


def guard(module: ModuleType, door: _Door) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: one of `MODULES`.
        door: gives the one to pass; None when guards are off.
    """

    def send(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        attempt = None if at is None else _pass(at, args, kwargs)
        if at is None or attempt is None:
            return wrapped(*args, **kwargs)
        with attempt:
            response = wrapped(*args, **kwargs)
        _answered(at, attempt, response, _seen)
        return response

    async def send_async(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        attempt = None if at is None else _pass(at, args, kwargs)
        if at is None or attempt is None:
            return await wrapped(*args, **kwargs)
        with attempt:
            response = await wrapped(*args, **kwargs)
        _answered(at, attempt, response, _seen_async)
        return response

    if module.__name__.endswith(_SYNC):
        return [(module.StdlibTransport, "stream", send)]
    return [(module.StdlibAsyncTransport, "_do_stream", send_async)]


def _pass(door: Door, args: Any, kwargs: Any) -> Attempt | None:
    """Let the request pass.

    Raises:
        TokenQuotaExceeded: a budget refuses it.
    """
    request = args[0] if args else kwargs.get("request")

    def asked() -> tuple[str, str, str]:
        parts = urlsplit(request.url)
        host = parts.netloc.rpartition("@")[2]
        return request.method.upper(), host, parts.path

    where = door.safely(asked)
    if where is None:
        return None
    body = request.body
    return door.send("lm15", *where, body if isinstance(body, bytes) else None)


def _answered(
    door: Door, attempt: Attempt, response: Any, seen: Callable[[Attempt, Any], Any]
) -> None:
    """Look at the answer while it is read."""
    if not attempt.status(response.status):
        return
    attempt.stream()

    def watch() -> bool:
        chunks, release = response._chunks, response._release

        def left(consumed: bool) -> Any:
            attempt.end()  # before it was read to its end, if nobody has said so
            return release(consumed)

        response._chunks, response._release = seen(attempt, chunks), left
        weakref.finalize(response, attempt.end)  # dropped without being closed
        return True

    if not door.safely(watch):
        attempt.end()


@contextmanager
def _waiting(attempt: Attempt) -> Iterator[None]:
    """The bytes of an answer are read in here, up to their end; closed before: nothing is said."""
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        attempt.end(error)
        raise
    attempt.end(whole=True)


def _seen(attempt: Attempt, chunks: Any) -> Iterator[bytes]:
    with _waiting(attempt):
        for chunk in chunks:
            attempt.chunk(chunk)
            yield chunk


async def _seen_async(attempt: Attempt, chunks: Any) -> AsyncIterator[bytes]:
    with _waiting(attempt):
        async for chunk in chunks:
            attempt.chunk(chunk)
            yield chunk
