"""The handle: what `init` sets up for a whole process, and the functions that stand on it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_atm._version import __version__
from otel_atm.config import Budgets, Settings
from otel_atm.environment import exporters
from otel_atm.errors import ConfigurationError
from otel_atm.executors import carry_context as let_pools_carry
from otel_atm.facade.hooks import hooks
from otel_atm.facade.limits import limits
from otel_atm.facade.managers import read_manager
from otel_atm.facade.teller import Teller
from otel_atm.faces import TokenSpanProcessor
from otel_atm.gate import Admission, Alert, BudgetStatus
from otel_atm.ledger import Ledger
from otel_atm.semconv import FACADE_NAME
from otel_atm.spans.sampler import unwrap_samplers, wrap_samplers
from otel_atm.store.store import Store
from otel_atm.tokenizers import Tokenizer, Tokenizers, standard
from otel_atm.trouble import logger

if TYPE_CHECKING:
    from otel_atm.coverage.diagnosis import Diagnosis


class Handle:
    """What `init` set up."""

    def __init__(self, settings: Settings, meter_provider: MeterProvider | None) -> None:
        self._processor = TokenSpanProcessor.of(settings, meter_provider)
        self._providers: weakref.WeakSet[TracerProvider] = weakref.WeakSet()
        self.tokenizers = standard(trouble=self._processor.trouble)
        self._teller = self._processor.teller(self._tracer, self.tokenizers)

    def _tracer(self) -> trace.Tracer:
        provider = next(iter(self._providers), None) or trace.get_tracer_provider()
        return provider.get_tracer(FACADE_NAME, __version__)

    def budgets(self) -> list[BudgetStatus]:
        """How each budget stands, for each payer who has spent anything in its window."""
        return self._processor.budgets()

    def set_budgets(self, budgets: Budgets) -> None:
        """Replace all budgets at once, for calls from now on.

        What was spent stays with a budget's identity: its name, else what it counts; never its
        limit.

        Raises:
            BudgetError: they cannot be read; nothing was changed.
        """
        self._processor.set_budgets(budgets)

    def grant(self, budget: str, amount: float, **payer: str) -> None:
        """Let a payer spend so much more in the current window.

        ::

            handle.grant("500 tokens / minute per user", 200, user="ann")

        Args:
            budget: its name or its canonical text.
            amount: in the budget's unit; below 0: less.
            payer: a value for each key that the budget counts apart by.

        Raises:
            ConfigurationError: no such budget is in force, or it counts apart by other keys.
        """
        self._processor.grant(budget, amount, **payer)

    def reset(self, budget: str, **payer: str) -> None:
        """Start a payer's current window again at zero; arguments and errors as of `grant`."""
        self._processor.reset(budget, **payer)

    def exempt(self, budget: str, for_s: float, **payer: str) -> None:
        """Refuse a payer nothing for so many seconds; 0 ends it. See `grant`."""
        self._processor.exempt(budget, for_s, **payer)

    def stop(self) -> None:
        """The kill switch: refuse every call of this process, whatever its budgets say."""
        self._processor.stop()

    def resume(self) -> None:
        """End `stop`."""
        self._processor.resume()

    def doctor(self) -> Diagnosis:
        """Look at this process: see `otel_atm.doctor`."""
        # Only who asks needs the rules and what reads versions.
        from otel_atm.coverage.examine import examine_process

        joined, everybodys = list(self._providers), trace.get_tracer_provider()
        joined.sort(key=lambda one: one is not everybodys)
        provider = joined[0] if joined else None
        assembly = self._processor._assembly
        guards = assembly.settings.guards
        return examine_process(
            self._processor, provider, assembly.store, assembly.ledger_name, guards=guards
        )

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Take all rows so far into the DuckDB file, and let hooks see them.

        Returns:
            False if that failed or took too long.
        """
        flushed = self._processor.force_flush(timeout_millis)
        return hooks.after.flush(timeout_millis / 1000) and flushed

    def shutdown(self) -> None:
        """End it: flush, and stop metering. `init` may be called again."""
        global _handle
        with _init_lock:
            if _handle is self:
                _handle = None
                let_pools_carry(False)
                limits.on_change = hooks.on_change = None
                limits.forget()
                hooks.clear()
            for provider in self._providers:
                unwrap_samplers(provider)
        self._processor.retire()
        hooks.after.end()

    def _join(self, provider: TracerProvider, settings: Settings) -> None:
        if provider not in self._providers:
            provider.add_span_processor(self._processor)
            self._providers.add(provider)
            self._processor.know(provider.resource)
        for joined in self._providers:
            if settings.sampler:
                wrap_samplers(joined, self._processor.trouble)
            else:
                unwrap_samplers(joined)
        let_pools_carry(settings.carry_context)

    def _configure(self, settings: Settings) -> None:
        self._processor.configure(settings)

    def _renew_limits(self) -> None:
        self._configure(self._processor.settings.limited(limits.budgets()))


def init(
    provider: TracerProvider | None = None,
    budgets: Budgets = (),
    ledger: str | Ledger[Any] = "auto",
    store: str | os.PathLike[str] | Store | None = "tokens.duckdb",
    default_hold: int = 1000,
    meter_provider: MeterProvider | None = None,
    baggage_keys: Iterable[str] = (),
    prices: str | os.PathLike[str] | None = None,
    on_alert: Callable[[Alert], None] | None = None,
    clock: Callable[[], int] = time_ns,
    guards: bool = True,
    sampler: bool = True,
    gateways: Mapping[str, str] | None = None,
    include_usage: bool = False,
    carry_context: bool = False,
    data_manager: str | None = None,
    db_path: str | os.PathLike[str] | None = None,
    default_app_id: str | None = None,
    tokenizer: Tokenizer | None = None,
    telemetry_failure_policy: str = "warn",
) -> Handle:
    """Set up metering and budgets for the process; the one call that most programs need.

    Called again with the same settings it does nothing; with others it changes budgets, store,
    default hold and `on_alert` for the calls from then on, and what was spent stays spent.

    Args:
        provider: the TracerProvider to join; None: the global one, or a new one made global.
            A new one exports where ``OTEL_TRACES_EXPORTER`` or an OTLP endpoint says so.
        budgets: as of `TokenSpanProcessor`.
        ledger: as of `TokenSpanProcessor`.
        store: path of the DuckDB file; None: keep nothing. Another one, later, leaves a ledger that
            lies beside the first one where it is, and a warning says so: calls in flight are held
            there. To count beside the new one, shut the handle down first.
        default_hold: as of `TokenSpanProcessor`.
        meter_provider: None: the global one, or, where ``OTEL_METRICS_EXPORTER`` or an OTLP
            endpoint names an exporter, a new one made global.
        baggage_keys: as of `TokenSpanProcessor`.
        prices: as of `TokenSpanProcessor`.
        on_alert: as of `TokenSpanProcessor`.
        clock: as of `TokenSpanProcessor`.
        guards: as of `TokenSpanProcessor`.
        sampler: whether calls that the provider's sampler drops are shown to processors all the
            same: metered and refused, and not exported. Nothing else of its decisions changes.
        gateways: as of `TokenSpanProcessor`.
        include_usage: as of `TokenSpanProcessor`.
        carry_context: whether work that is submitted to any thread pool of the process runs in a
            copy of its submitter's context, so that its calls are the submitter's. For one pool
            only, there is `otel_atm.carrying`.
        data_manager: agent-atm's word for `ledger` and `store`: "memory", "sqlite" or "duckdb".
        db_path: of its file; with "sqlite", the rows are in a DuckDB file of that name, ending in
            ``.duckdb``, and what budgets have counted is in SQLite beside it.
        default_app_id: the app of calls that do not say theirs; before ``service.name``.
        tokenizer: counts texts that `add_user_request` and `add_model_response` are given, before
            all others; see `otel_atm.tokenizers`.
        telemetry_failure_policy: of rows that cannot be written: "warn" loses them, counted and
            logged once; "buffer" keeps up to 10,000 in memory and tries again each second; "fail"
            lets `add_user_request` and `add_model_response` raise.

    Raises:
        ConfigurationError: a setting cannot be used; nothing was changed.
    """
    global _handle
    if tokenizer is not None:
        Tokenizers().register(tokenizer)  # says if it is none
    if data_manager is not None or db_path is not None:
        ledger, store = _managed(data_manager, db_path, ledger, store)
    settings = Settings.of(
        budgets,
        ledger,
        store,
        default_hold,
        baggage_keys,
        prices,
        on_alert,
        clock,
        guards,
        gateways=gateways,
        include_usage=include_usage,
        sampler=sampler,
        carry_context=carry_context,
        limits=limits.budgets(),
        default_app=default_app_id,
        on_write_error=telemetry_failure_policy,
    )
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
        _handle._join(joined, settings)
        if tokenizer is not None:
            _handle.tokenizers.register(tokenizer)
        limits.on_change, hooks.on_change = _handle._renew_limits, _handle._processor.renew_hooks
        return _handle


def admit(
    *,
    tokens: int | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    model: str | None = None,
    provider: str | None = None,
    operation: str = "chat",
    wait_s: float = 0,
) -> Admission:
    """Admit a call that no span covers; who pays comes from `otel_atm.context`.

    ::

        with otel_atm.admit(tokens=1200, model="gpt-5.1") as call:
            answer = ...
            call.settle(input_tokens=900, output_tokens=210)

    Also as ``async with``. Leaving the block without `settle` or `release` charges what is held.

    Args:
        tokens: what the call uses at most, input and output. Stated, it is no estimate: it fits
            or the call is refused. None: as much is held as such calls used lately.
        input_tokens: instead of `tokens`, together with `output_tokens`.
        output_tokens: instead of `tokens`.
        model: for prices, and for budgets that name models.
        provider: the same.
        operation: of the row.
        wait_s: seconds to wait for room, at most; 0: do not wait.

    Raises:
        ConfigurationError: an argument cannot be used, or there was no `init`.
        TokenQuotaExceeded: where the block begins: a budget refuses the call.
    """
    return _processor().admit(
        tokens=tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        model=model,
        provider=provider,
        operation=operation,
        wait_s=wait_s,
    )


def teller() -> Teller:
    """Takes what the application tells of its calls by itself.

    Raises:
        ConfigurationError: there was no `init`.
    """
    return _initialised()._teller


def doctor() -> Diagnosis:
    """Look at this process: which calls are refused for certain, only counted, or unseen, and why.

    ::

        diagnosis = otel_atm.doctor()
        if diagnosis.state != "enforced":
            print([each for each in diagnosis.findings if each.counts])

    What is installed and not loaded is told, too, but does not decide `state`. ``otel-atm doctor``
    looks at an environment without running anything.

    Raises:
        ConfigurationError: there was no `init`.
    """
    return _initialised().doctor()


def advice(model: str | None = None, provider: str | None = None) -> str | None:
    """The cheaper model to use for the next call, where a budget with "degrade" is used up.

    ::

        model = otel_atm.advice() or "gpt-5.1"

    Args:
        model: that would be used; for budgets that name models.
        provider: the same.

    Returns:
        The budget's `degrade_to`; None when nothing is in the way.

    Raises:
        ConfigurationError: there was no `init`.
    """
    return _processor().advice(model, provider)


def _processor() -> TokenSpanProcessor:
    return _initialised()._processor


def _initialised() -> Handle:
    if _handle is None:
        raise ConfigurationError("call otel_atm.init(...) first")
    return _handle


def _managed(
    data_manager: str | None,
    db_path: str | os.PathLike[str] | None,
    ledger: object,
    store: object,
) -> tuple[str, str | None]:
    if (ledger, store) != ("auto", "tokens.duckdb"):
        raise ConfigurationError(
            f"data_manager={data_manager!r}: it says ledger and store in another word; give either"
        )
    return read_manager(data_manager or "sqlite", db_path)


_init_lock = threading.Lock()
_handle: Handle | None = None


def _after_fork_in_child() -> None:
    global _init_lock
    hooks.after.after_fork()
    limits.after_fork()
    _init_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _warn_if_disabled(settings: Settings) -> None:
    """Say that nothing is metered where there are no spans, and nobody who does without."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled and settings.budgets and not settings.guards:
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
