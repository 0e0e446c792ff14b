"""Settings of the middleware: each is looked at once, and quoted where it cannot be used."""

from __future__ import annotations

from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.guards.agent_framework.stores import QuotaStore
from otel_atm.usage import MOST_TOKENS

_METHODS: Final = ("get_usage", "add_usage")


def check_callables(**settings: object) -> None:
    """Whether they can be called.

    Raises:
        ConfigurationError: for the first that cannot.
    """
    for name, value in settings.items():
        if not callable(value):
            raise ConfigurationError(f"{name}={value!r}: expected a function")


def whole(name: str, value: object, *, least: int) -> int:
    """A number of tokens, also where it is written as text.

    Raises:
        ConfigurationError: for anything else, for less than `least`, and for 2⁴⁰ and more.
    """
    given: Any = value
    try:
        number = int(given)
        if isinstance(value, float) and number != value:
            number = -1
    except (TypeError, ValueError, OverflowError):
        number = -1
    if isinstance(value, bool) or not least <= number < MOST_TOKENS:
        raise ConfigurationError(f"{name}={value!r}: expected a whole number ≥ {least} and < 2⁴⁰")
    return number


def blocks(on_store_error: object) -> bool:
    """Whether calls are refused while the store fails.

    Raises:
        ConfigurationError: for what is neither "allow" nor "block".
    """
    if on_store_error not in ("allow", "block"):
        raise ConfigurationError(f"on_store_error={on_store_error!r}: expected 'allow' or 'block'")
    return on_store_error == "block"


def store_for(store: QuotaStore, quota_tokens: int) -> QuotaStore:
    """The store, told the quota if it wants to know it beforehand.

    Raises:
        ConfigurationError: for what is no store, and for a store of another quota.
    """
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if missing or isinstance(store, type):
        raise ConfigurationError(
            f"quota_store={store!r}: expected an object with get_usage(user_id, period_key) and "
            "add_usage(user_id, period_key, tokens)"
        )
    use_quota = getattr(store, "use_quota", None)
    if callable(use_quota):
        use_quota(quota_tokens)
    return store
