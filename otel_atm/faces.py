"""The faces: what users hold in their hands, each wired by `otel_atm.config`."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.budget import Budget
from otel_atm.config import Assembly, Settings
from otel_atm.environment import exporters
from otel_atm.errors import ConfigurationError
from otel_atm.ledger import Ledger
from otel_atm.spans.processor import GateProcessor
from otel_atm.store.reader import Reader
from otel_atm.store.store import Store
from otel_atm.trouble import logger


class TokenSpanProcessor(GateProcessor):
    """Meters and caps the LLM calls of a tracer provider.

    ::

        provider.add_span_processor(TokenSpanProcessor(budgets=["10k tokens / day per user"]))

    It refuses a call by raising `otel_atm.TokenQuotaExceeded` where its span starts, before
    anything is sent; nothing else ever comes out of it.

    Args:
        budgets: `otel_atm.Budget` or texts; all of them hold at once.
        ledger: "auto" or "memory" (this process, from zero), or a Ledger.
        store: path of a DuckDB file that keeps a row for each call; None: keep nothing.
        default_hold: tokens held for a call of which nothing is known, half of them input.
        meter_provider: for the ``atm.*`` metrics; None: the global one.
        baggage_keys: scope keys that may come from baggage entries of the same name. Only list
            what no stranger can send: an inbound header must not bill somebody else.

    Raises:
        ConfigurationError: a setting cannot be used; the message quotes it.
    """

    def __init__(
        self,
        budgets: Iterable[Budget | str] = (),
        ledger: str | Ledger[Any] = "auto",
        store: str | os.PathLike[str] | Store | None = None,
        *,
        default_hold: int = 1000,
        meter_provider: MeterProvider | None = None,
        baggage_keys: Iterable[str] = (),
    ) -> None:
        settings = Settings.of(budgets, ledger, store, default_hold, baggage_keys)
        self._assembly = Assembly(settings, meter_provider)
        super().__init__(self._assembly.gate, baggage_keys=settings.baggage_keys)
        weakref.finalize(self, self._assembly.close)  # also runs when the interpreter exits
        _processors.add(self)

    def shutdown(self) -> None:
        """Write off what is in flight and flush. Budgets go on holding, rows are still spooled."""
        self._assembly.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Take all rows so far into the DuckDB file; False if that failed or took too long."""
        return self._assembly.flush(timeout_millis / 1000)

    def configure(self, settings: Settings) -> None:
        """Change the settings for calls from now on; see `init`."""
        before = self._assembly.settings
        if settings != before:
            self._assembly.configure(settings)
        if settings.baggage_keys != before.baggage_keys:
            self.take_from_baggage(settings.baggage_keys)

    def retire(self) -> None:
        """Shut down for good. A provider cannot forget a processor, so it ignores what comes."""
        self.ignore_spans()
        self._assembly.retire()

    def after_fork(self) -> None:
        """In a forked child: open spans, holds, the segment and the thread are the parent's."""
        self.forget_spans()
        self._assembly.after_fork()


class Handle:
    """What `init` set up."""

    def __init__(self, settings: Settings, meter_provider: MeterProvider | None) -> None:
        self._processor = TokenSpanProcessor(
            settings.budgets,
            settings.ledger,
            settings.store,
            default_hold=settings.default_hold,
            meter_provider=meter_provider,
            baggage_keys=settings.baggage_keys,
        )
        self._providers: weakref.WeakSet[TracerProvider] = weakref.WeakSet()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Take all rows so far into the DuckDB file; False if that failed or took too long."""
        return self._processor.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """End it: flush, and stop metering. `init` may be called again."""
        global _handle
        with _init_lock:
            if _handle is self:
                _handle = None
        self._processor.retire()

    def _join(self, provider: TracerProvider) -> None:
        if provider not in self._providers:
            provider.add_span_processor(self._processor)
            self._providers.add(provider)

    def _configure(self, settings: Settings) -> None:
        self._processor.configure(settings)


def init(
    provider: TracerProvider | None = None,
    budgets: Iterable[Budget | str] = (),
    ledger: str | Ledger[Any] = "auto",
    store: str | os.PathLike[str] | Store | None = "tokens.duckdb",
    default_hold: int = 1000,
    meter_provider: MeterProvider | None = None,
    baggage_keys: Iterable[str] = (),
) -> Handle:
    """Set up metering and budgets for the process; the one call that most programs need.

    Called again with the same settings it does nothing; with others it changes budgets, store and
    default hold for the calls from then on, and what was spent stays spent.

    Args:
        provider: the TracerProvider to join; None: the global one, or a new one made global.
            A new one exports where ``OTEL_TRACES_EXPORTER`` or an OTLP endpoint says so.
        budgets: as of `TokenSpanProcessor`.
        ledger: as of `TokenSpanProcessor`.
        store: path of the DuckDB file; None: keep nothing.
        default_hold: as of `TokenSpanProcessor`.
        meter_provider: None: the global one, or, where ``OTEL_METRICS_EXPORTER`` or an OTLP
            endpoint names an exporter, a new one made global.
        baggage_keys: as of `TokenSpanProcessor`.

    Raises:
        ConfigurationError: a setting cannot be used; nothing was changed.
    """
    global _handle
    settings = Settings.of(budgets, ledger, store, default_hold, baggage_keys)
    with _init_lock:
        _warn_if_disabled(settings)
        # What can fail comes first; then both are made global, or nothing is.
        joined = _tracer_provider(provider)
        meters = _new_meter_provider() if meter_provider is None else None
        if _handle is None:
            _handle = Handle(settings, meter_provider or meters)
        else:
            _handle._configure(settings)
        if joined is not provider and isinstance(trace.get_tracer_provider(), _NO_PROVIDER):
            trace.set_tracer_provider(joined)
        if meters is not None:
            metrics.set_meter_provider(meters)
        _handle._join(joined)
        return _handle


def connect(path: str | os.PathLike[str] = "tokens.duckdb") -> Reader:
    """Open a store for reading, also while programs write to it.

    ::

        with otel_atm.connect("tokens.duckdb") as db:
            db.sql("select model, sum(total_tokens) from usage_events group by all").df()

    Args:
        path: of the DuckDB file.

    Raises:
        StoreError: there is no such file.
    """
    return Reader(path)


_init_lock = threading.Lock()
_handle: Handle | None = None
_processors: weakref.WeakSet[TokenSpanProcessor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    global _init_lock
    _init_lock = threading.Lock()
    for processor in list(_processors):
        processor.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _warn_if_disabled(settings: Settings) -> None:
    if settings.budgets and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        logger.warning("otel-atm: OTEL_SDK_DISABLED=true: there are no spans, so budgets are idle")


_NO_PROVIDER: Final = trace.ProxyTracerProvider


def _tracer_provider(given: TracerProvider | None) -> TracerProvider:
    """The one given, the global one, or a new one with the exporters that the environment names."""
    provider = given if given is not None else trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return provider
    if given is not None or not isinstance(provider, _NO_PROVIDER):
        raise ConfigurationError(
            f"provider={provider!r}: expected an opentelemetry.sdk.trace.TracerProvider"
        )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    found = list(exporters("traces", os.environ))
    new = TracerProvider()
    for exporter in found:
        new.add_span_processor(BatchSpanProcessor(exporter))
    return new


def _new_meter_provider() -> MeterProvider | None:
    """A new one where there is none and the environment names exporters."""
    from opentelemetry.metrics._internal import _ProxyMeterProvider

    if not isinstance(metrics.get_meter_provider(), _ProxyMeterProvider):
        return None
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    readers = [
        exporter if isinstance(exporter, MetricReader) else PeriodicExportingMetricReader(exporter)
        for exporter in exporters("metrics", os.environ)
    ]
    return SdkMeterProvider(metric_readers=readers) if readers else None
