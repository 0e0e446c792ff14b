"""Mistral's client: the copies that it makes of responses, for spans of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from otel_atm.guards.door import Door
from otel_atm.guards.httpx_net import watch_copy

MODULE: Final = "mistralai.extra.observability.otel"


def guard(
    module: ModuleType, door: Callable[[], Door | None]
) -> list[tuple[type, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: `MODULE`.
        door: gives the one that the requests pass; None when guards are off.
    """

    def copied(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        copy, at = wrapped(*args, **kwargs), door()
        if at is not None:
            at.safely(lambda: watch_copy(copy))
        return copy

    kind = getattr(module, "TracedResponse", None)
    return [] if kind is None else [(kind, "from_response", copied)]
