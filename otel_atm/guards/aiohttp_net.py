"""aiohttp: what its sessions send."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

from otel_atm.guards.aiohttp_answers import watch
from otel_atm.guards.attempt import Attempt
from otel_atm.guards.door import Door
from otel_atm.guards.endpoints import find_endpoint

_Door = Callable[[], Door | None]


def guard(module: ModuleType, door: _Door) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: aiohttp.
        door: gives the one to pass; None when guards are off.
    """

    def status_in(error: BaseException) -> int | None:
        """The status that ``raise_for_status`` was about; else it is no answer, or a broken one."""
        answered = isinstance(error, module.ClientResponseError)
        status = error.status if answered and error.__cause__ is None else 0  # type: ignore[attr-defined]
        return status if status >= 400 else None

    async def request(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        url = None if at is None or session.closed else _asked(at, session, args, kwargs)
        if at is None or url is None:
            return await wrapped(*args, **kwargs)
        kwargs = at.safely(lambda: _written(module, session, kwargs)) or kwargs
        attempt = _pass(at, url, kwargs)
        if attempt is None:
            return await wrapped(*args, **kwargs)
        attempt.status_in = status_in
        with attempt:
            response = await wrapped(*args, **kwargs)
        if attempt.status(response.status):
            attempt.stream()
            if not at.safely(lambda: watch(attempt, response)):
                attempt.end()
        return response

    return [(module.ClientSession, "_request", request)]


def _asked(door: Door, session: Any, args: Any, kwargs: Any) -> Any:
    """The URL of a request that may ask a model, else None."""

    def step() -> Any:
        method = args[0] if args else kwargs.get("method")
        target = args[1] if len(args) > 1 else kwargs.get("str_or_url")
        if not isinstance(method, str) or method.upper() != "POST" or target is None:
            return None
        try:
            url = session._build_url(target)
        except (TypeError, ValueError):  # which the session will say
            return None
        return url if find_endpoint(url.raw_path) is not None else None

    return door.safely(step)


def _written(module: ModuleType, session: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments with JSON made bytes, as the session would: once is enough."""
    value = kwargs.get("json")
    if value is None or kwargs.get("data") is not None:
        return kwargs
    in_bytes = getattr(session, "_json_serialize_bytes", None)
    try:
        if in_bytes is not None:
            payload = module.payload.JsonBytesPayload(value, dumps=in_bytes)
        else:
            payload = module.JsonPayload(value, dumps=session._json_serialize)
    except (TypeError, ValueError, RecursionError):  # which the session will say
        return kwargs
    return {**kwargs, "json": None, "data": payload}


def _pass(door: Door, url: Any, kwargs: dict[str, Any]) -> Attempt | None:
    """Let the request pass.

    Raises:
        TokenQuotaExceeded: a budget refuses it.
    """
    if kwargs.get("json") is not None:
        return None  # it cannot be written, so it cannot be sent
    host = url.host if url.is_default_port() else f"{url.host}:{url.port}"
    return door.safely(
        lambda: door.send("aiohttp", "POST", host, url.raw_path, _body(kwargs.get("data")))
    )


def _body(data: Any) -> bytes | None:
    """The bytes that will be sent, if they are there; reading them must not use them up."""
    data = getattr(data, "_value", data)  # a payload of aiohttp's
    if isinstance(data, io.BytesIO):
        data = data.getvalue()
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    return bytes(data) if isinstance(data, bytes | bytearray | memoryview) else None
