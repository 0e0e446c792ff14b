"""The composition root: settings are checked, and parts wired, here and nowhere else."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import time_ns
from typing import Any

from opentelemetry.metrics import MeterProvider

from otel_atm.budget import Budget, read_budgets
from otel_atm.budget_file import BudgetFile, read_budget_file
from otel_atm.budget_text import MAX_LIMIT
from otel_atm.budget_watch import BudgetFiles
from otel_atm.errors import ConfigurationError
from otel_atm.facade.hooks import hooks
from otel_atm.facade.rows import Rows, check_policy
from otel_atm.gate import Alert, Gate
from otel_atm.guards.hosts import read_gateways
from otel_atm.ledger import Ledger
from otel_atm.ledgers import check_ledger, named_ledger, open_ledger, say_it_stays
from otel_atm.metrics import Metrics
from otel_atm.pricing import PriceFile, Prices, read_price_file
from otel_atm.spans.attribution import check_baggage_keys
from otel_atm.spans.emitters import are_siblings, is_followed, swallows
from otel_atm.store.store import Store, read_store
from otel_atm.trouble import Trouble

#: What `budgets=` may be: a file's path, or budgets and texts.
Budgets = str | os.PathLike[str] | Iterable[Budget | str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, as it was given; `Assembly` reads it.

    Equal settings ask for the same: `init` does nothing then.

    Attributes:
        price_file: what the file of prices says; None without one.
        budget_file: where the budgets come from; None when they were given.
        stopped: whether that file stops all calls.
        gateways: (host, provider) of each.
        sampler, carry_context: of the process; a processor alone does without.
        limits: budgets that were added one by one, see `otel_atm.limits`.
        default_app: the app of calls that do not say theirs.
        on_write_error: "fail", "buffer" or "warn": what becomes of a row that cannot be written.
    """

    budgets: tuple[Budget, ...]
    ledger: str | Ledger[Any]
    store: str | os.PathLike[str] | Store | None
    default_hold: int
    baggage_keys: tuple[str, ...] = ()
    budget_file: str | None = None
    stopped: bool = False
    prices: str | os.PathLike[str] | None = None
    on_alert: Callable[[Alert], None] | None = None
    clock: Callable[[], int] = field(default=time_ns)
    guards: bool = True
    gateways: tuple[tuple[str, str], ...] = ()
    include_usage: bool = False
    sampler: bool = False
    carry_context: bool = False
    limits: tuple[Budget, ...] = ()
    default_app: str | None = None
    on_write_error: str = "warn"
    price_file: PriceFile | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls,
        budgets: Budgets,
        ledger: str | Ledger[Any],
        store: str | os.PathLike[str] | Store | None,
        default_hold: int,
        baggage_keys: Iterable[str] = (),
        prices: str | os.PathLike[str] | None = None,
        on_alert: Callable[[Alert], None] | None = None,
        clock: Callable[[], int] = time_ns,
        guards: bool = True,
        *,
        gateways: Mapping[str, str] | None = None,
        include_usage: bool = False,
        sampler: bool = False,
        carry_context: bool = False,
        limits: tuple[Budget, ...] = (),
        default_app: str | None = None,
        on_write_error: str = "warn",
    ) -> Settings:
        """Check what can be checked without making anything.

        Raises:
            ConfigurationError: quotes the setting that cannot be used.
        """
        if type(default_hold) is not int or not 1 <= default_hold <= MAX_LIMIT:
            raise ConfigurationError(f"default_hold={default_hold!r}: expected tokens, at least 1")
        for name, function in (("on_alert", on_alert), ("clock", clock)):
            if function is not None and not callable(function):
                raise ConfigurationError(f"{name}={function!r}: expected a function")
        if clock is not time_ns and type(now := clock()) is not int:
            raise ConfigurationError(
                f"clock={clock!r} gives {now!r}: expected nanoseconds since 1970, an integer"
            )
        _check_switches(
            guards=guards,
            include_usage=include_usage,
            sampler=sampler,
            carry_context=carry_context,
        )
        if include_usage and not guards:
            raise ConfigurationError("include_usage=True asks in the guards: it needs guards=True")
        check_ledger(ledger)
        keys = check_baggage_keys(baggage_keys)
        _check_app(default_app)
        settings = cls(
            (),
            ledger,
            store,
            default_hold,
            keys,
            prices=prices,
            on_alert=on_alert,
            clock=clock,
            guards=guards,
            gateways=read_gateways(gateways),
            include_usage=include_usage,
            sampler=sampler,
            carry_context=carry_context,
            limits=limits,
            default_app=default_app,
            on_write_error=check_policy(on_write_error),
            price_file=None if prices is None else read_price_file(prices),
        )
        return settings.under(budgets)

    def under(self, budgets: Budgets) -> Settings:
        """The same with other budgets.

        Raises:
            BudgetError: they cannot be read.
        """
        if isinstance(budgets, str | os.PathLike):
            path = os.fspath(budgets)
            said: BudgetFile = read_budget_file(path)
            read_budgets((*said.budgets, *self.limits))
            return replace(self, budgets=said.budgets, budget_file=path, stopped=said.stopped)
        given = read_budgets(budgets)
        read_budgets((*given, *self.limits))
        return replace(self, budgets=given, budget_file=None, stopped=False)

    def limited(self, limits: tuple[Budget, ...]) -> Settings:
        """The same with other limits.

        Raises:
            BudgetError: one counts what a budget counts.
        """
        read_budgets((*self.budgets, *limits))
        return replace(self, limits=limits)

    @property
    def in_force(self) -> tuple[Budget, ...]:
        """Budgets and limits."""
        return self.budgets + self.limits


def _check_app(app: object) -> None:
    if app is not None and not (isinstance(app, str) and app):
        raise ConfigurationError(f"default_app_id={app!r}: expected a text")


def _check_switches(**switches: object) -> None:
    for name, value in switches.items():
        if type(value) is not bool:
            raise ConfigurationError(f"{name}={value!r}: expected True or False")


class Assembly:
    """The parts that work for one processor, wired.

    Attributes:
        gate: that calls pass.
        ledger_name: where budgets are counted: see `named_ledger`.
        store: that keeps their rows; None when nothing is kept.
    """

    def __init__(self, settings: Settings, meter_provider: MeterProvider | None) -> None:
        trouble = Trouble()
        self.settings = settings
        self.store = read_store(settings.store, trouble)
        self.ledger_name = named_ledger(settings.ledger, self.store)
        prices = Prices(settings.price_file)
        # Importing the table takes half a second, which the first call need not wait for. But
        # httpx2, which comes with it, may not be seen half imported by a client of the application.
        importlib.import_module("httpx2")
        threading.Thread(target=prices.warm, name="otel-atm-prices", daemon=True).start()
        self.gate = Gate(
            settings.in_force,
            open_ledger(settings.ledger, self.store, trouble),
            clock=settings.clock,
            default_hold=settings.default_hold,
            prices=prices,
            trouble=trouble,
            swallows=swallows,
            are_siblings=are_siblings,
            is_followed=is_followed,
        )
        self._rows: Rows | None = None
        self._files = BudgetFiles(self._reread, self._stop_all, self._say_stop, trouble)
        self.renew_sinks()
        self._join_backlog()
        self.gate.alerts.replace(None, settings.on_alert)
        self._say_stop()
        self._metrics = Metrics(self.gate, self.store, meter_provider)
        self._files.follow(settings.budget_file)

    def configure(self, settings: Settings) -> None:
        """Change the settings, but for ledger, prices and clock, for calls from now on.

        Raises:
            ConfigurationError: another one of these is asked for; nothing was changed then.
        """
        before, old, store = self.settings, None, self.store
        if settings.store != before.store:
            old, store = store, read_store(settings.store, self.gate.trouble)
        elsewhere = named_ledger(settings.ledger, store) != self.ledger_name
        for name, differs in (
            ("ledger", elsewhere and settings.ledger != before.ledger),
            ("prices", settings.prices != before.prices),
            ("clock", settings.clock != before.clock),
        ):
            if differs:
                raise ConfigurationError(
                    f"another {name} needs a new start: shut the old handle down"
                )
        if store is not self.store:
            self.store = self._metrics.store = store
            self._join_backlog()
            if elsewhere:
                say_it_stays(self.ledger_name, store)
        self.settings = settings
        self.gate.alerts.replace(before.on_alert, settings.on_alert)
        if settings.budget_file != before.budget_file:
            self._files.follow(settings.budget_file, stopped=before.stopped)
        self._apply()
        if old is not None:
            old.close()

    def renew_sinks(self) -> None:
        """Take note of hooks that are there now."""
        self.gate.sinks = self._sinks()

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
        try:
            self.gate.ledger.close()
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.gate.trouble.note("ledger_close", error)
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
        """Close for good: metrics end too, and the file of budgets is watched no longer."""
        for watch in self._files.watches:
            watch.stop()
        self.close()
        self._metrics.close()

    def after_fork(self) -> None:
        """In a forked child: renew all that belongs to the parent; a `Store` does so by itself."""
        self.gate.after_fork()
        for watch in self._files.watches:
            watch.after_fork()

    def _apply(self) -> None:
        settings = self.settings
        self.gate.configure(
            settings.in_force, default_hold=settings.default_hold, sinks=self._sinks()
        )
        self._say_stop()

    def _say_stop(self) -> None:
        self.gate.stop("file", stopped=self.settings.stopped or self._files.stopped)

    def _reread(self, path: str) -> int:
        """Take what the file says now; how many budgets."""
        self.settings = self.settings.under(path)
        self._apply()
        return len(self.settings.budgets)

    def _stop_all(self) -> None:
        """The file cannot be used, but says that."""
        self.settings = replace(self.settings, stopped=True)
        self._say_stop()

    def _join_backlog(self) -> None:
        if self.store is not None:
            self.store.backlog.join(self.gate.storm)

    def _sinks(self) -> list[Any]:
        store, policy = self.store, self.settings.on_write_error
        if not (hooks.pre or hooks.post or policy != "warn"):
            if store is None:
                return []
            store.on_failure(None)
            return [store.sink]
        rows = self._rows
        if rows is None or rows.store is not store or rows.policy != policy:
            rows = self._rows = Rows(store, self.gate, hooks, policy)
        return [rows.append]
