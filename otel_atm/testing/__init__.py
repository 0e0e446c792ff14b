"""Tools for testing code that spends tokens: a local provider to call instead of a paid one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_atm.testing.clock import ManualClock

if TYPE_CHECKING:
    from otel_atm.testing.provider import Asked, Faults, ProviderServer, Reported, Tokens

__all__ = ["Asked", "Faults", "ManualClock", "ProviderServer", "Reported", "Tokens"]


def __getattr__(name: str) -> Any:
    # The provider needs the optional extra `server`; the rest of this package does not.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otel_atm.testing import provider

    return getattr(provider, name)
