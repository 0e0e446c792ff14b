"""The composition root: settings are checked, and parts wired, here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import MeterProvider

from otel_atm.budget import Budget, read_budgets
from otel_atm.budget_text import MAX_LIMIT
from otel_atm.errors import ConfigurationError
from otel_atm.gate import Gate
from otel_atm.ledger import Ledger, MemoryLedger
from otel_atm.metrics import Metrics
from otel_atm.spans.attribution import check_baggage_keys
from otel_atm.spans.emitters import are_siblings, swallows
from otel_atm.store.store import Store, read_store
from otel_atm.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, as it was given; `Assembly` reads it.

    Equal settings ask for the same: `init` does nothing then.
    """

    budgets: tuple[Budget, ...]
    ledger: str | Ledger[Any]
    store: str | os.PathLike[str] | Store | None
    default_hold: int
    baggage_keys: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        budgets: Iterable[Budget | str],
        ledger: str | Ledger[Any],
        store: str | os.PathLike[str] | Store | None,
        default_hold: int,
        baggage_keys: Iterable[str] = (),
    ) -> Settings:
        """Check what can be checked without making anything.

        Raises:
            ConfigurationError: quotes the setting that cannot be used.
        """
        if type(default_hold) is not int or not 1 <= default_hold <= MAX_LIMIT:
            raise ConfigurationError(f"default_hold={default_hold!r}: expected tokens, at least 1")
        _check_ledger(ledger)
        keys = check_baggage_keys(baggage_keys)
        return cls(read_budgets(budgets), ledger, store, default_hold, keys)


class Assembly:
    """The parts that work for one processor, wired.

    Attributes:
        gate: that calls pass.
        store: that keeps their rows; None when nothing is kept.
    """

    def __init__(self, settings: Settings, meter_provider: MeterProvider | None) -> None:
        trouble = Trouble()
        self.settings = settings
        self.store = read_store(settings.store, trouble)
        self.gate = Gate(
            settings.budgets,
            _ledger(settings.ledger),
            default_hold=settings.default_hold,
            sinks=self._sinks(),
            trouble=trouble,
            swallows=swallows,
            are_siblings=are_siblings,
        )
        self._metrics = Metrics(self.gate, self.store, meter_provider)

    def configure(self, settings: Settings) -> None:
        """Change the settings, but for the ledger, for calls from now on.

        Raises:
            ConfigurationError: another ledger is asked for; nothing was changed then.
        """
        if settings.ledger != self.settings.ledger:
            raise ConfigurationError("another ledger needs a new start: shut the old handle down")
        if settings.store != self.settings.store:
            before, self.store = self.store, read_store(settings.store, self.gate.trouble)
            self._metrics.store = self.store
        else:
            before = None
        self.settings = settings
        self.gate.configure(
            settings.budgets, default_hold=settings.default_hold, sinks=self._sinks()
        )
        if before is not None:
            before.close()

    def flush(self, timeout_s: float) -> bool:
        """Write off calls that are overdue, and take all rows into the file; never raises."""
        return self._write_off(everything=False) and (
            self.store is None or self.store.flush(timeout_s)
        )

    def close(self) -> None:
        """Write off what is in flight and flush; never raises.

        Budgets go on holding afterwards, and rows are still spooled.
        """
        self._write_off(everything=True)
        if self.store is not None:
            self.store.close()

    def _write_off(self, *, everything: bool) -> bool:
        try:
            self.gate.expire(everything=everything)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.gate.trouble.note("write_off", error)
            return False
        return True

    def retire(self) -> None:
        """Close for good: metrics end too."""
        self.close()
        self._metrics.close()

    def after_fork(self) -> None:
        """In a forked child: renew all that belongs to the parent."""
        self.gate.after_fork()
        if self.store is not None:
            self.store.after_fork()

    def _sinks(self) -> list[Any]:
        return [self.store.append] if self.store is not None else []


def _check_ledger(ledger: object) -> None:
    if not isinstance(ledger, str):
        if not hasattr(ledger, "admit"):
            raise ConfigurationError(f"ledger={ledger!r}: expected 'auto', 'memory' or a Ledger")
    elif ledger.partition("://")[0] in ("sqlite", "redis", "rediss"):
        raise ConfigurationError(f"ledger={ledger!r} comes in a later version; now: 'memory'")
    elif ledger not in ("auto", "memory"):
        raise ConfigurationError(f"ledger={ledger!r}: expected 'auto', 'memory' or a Ledger")


def _ledger(ledger: str | Ledger[Any]) -> Ledger[Any]:
    return MemoryLedger() if isinstance(ledger, str) else ledger
