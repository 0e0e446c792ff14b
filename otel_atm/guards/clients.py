"""Clients that retry: one call of theirs is one call, however many requests it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import Token
from functools import cache
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Final, NamedTuple

from otel_atm.guards.attempt import safely
from otel_atm.guards.door import Door
from otel_atm.guards.flight import Flight, flying


class Client(NamedTuple):
    """Where a client sends a request, as often as it takes.

    Attributes:
        sync: class and method.
        asynchronous: the same for those who wait.
        error: the base of its errors, in the package above, if it wraps or tries again whatever
            else is raised; "" if it lets that pass.
        again: argument that tells how often it was tried before, of a method that calls itself.
        frees: as of `Flight`.
    """

    sync: tuple[str, str]
    asynchronous: tuple[str, str]
    error: str = ""
    again: str = ""
    frees: bool = False


#: Packages made by the generator that made OpenAI's, and the bases of their errors.
_ALIKE: Final = {
    "openai": "OpenAIError",
    "anthropic": "AnthropicError",
    "groq": "GroqError",
    "together": "TogetherError",
    "cerebras.cloud.sdk": "CerebrasError",
    "perplexity": "PerplexityError",
    "fireworks": "FireworksError",
}
#: Mistral's: of this version for its own host, Azure and Google, and of the first one.
_MISTRAL: Final = ("client", "azure.client", "gcp.client", "")

#: The modules that can be guarded, and the client in each.
MODULES: Final = {
    **{
        f"{package}._base_client": Client(
            ("SyncAPIClient", "request"), ("AsyncAPIClient", "request"), error, frees=True
        )
        for package, error in _ALIKE.items()
    },
    **{
        ".".join(filter(None, ("mistralai", package, "basesdk"))): Client(
            ("BaseSDK", "do_request"), ("BaseSDK", "do_request_async")
        )
        for package in _MISTRAL
    },
    "cohere.core.http_client": Client(
        ("HttpClient", "request"), ("AsyncHttpClient", "request"), again="retries"
    ),
    "google.genai._api_client": Client(
        ("BaseApiClient", "_request"), ("BaseApiClient", "_async_request")
    ),
}


def guard(
    module: ModuleType, door: Callable[[], Door | None]
) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: one of `MODULES`.
        door: gives the one that the requests pass; None when guards are off.
    """
    client = MODULES[module.__name__]

    @cache
    def error() -> type[Exception] | None:  # when it is asked for, the package has been imported
        package = import_module(module.__name__.rpartition(".")[0])
        return getattr(package, client.error, None)

    def bracket(kwargs: Any) -> Bracket | nullcontext[None]:
        at = door()
        if at is None or kwargs.get(client.again):
            return nullcontext()
        return Bracket(at, error(), frees=client.frees)

    def request(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        with bracket(kwargs):
            return wrapped(*args, **kwargs)

    async def request_async(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        with bracket(kwargs):
            return await wrapped(*args, **kwargs)

    sides = ((client.sync, request), (client.asynchronous, request_async))
    found = [(getattr(module, kind), name, wrapper) for (kind, name), wrapper in sides]
    return [
        *[(one, name, wrapper) for kind, name, wrapper in found for one in _own(kind, name)],
        *[(kind, _WAIT, _give_up) for kind, _, _ in found if _WAIT in kind.__dict__],
    ]


def _own(client: type, name: str) -> Iterator[type]:
    """It, and what is made of it that has such a method of its own: somebody wrapped it there."""
    yield client
    kinds: list[type] = client.__subclasses__()
    for kind in kinds:
        yield from (one for one in _own(kind, name) if name in one.__dict__)


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
        error: as of `Flight`.
        frees: as of `Flight`.
    """

    __slots__ = ("_door", "_error", "_flight", "_token")

    _token: Token[Flight | None]

    def __init__(
        self, door: Door, error: type[Exception] | None = None, *, frees: bool = True
    ) -> None:
        self._door, self._error = door, error
        self._flight = Flight(door.wire, error, bracketed=True)
        self._flight.frees = frees

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
        refusal, error = flight.refusal, self._error
        if refusal is None or error is None or failure is refusal:
            return
        if isinstance(failure, error):
            raise refusal from None  # it was wrapped
