"""Exporters: the store behind the interfaces of OpenTelemetry's SDK.

By the name ``atm_duckdb`` the environment can ask for them, where no code can::

    OTEL_TRACES_EXPORTER=atm_duckdb OTEL_METRICS_EXPORTER=atm_duckdb \
        opentelemetry-instrument python app.py
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import Context
from importlib import import_module
from typing import Any, Final

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_atm.errors import ConfigurationError
from otel_atm.faces import is_kept
from otel_atm.gate import Call, Gate
from otel_atm.ledger import MemoryLedger
from otel_atm.pricing import Prices, read_price_file
from otel_atm.spans.ended import EndedSpans
from otel_atm.store.drain import drain
from otel_atm.store.paths import StorePaths
from otel_atm.store.point_lines import point_lines
from otel_atm.store.points import put_points
from otel_atm.store.store import Store
from otel_atm.trouble import Trouble

_PATH: Final = "tokens.duckdb"
#: What the file is given: what was added since the export before, so that a sum is a sum.
_DELTA: Final[dict[type, AggregationTemporality]] = {
    Counter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
}


class DuckDBSpanExporter(SpanExporter):
    """Keeps a row for each LLM call that ended spans tell of.

    ::

        provider.add_span_processor(BatchSpanProcessor(DuckDBSpanExporter("tokens.duckdb")))

    Rows are those of `otel_atm.TokenSpanProcessor`, as far as spans tell: one for each call,
    whichever instrumentations report it, from every GenAI convention that is known. Nothing is
    refused, and what is not sampled is not counted. In a process whose processor keeps the same
    file, the rows are the processor's, and the exporter adds none.

    Args:
        path: of the DuckDB file; None: ``ATM_DB``, else ``tokens.duckdb``.
        prices: path of a file of prices that go before those of genai-prices; None: ``ATM_PRICES``.

    Raises:
        ConfigurationError: one of these cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        prices: str | os.PathLike[str] | None = None,
    ) -> None:
        self.trouble = Trouble()
        self._store = Store(_path(path, os.environ), trouble=self.trouble)
        prices = prices or os.environ.get("ATM_PRICES") or None
        known = Prices(None if prices is None else read_price_file(prices))
        import_module("httpx2")  # comes with prices; no client may see it half imported
        self._gate = Gate(
            (), MemoryLedger(), sinks=[self._keep], prices=known, trouble=self.trouble
        )
        self._ended = EndedSpans(self._gate, self._keep)
        self._waiting: deque[ReadableSpan] = deque()
        self._lock, self._busy = threading.RLock(), False
        self._kept = 0  # rows
        weakref.finalize(self, self._store.close)  # also runs when the interpreter exits
        _exporters.add(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Spool what these spans tell; never raises.

        Returns:
            FAILURE if rows could not be kept, and none could.
        """
        try:
            if is_kept(self._store.paths.database):
                return SpanExportResult.SUCCESS
            self._waiting.extend(spans)
            with self._lock:
                if self._busy:  # the garbage collector ended a span in here
                    return SpanExportResult.SUCCESS
                failed = Context().run(self._take)  # whoever ends a span has not made it
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.trouble.note("export", error)
            failed = True
        return SpanExportResult.FAILURE if failed else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Take all rows so far into the DuckDB file; False if that failed or took too long."""
        return self._store.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Take all rows into the DuckDB file."""
        self._store.close()

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's; a `Store` knows by itself."""
        self._lock, self._busy = threading.RLock(), False
        self._waiting.clear()
        self._gate.after_fork()
        self._ended = EndedSpans(self._gate, self._keep)

    def _take(self) -> bool:
        """Take what waits; whether nothing could be kept of something."""
        self._busy, kept, failures = True, self._kept, self._failures()
        try:
            while self._waiting:
                try:
                    self._ended.take(self._waiting.popleft())
                except Exception as error:  # noqa: BLE001 - of one span; the others go on
                    self.trouble.note("export", error, dropped=1)
        finally:
            self._busy = False
        return self._failures() > failures and self._kept == kept

    def _keep(self, call: Call) -> None:
        failures = self._failures()
        self._store.append(call)
        self._kept += self._failures() == failures

    def _failures(self) -> int:
        return sum(self.trouble.dropped.values())


class DuckDBMetricExporter(MetricExporter):
    """Keeps the points of all metrics, and what those of tokens say of calls.

    ::

        reader = PeriodicExportingMetricReader(DuckDBMetricExporter("tokens.duckdb"))
        provider = MeterProvider(metric_readers=[reader])

    Args:
        path: of the DuckDB file; None: ``ATM_DB``, else ``tokens.duckdb``.
        preferred_temporality: of instruments; None: counters and histograms tell what was added
            since the export before.
        preferred_aggregation: of instruments; None: the SDK's.

    Raises:
        ConfigurationError: the path cannot be one of a DuckDB file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        preferred_temporality: dict[type, AggregationTemporality] | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(preferred_temporality or dict(_DELTA), preferred_aggregation)
        self.trouble = Trouble()
        self._paths = StorePaths.of(_path(path, os.environ))
        self.after_fork()
        _exporters.add(self)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        """Spool these points, and take them into the file if it is free; never raises.

        Returns:
            FAILURE if they could not be kept.
        """
        try:
            lines = list(point_lines(metrics_data, self._writer, self._pass_over))
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.trouble.note("export", error)
            return MetricExportResult.FAILURE
        if lines:
            try:
                put_points(self._paths.spool, b"".join(lines))
            except Exception as error:  # noqa: BLE001 - as above
                self.trouble.note("spool_write", error, dropped=len(lines))
                return MetricExportResult.FAILURE
            self._drain(timeout_millis / 1000)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Take all points so far into the DuckDB file; False if that failed or took too long."""
        return self._drain(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Take all points into the DuckDB file."""
        self._drain(timeout_millis / 1000)

    def after_fork(self) -> None:
        """In a forked child: another process reports, which has series of its own."""
        self._writer = os.urandom(4).hex()

    def _pass_over(self, error: Exception) -> None:
        self.trouble.note("point", error, dropped=1)

    def _drain(self, timeout_s: float) -> bool:
        try:
            drain(self._paths, timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - the points stay, and the program goes on
            self.trouble.note("drain", error)
            return False
        return True


def _path(
    given: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> str | os.PathLike[str]:
    """The DuckDB file."""
    if given is not None and not isinstance(given, str | os.PathLike):
        raise ConfigurationError(f"path={given!r}: expected the path of a DuckDB file")
    path = environ.get("ATM_DB") or _PATH if given is None else given
    if given is None and path == "none":
        raise ConfigurationError("ATM_DB='none': an exporter needs the path of a DuckDB file")
    return path


_exporters: weakref.WeakSet[DuckDBSpanExporter | DuckDBMetricExporter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for exporter in list(_exporters):
        exporter.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
