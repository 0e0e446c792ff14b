"""LiteLLM: a refusal reaches its callers as what it is.

LiteLLM makes errors of its own from whatever its transports raise, by their texts, and takes those
that it does not know for failures of a connection, which it tries again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.guards.door import Door
from otel_atm.guards.flight import as_error

#: Modules that have the function which makes LiteLLM's errors, by name.
_HOLDERS: Final = ("litellm", "litellm.utils", "litellm.main", "litellm.responses.main")
_MAKER: Final = "exception_type"
_MOST_CAUSES: Final = 32
#: HTTP status of a refusal in LiteLLM's proxy: 402, payment required. The client errors that
#: LiteLLM's router tries again are 408, 409 and 429.
_STATUS: Final = 402


def guard(
    _: ModuleType, door: Callable[[], Door | None]
) -> list[tuple[ModuleType, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        door: gives the one that the requests pass; None when guards are off.
    """
    error = _error()

    def made(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        original = kwargs.get("original_exception", args[1] if len(args) > 1 else None)
        refusal = None if door() is None else refusal_in(original)
        return wrapped(*args, **kwargs) if refusal is None else as_error(error, refusal)

    holders = [sys.modules[name] for name in _HOLDERS if name in sys.modules]
    return [(holder, _MAKER, made) for holder in holders if _MAKER in holder.__dict__]


def refusal_in(error: object) -> TokenQuotaExceeded | None:
    """The refusal that an error was made of, however often it was wrapped."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _MOST_CAUSES:
        each = waiting.pop()
        if isinstance(each, TokenQuotaExceeded):
            return each
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            waiting += [each.__context__, each.__cause__]
    return None


def _error() -> type[Exception]:
    """What LiteLLM lets through: an error of OpenAI's client, with a status that is final."""
    base: type[Exception] = import_module("openai").OpenAIError
    return type("RefusedError", (base,), {"status_code": _STATUS, "__module__": __name__})
