"""DSPy: a refusal reaches its callers as what it is.

DSPy makes errors of its own from whatever its engines raise. It lets those pass that are of its own
base already, also out of a streamed program, where all others lose what they came from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final

from otel_atm.guards.door import Door
from otel_atm.guards.flight import as_error
from otel_atm.guards.litellm_unwrap import refusal_in

#: Where the function is that makes DSPy's errors, and who may have it by name already.
MODULE: Final = "dspy.clients.errors"
_HOLDERS: Final = (MODULE, "dspy.clients.engines.legacy_engine")
_MAKER: Final = "wrap_error"


def guard(
    module: ModuleType, door: Callable[[], Door | None]
) -> list[tuple[ModuleType, str, Callable[..., Any]]]:
    """What to wrap: (owner, name, wrapper) of each.

    Args:
        module: ``dspy.clients.errors``.
        door: gives the one that the requests pass; None when guards are off.
    """
    error = _refused(module.LMError)

    def made(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        original = args[0] if args else kwargs.get("exc")
        refusal = None if door() is None else refusal_in(original)
        return wrapped(*args, **kwargs) if refusal is None else as_error(error, refusal)

    holders = [sys.modules[name] for name in _HOLDERS if name in sys.modules]
    return [(holder, _MAKER, made) for holder in holders if _MAKER in holder.__dict__]


@cache
def _refused(base: type[Exception]) -> type[Exception]:
    """An error of DSPy's that is not one of those that it tries again, with what all have."""
    nothing = ("code", "model", "provider", "provider_code", "status", "request_id", "retry_after")
    return type(
        "RefusedError",
        (base,),
        {
            **dict.fromkeys(nothing),
            "message": property(str),
            "__module__": __name__,
        },
    )
