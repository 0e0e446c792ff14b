"""The metric exporter: points of every kind of metric, kept once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

import otel_atm as atm
from otel_atm.store import points
from otel_atm.store.lock import let_go, open_locked
from otel_atm.store.paths import StorePaths
from otel_atm.store.points import put_points
from tests.exporters.conftest import SHOP, Row, query

Exporter = atm.DuckDBMetricExporter
MIDNIGHT_NS = 1_767_225_600_000_000_000  # 2026-01-01 00:00 UTC


@pytest.fixture
def exporter(path: Path) -> Iterator[Exporter]:
    """To the file; nothing may fail in it."""
    exporter = Exporter(path)
    yield exporter
    exporter.shutdown()
    assert exporter.trouble.counts == {}


def gauge(value: float, attributes: Mapping[str, Any] | None = None, **more: Any) -> MetricsData:
    """One point of a gauge."""
    point = NumberDataPoint(
        attributes or {}, more.get("start_ns", 0), more.get("time_ns", MIDNIGHT_NS), value
    )
    metric = Metric(more.get("name", "g"), "a description", "1", Gauge([point]))
    scope = ScopeMetrics(InstrumentationScope("meter", "1.0"), [metric], "")
    return MetricsData([ResourceMetrics(Resource(SHOP), [scope], "")])


def points_of(path: Path, columns: str = "*") -> list[Row]:
    """All of them, without what they do not have."""
    rows = query(path, f"select {columns} from metric_points order by time, name")
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


class TestPoints:
    def test_of_each_kind_are_kept_whole(self, exporter: Exporter, path: Path) -> None:
        exporter._preferred_aggregation = {
            HistogramInstrument: ExponentialBucketHistogramAggregation()
        }
        with meters(exporter) as provider:
            meter = provider.get_meter("meter", "1.0")
            meter.create_counter("counter", "1").add(3, {"a": "b"})
            meter.create_up_down_counter("up_down").add(-2)
            meter.create_gauge("gauge", "By").set(4.5)
            meter.create_observable_counter("observed", [lambda _: [Observation(7)]])
            histogram = meter.create_histogram("histogram", "s")
            for value in (0, 1.5):
                histogram.record(value, {"c": 1})
        kept = {row.pop("name"): row for row in points_of(path)}
        shared = {
            "service": "shop",
            "resource": SHOP,
            "scope_name": "meter",
            "scope_version": "1.0",
        }
        for row in kept.values():
            for key in ("time", "start_time", "series", "writer"):
                row.pop(key, None)
            assert {key: row.pop(key) for key in shared} == shared
        delta = {"kind": "sum", "temporality": "delta", "monotonic": True}
        assert kept == {
            "counter": {"value": 3, "unit": "1", "attributes": {"a": "b"}, **delta},
            "observed": {"value": 7, "attributes": {}, **delta},
            "up_down": {
                "kind": "sum",
                "temporality": "cumulative",
                "monotonic": False,
                "value": -2,
                "attributes": {},
            },
            "gauge": {"kind": "gauge", "value": 4.5, "unit": "By", "attributes": {}},
            "histogram": {
                "kind": "exponential_histogram",
                "temporality": "delta",
                "unit": "s",
                "attributes": {"c": 1},
                "count": 2,
                "sum": 1.5,
                "min": 0,
                "max": 1.5,
                "scale": 20,
                "zero_count": 1,
                "positive_offset": math.ceil(math.log2(1.5) * 2**20) - 1,
                "positive_counts": [1],
                "negative_offset": 0,
                "negative_counts": [0],
            },
        }

    def test_of_a_histogram_have_its_buckets(self, exporter: Exporter, path: Path) -> None:
        with meters(exporter) as provider:
            histogram = provider.get_meter("meter").create_histogram(
                "h", explicit_bucket_boundaries_advisory=[1.0, 10.0]
            )
            for value in (0.5, 5, 50, 5):
                histogram.record(value)
        (row,) = points_of(path, "kind, temporality, bounds, bucket_counts, count, sum, min, max")
        assert row == {
            "kind": "histogram",
            "temporality": "delta",
            "bounds": [1, 10],
            "bucket_counts": [1, 2, 1],
            "count": 4,
            "sum": 60.5,
            "min": 0.5,
            "max": 50,
        }

    def test_have_their_times_in_utc(self, exporter: Exporter, path: Path) -> None:
        exporter.export(gauge(1, start_ns=MIDNIGHT_NS + 1_000, time_ns=MIDNIGHT_NS + 2_500_000_000))
        assert points_of(path, "start_time, time") == [
            {
                "start_time": datetime(2026, 1, 1, microsecond=1),
                "time": datetime(2026, 1, 1, second=2, microsecond=500_000),
            }
        ]

    @pytest.mark.parametrize("value", [math.inf, -math.inf, 1e308, -0.0, 2**53 + 1, 10**30])
    def test_may_have_any_value(self, exporter: Exporter, path: Path, value: float) -> None:
        exporter.export(gauge(value))
        assert points_of(path, "value") == [{"value": float(value)}]

    def test_may_be_no_number(self, exporter: Exporter, path: Path) -> None:
        exporter.export(gauge(math.nan))
        (row,) = points_of(path, "value")
        assert math.isnan(row["value"])

    def test_keep_attributes_but_no_long_text(self, exporter: Exporter, path: Path) -> None:
        attributes = {
            "long": "x" * 10_000,
            "list": ["a", 1, True, 1.5],
            "wide": 10**30,
            "odd": "\ud800",
            "quoted": 'it\'s "so"\n',
        }
        exporter.export(gauge(1, attributes))
        (row,) = points_of(path, "attributes")
        assert row["attributes"] == {
            "long": "x" * 256,
            "list": ["a", 1, True, 1.5],
            "wide": 1e30,
            "odd": "\\ud800",
            "quoted": 'it\'s "so"\n',
        }

    def test_that_cannot_be_read_cost_no_others(self, path: Path) -> None:
        exporter = Exporter(path)
        odd: list[MetricsData] = [
            gauge(1, {"a": object()}),
            gauge(1, time_ns=0),
            gauge(1, name=None),
        ]
        fine = gauge(1)
        data = MetricsData([of for each in (*odd, fine) for of in each.resource_metrics])
        assert exporter.export(data) is MetricExportResult.SUCCESS
        assert len(points_of(path)) == 1
        assert exporter.trouble.dropped == {"point": 3}

    def test_are_none_where_there_is_nothing_to_export(
        self, exporter: Exporter, path: Path
    ) -> None:
        assert exporter.export(MetricsData([])) is MetricExportResult.SUCCESS
        assert not path.exists()

    def test_never_have_exemplars_or_descriptions(self, exporter: Exporter, path: Path) -> None:
        exporter.export(gauge(1))
        assert "a description" not in str(points_of(path))

    def test_come_as_the_preferred_temporality_says(self, path: Path) -> None:
        exporter = Exporter(
            path, preferred_temporality={HistogramInstrument: AggregationTemporality.CUMULATIVE}
        )
        with meters(exporter) as provider:
            provider.get_meter("meter").create_histogram("h").record(1)
        assert points_of(path, "temporality") == [{"temporality": "cumulative"}]


class TestOnce:
    def test_a_drain_that_dies_after_its_commit_changes_nothing(
        self, exporter: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", _die)
            exporter.export(gauge(1))
        assert exporter.trouble.counts.pop("drain") == 1
        assert len(list(StorePaths.of(path).spool.iterdir())) == 1
        assert len(points_of(path)) == 1
        assert list(StorePaths.of(path).spool.iterdir()) == []
        exporter.export(gauge(2))
        assert len(points_of(path)) == 2
        assert len(query(path, "from drained_points")) == 1  # names of others are forgotten

    def test_a_file_that_was_not_finished_is_none(self, exporter: Exporter, path: Path) -> None:
        spool = StorePaths.of(path).spool
        spool.mkdir()
        torn = spool / "1.points.unfinished"
        torn.write_text('{"time_ns":1')
        exporter.export(gauge(1))
        assert len(points_of(path)) == 1
        assert not torn.exists()

    def test_a_file_that_is_being_written_is_left(self, exporter: Exporter, path: Path) -> None:
        spool = StorePaths.of(path).spool
        spool.mkdir()
        other = spool / "1.points.unfinished"
        other.touch()
        descriptor = open_locked(other, 1)
        assert descriptor is not None
        exporter.export(gauge(1))
        let_go(descriptor)
        assert other.exists()

    def test_a_file_that_somebody_cleaned_up_too_early_is_made_again(
        self, exporter: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def clean_up_first(file: Path, flags: int) -> int | None:
            descriptor = open_locked(file, flags)
            monkeypatch.undo()
            file.unlink()
            return descriptor

        monkeypatch.setattr(points, "open_locked", clean_up_first)
        assert exporter.export(gauge(1)) is MetricExportResult.SUCCESS
        assert len(points_of(path)) == 1

    def test_a_file_that_cannot_be_read_holds_up_no_others(
        self, exporter: Exporter, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = StorePaths.of(path).spool
        put_points(spool, b"{broken\n")
        exporter.export(gauge(1))
        assert len(points_of(path)) == 1
        assert [file.suffix for file in spool.iterdir()] == [".bad"]
        assert "cannot be read" in caplog.text


def _die(*_: Any, **__: Any) -> None:
    raise RuntimeError("killed")


class TestFailure:
    def test_is_said_when_the_points_could_not_be_kept(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        exporter = Exporter(tmp_path / "file" / "tokens.duckdb")  # beneath a file
        assert exporter.export(gauge(1)) is MetricExportResult.FAILURE
        assert exporter.trouble.dropped == {"spool_write": 1}

    def test_of_the_file_alone_costs_no_points(self, path: Path) -> None:
        path.write_text("not of DuckDB")
        exporter = Exporter(path)
        assert exporter.export(gauge(1)) is MetricExportResult.SUCCESS
        assert not exporter.force_flush()
        path.unlink()
        assert exporter.force_flush()
        assert len(points_of(path)) == 1

    def test_that_lasts_does_not_fill_the_disk(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.write_text("not of DuckDB")
        monkeypatch.setattr(points, "MOST_BYTES", 1_500)
        exporter = Exporter(path)
        done = [exporter.export(gauge(1)) for _ in range(10)]
        kept = done.count(MetricExportResult.SUCCESS)
        assert 1 <= kept < 10
        path.unlink()
        exporter.shutdown()
        assert len(points_of(path)) == kept


def test_a_periodic_reader_delivers_what_is_observed_and_counted(path: Path) -> None:
    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(10)]

    with meters(Exporter(path)) as provider:
        meter = provider.get_meter("meter")
        meter.create_observable_counter("observed", [observe])
        counter = meter.create_counter("counter")
        for _ in range(3):
            counter.add(2)
            assert provider.force_flush()
    assert query(path, "select name, sum(value) as s from metric_points group by 1 order by 1") == [
        {"name": "counter", "s": 6},
        {"name": "observed", "s": 10},
    ]


class meters:  # noqa: N801 - reads as a statement
    """A meter provider that exports to `exporter` when the block ends."""

    def __init__(self, exporter: Exporter) -> None:
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        self._provider = MeterProvider([reader], Resource(SHOP), shutdown_on_exit=False)

    def __enter__(self) -> MeterProvider:
        return self._provider

    def __exit__(self, *_: object) -> None:
        self._provider.force_flush()
        self._provider.shutdown()
