"""botocore: what a client of Bedrock's runtime asks, and how often it is sent."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from otel_atm.guards.botocore_answers import read
from otel_atm.guards.clients import Bracket
from otel_atm.guards.door import Door
from otel_atm.guards.flight import Flight, flying

_Door = Callable[[], Door | None]
_SERVICE: Final = "bedrock-runtime"
#: That of any region: a private end point has no host that says what it is.
_HOST: Final = "bedrock-runtime.amazonaws.com"
#: Operation → how its path ends. Source: botocore's model of the service.
_ENDINGS: Final = {
    "Converse": "converse",
    "ConverseStream": "converse-stream",
    "InvokeModel": "invoke",
    "InvokeModelWithResponseStream": "invoke-with-response-stream",
}


class _Asked(NamedTuple):
    """A request before it is signed."""

    path: str
    body: bytes | None


def guard(module: ModuleType, door: _Door) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: ``botocore.client``.
        door: gives the one to pass; None when guards are off.
    """
    error = import_module("botocore.exceptions").BotoCoreError
    endpoint = import_module("botocore.endpoint").Endpoint

    def call(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        asked = None if at is None else at.safely(lambda: _asked(client, args, kwargs))
        if at is None or asked is None:
            return wrapped(*args, **kwargs)
        with Bracket(at, error) as flight:
            attempt = at.send("botocore", "POST", _HOST, asked.path, asked.body)
            flight.attempts = 0  # from here on they are counted where they are sent
            answer = _sent(flight, lambda: wrapped(*args, **kwargs))
            if attempt is not None and flight.attempts:
                at.safely(lambda: read(attempt, answer))
        return answer

    def send(wrapped: Any, end_point: Any, args: Any, kwargs: Any) -> Any:
        flight = flying.get()
        ours = getattr(end_point, "_endpoint_prefix", None) == _SERVICE
        if flight is None or flight.call is None or not ours:
            return wrapped(*args, **kwargs)
        flight.attempts += 1
        flight.busy = True
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as failure:
            flight.failed(failure)
            raise
        flight.status(response.status_code)
        return response

    return [(module.BaseClient, "_make_api_call", call), (endpoint, "_send", send)]


def _sent(flight: Flight, step: Callable[[], Any]) -> Any:
    """The answer to all attempts. Without any, nothing was sent, and nothing is to be paid."""
    try:
        answer = step()
    except BaseException as failure:
        if not flight.attempts:
            flight.failure = type(failure).__name__
        raise
    if not flight.attempts:
        flight.failure = "unsent"  # somebody else has answered: a stub, a cache
    return answer


def _asked(client: Any, args: Any, kwargs: Any) -> _Asked | None:
    """What is asked of a model; None: nothing is."""
    if client.meta.service_model.service_name != _SERVICE:
        return None
    operation = args[0] if args else kwargs.get("operation_name")
    params = args[1] if len(args) > 1 else kwargs.get("api_params")
    ending = _ENDINGS.get(operation)
    model = params.get("modelId") if isinstance(params, dict) else None
    if ending is None or not isinstance(model, str) or not model:
        return None
    body = _given(params.get("body")) if ending.startswith("invoke") else _written(params)
    return _Asked(f"/model/{quote(model, safe='')}/{ending}", body)


def _written(params: dict[str, Any]) -> bytes:
    """Parameters as they will be on the wire, nearly: without those of the path."""
    fields = {name: value for name, value in params.items() if name != "modelId"}
    return orjson.dumps(fields, default=_in_base64)


def _in_base64(value: object) -> str:
    """What JSON has no words for: the bytes of pictures and documents."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return str(value)


def _given(body: object) -> bytes | None:
    """The body of an invocation; None for a file, which can be read only once."""
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else None
