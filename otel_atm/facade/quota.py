"""Quotas: how many tokens a scope may use, in agent-atm's words, and the budgets that these are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from glob import escape
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.errors import ConfigurationError
from otel_atm.scope import Scope


class AlertLevel(StrEnum):
    """What happens to a call past a quota."""

    BLOCKING = "blocking"
    """It is refused: `otel_atm.TokenQuotaExceeded`."""
    WARNING = "warning"
    """It is allowed, and its row says "warned"."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Tokens in the last minute, hour and day, and in all. None: no limit there.

    Windows slide: no burst of two minutes' tokens around the turn of a minute.

    Raises:
        ConfigurationError: a limit is no integer > 0, or there is none.
    """

    minute_limit: int | None = None
    hour_limit: int | None = None
    day_limit: int | None = None
    total_limit: int | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _WINDOWS}
        for name, limit in given.items():
            if limit is not None and (type(limit) is not int or limit <= 0):
                raise ConfigurationError(f"{name}={limit!r}: expected tokens, an integer > 0")
        if not any(given.values()):
            raise ConfigurationError(f"Quota(): expected one of {', '.join(given)}")


_WINDOWS: Final = {
    "minute_limit": "rolling minute",
    "hour_limit": "rolling hour",
    "day_limit": "rolling day",
    "total_limit": "lifetime",
}
_ACTIONS: Final = {AlertLevel.BLOCKING: "block", AlertLevel.WARNING: "warn"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What `Limits.add` was given.

    Attributes:
        scope: whose tokens it counts; an empty one: everybody's together.
        quota: how many.
        alert_level: what happens past it.
        budgets: one for each window.
    """

    scope: Scope
    quota: Quota
    alert_level: AlertLevel
    budgets: tuple[Budget, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", tuple(self._made()))

    def _made(self) -> Iterator[Budget]:
        match: dict[str, Any] = {key: escape(value) for key, value in self.scope.items()}
        if self.scope.tags:
            match["tags"] = [escape(tag) for tag in self.scope.tags]
        limits = [(getattr(self.quota, name), window) for name, window in _WINDOWS.items()]
        action = _ACTIONS[self.alert_level]
        for limit, window in limits:
            if limit is not None:
                yield Budget(limit=limit, unit="tokens", window=window, match=match, action=action)
