"""Limits: agent-atm's rules, which are budgets in other words, as long as they are in force."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

from otel_atm.budget import Budget
from otel_atm.errors import ConfigurationError
from otel_atm.facade.quota import AlertLevel, Quota, Rule
from otel_atm.scope import Scope


class Limits:
    """The rules of this process, beside the budgets of `otel_atm.init`."""

    def __init__(self) -> None:
        self._rules: dict[Scope, Rule] = {}
        self._lock = threading.RLock()
        self.on_change: Callable[[], None] | None = None

    def add(
        self,
        scope: Scope | None = None,
        quota: Quota | None = None,
        alert_level: AlertLevel | str = AlertLevel.BLOCKING,
    ) -> Rule:
        """Limit the tokens of a scope, from now on; another rule of the same scope is replaced.

        ::

            otel_atm.limits.add(
                scope=otel_atm.Scope(user="free-tier"),
                quota=otel_atm.Quota(minute_limit=500),
                alert_level=otel_atm.AlertLevel.BLOCKING,
            )

        Before `otel_atm.init` rules are kept for it.

        Args:
            scope: calls that have all its keys and tags; None: all calls together.
            quota: how many tokens.
            alert_level: what happens past it.

        Raises:
            ConfigurationError: an argument cannot be used, or a budget of `init` counts the same;
                nothing was changed.
        """
        if scope is not None and not isinstance(scope, Scope):
            raise ConfigurationError(f"scope={scope!r}: expected otel_atm.Scope(user=…)")
        if not isinstance(quota, Quota):
            raise ConfigurationError(f"quota={quota!r}: expected otel_atm.Quota(minute_limit=…)")
        rule = Rule(Scope() if scope is None else scope, quota, _level(alert_level))
        with self._lock:
            self._change({**self._rules, rule.scope: rule})
        return rule

    def remove(self, scope: Scope | None = None) -> None:
        """End the rule of a scope.

        Raises:
            ConfigurationError: there is none.
        """
        gone = Scope() if scope is None else scope
        with self._lock:
            if gone not in self._rules:
                raise ConfigurationError(f"limits.remove({gone!r}): there is no rule of this scope")
            self._change({key: rule for key, rule in self._rules.items() if key != gone})

    def clear(self) -> None:
        """End all rules."""
        with self._lock:
            self._change({})

    def rules(self) -> list[Rule]:
        """Those that are in force, in the order in which they were given."""
        return list(self._rules.values())

    def budgets(self) -> tuple[Budget, ...]:
        """The same, as budgets."""
        return tuple(budget for rule in self._rules.values() for budget in rule.budgets)

    def forget(self) -> None:
        """As `clear`, when nobody is left who has to know."""
        self._rules = {}

    def after_fork(self) -> None:
        """In a forked child: whoever was changing rules is not here."""
        self._lock = threading.RLock()

    def _change(self, rules: dict[Scope, Rule]) -> None:
        before, self._rules = self._rules, rules
        try:
            if self.on_change is not None:
                self.on_change()
        except BaseException:
            self._rules = before
            raise


def _level(given: str) -> AlertLevel:
    try:
        return AlertLevel(str(given).lower())
    except ValueError:
        known: Iterable[str] = (f"AlertLevel.{level.name}" for level in AlertLevel)
        raise ConfigurationError(f"alert_level={given!r}: expected {' or '.join(known)}") from None


#: Of this process.
limits: Final = Limits()
