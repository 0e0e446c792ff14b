"""Asking: httpx requests that ask for the usage of their stream in their client's name.

What is sent is a double of the client's request; its own one stays as it is, also on the response.
A server that does not understand the double gets the client's own request, and is not asked again.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from otel_atm.guards.attempt import Attempt
from otel_atm.guards.door import Door
from otel_atm.guards.include_usage import WithoutUsage, include_usage

#: The statuses with which servers answer to a field that they do not know; neither costs tokens.
_NOT_UNDERSTOOD: Final = (400, 422)


def ask(
    wrapped: Any, door: Door, attempt: Attempt, module: ModuleType, args: Any, kwargs: Any
) -> Any:
    """Send a request that asks.

    Args:
        wrapped: ``Client.send``.
        door: that the request has passed.
        attempt: of the request.
        module: httpx or httpx2.
        args: of `wrapped`.
        kwargs: of `wrapped`.
    """
    request = args[0] if args else kwargs["request"]
    double = _double(door, attempt, module, request)
    if double is None:
        return wrapped(*args, **kwargs)
    asking, named = _with(double, args, kwargs)
    response = wrapped(*asking, **named)
    if response.status_code not in _NOT_UNDERSTOOD:
        return _of(request, double, response)
    response.close()
    attempt.again()
    return _heard(door, request, wrapped(*args, **kwargs))


async def ask_async(
    wrapped: Any, door: Door, attempt: Attempt, module: ModuleType, args: Any, kwargs: Any
) -> Any:
    """The same with ``AsyncClient.send``."""
    request = args[0] if args else kwargs["request"]
    double = _double(door, attempt, module, request)
    if double is None:
        return await wrapped(*args, **kwargs)
    asking, named = _with(double, args, kwargs)
    response = await wrapped(*asking, **named)
    if response.status_code not in _NOT_UNDERSTOOD:
        return _of(request, double, response)
    await response.aclose()
    attempt.again()
    return _heard(door, request, await wrapped(*args, **kwargs))


def _double(door: Door, attempt: Attempt, module: ModuleType, request: Any) -> Any:
    """A request that asks, and is like the client's in everything else; None: it cannot be made."""
    try:
        body = include_usage(request.content)
        if body is request.content:
            attempt.asks = False
            return None
        headers = request.headers.copy()
        if "content-length" in headers:
            headers["content-length"] = str(len(body))
        return module.Request(
            request.method,
            request.url,
            headers=headers,
            content=body,
            extensions=request.extensions,
        )
    except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
        attempt.asks = False
        door.trouble.note("include_usage", error)
        return None


def _with(double: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return ((double, *args[1:]), kwargs) if args else (args, {**kwargs, "request": double})


def _of(request: Any, double: Any, response: Any) -> Any:
    """The response, as that to the client's own request."""
    if response.request is double:
        response.request = request
    return response


def _heard(door: Door, request: Any, response: Any) -> Any:
    """Remember that it was the asking that was not understood, if it was."""
    if response.status_code < 400:
        door.deaf.put(request.url.netloc.decode("ascii", "replace"), True)
    return response


class Passing:
    """What a client that did not ask may see of its stream, in the pieces that it wants.

    Args:
        size: bytes of a piece; None: as they come.
    """

    __slots__ = ("_filter", "_held", "_size")

    def __init__(self, size: int | None) -> None:
        self._filter, self._size = WithoutUsage(), size
        self._held = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The pieces that may pass now. Never raises."""
        return self._cut(self._filter.feed(chunk))

    def finish(self) -> list[bytes]:
        """The last ones."""
        pieces = self._cut(self._filter.finish())
        held, self._held = self._held, b""
        return [*pieces, held] if held else pieces

    def _cut(self, passing: bytes) -> list[bytes]:
        if self._size is None:
            return [passing] if passing else []
        held = self._held + passing
        whole = len(held) - len(held) % self._size
        self._held = held[whole:]
        return [held[at : at + self._size] for at in range(0, whole, self._size)]


def hides(response: Any) -> bool:
    """Whether there may be something to hide: a stream, not one JSON object."""
    return "json" not in response.headers.get("content-type", "")


def without_usage(body: bytes) -> bytes:
    """A whole stream without what its client did not ask for."""
    passing = Passing(None)
    return b"".join([*passing.feed(body), *passing.finish()])
