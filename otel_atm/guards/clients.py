"""Clients that retry: one call of theirs is one call, however many requests it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Token
from functools import cache
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Final

from otel_atm.guards.attempt import safely
from otel_atm.guards.door import Door
from otel_atm.guards.flight import Flight, flying

#: Packages made by the generator that made OpenAI's, and the bases of their errors.
PACKAGES: Final = {
    "openai": "OpenAIError",
    "anthropic": "AnthropicError",
    "groq": "GroqError",
    "together": "TogetherError",
    "cerebras.cloud.sdk": "CerebrasError",
    "perplexity": "PerplexityError",
}


def guard(
    module: ModuleType, base_error: str, door: Callable[[], Door | None]
) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: ``openai._base_client`` or another one of `PACKAGES`.
        base_error: the name of the base of the client's errors, in the package above.
        door: gives the one that the requests pass; None when guards are off.
    """

    @cache
    def error() -> type[Exception]:  # when it is asked for, the package has been imported
        package = import_module(module.__name__.rpartition(".")[0])
        found: type[Exception] = getattr(package, base_error)
        return found

    def request(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        if at is None:
            return wrapped(*args, **kwargs)
        with Bracket(at, error()):
            return wrapped(*args, **kwargs)

    async def request_async(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        at = door()
        if at is None:
            return await wrapped(*args, **kwargs)
        with Bracket(at, error()):
            return await wrapped(*args, **kwargs)

    return [
        *[(client, "request", request) for client in _own(module.SyncAPIClient)],
        *[(client, "request", request_async) for client in _own(module.AsyncAPIClient)],
        *[
            (client, _WAIT, _give_up)
            for client in (module.SyncAPIClient, module.AsyncAPIClient)
            if _WAIT in client.__dict__
        ],
    ]


def _own(client: type) -> Iterator[type]:
    """It, and what is made of it that has a `request` of its own: somebody wrapped it there."""
    yield client
    kinds: list[type] = client.__subclasses__()
    for kind in kinds:
        yield from (one for one in _own(kind) if "request" in one.__dict__)


#: What they call before they try again. The younger ones let their own errors pass before that.
_WAIT: Final = "_sleep_for_retry"


def _give_up(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    """A refusal is not tried again."""
    flight = flying.get()
    if flight is not None and flight.refusal is not None:
        raise flight.refusal
    return wrapped(*args, **kwargs)


class Bracket:
    """All attempts in here are of one call, which ends with the block.

    Args:
        door: that they pass.
        error: the base of the client's own errors.
    """

    __slots__ = ("_door", "_error", "_flight", "_token")

    _token: Token[Flight | None]

    def __init__(self, door: Door, error: type[Exception]) -> None:
        self._door, self._error = door, error
        self._flight = Flight(door.wire, error, bracketed=True)

    def __enter__(self) -> Flight:
        self._token = flying.set(self._flight)
        return self._flight

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        flight, trouble = self._flight, self._door.trouble
        if failure is None:
            safely(trouble, flight.land)
        else:
            safely(trouble, flight.crash, failure)
        flying.reset(self._token)
        refusal = flight.refusal
        if refusal is not None and failure is not refusal and isinstance(failure, self._error):
            raise refusal from None  # it was wrapped
