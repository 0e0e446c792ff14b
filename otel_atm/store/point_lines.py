"""Point lines: the points of OpenTelemetry metrics as lines of JSON, as the drain reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from otel_atm.event import ATTRIBUTE_LENGTH, TEXT_LENGTH
from otel_atm.semconv import SERVICE_NAME

_UNKNOWN_SERVICE: Final = "unknown_service"  # what the SDK says when nobody said anything
_TEMPORALITIES: Final = {
    AggregationTemporality.DELTA: "delta",
    AggregationTemporality.CUMULATIVE: "cumulative",
}
_LARGEST: Final = 1 << 53
_LATEST_NS: Final = 1 << 63
_LINE: Final = orjson.OPT_APPEND_NEWLINE
_SORTED: Final = orjson.OPT_SORT_KEYS

_Columns = dict[str, Any]


def point_lines(
    data: MetricsData, writer: str, failed: Callable[[Exception], None]
) -> Iterator[bytes]:
    """A line for each point; its keys are columns of ``metric_points``, its times nanoseconds.

    Exemplars and descriptions are left out: they may hold anything.

    Args:
        data: as the SDK exports it.
        writer: tells apart processes that report a series of one name.
        failed: is told of a point that cannot be written; the others go on.
    """
    for of_resource in data.resource_metrics:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_metrics:
            scope = {
                "scope_name": _text(of_scope.scope.name),
                "scope_version": _text(of_scope.scope.version or "") or None,
            }
            for metric in of_scope.metrics:
                for point in metric.data.data_points:
                    try:
                        yield _line({**resource, **scope, **_columns(metric, point)}, writer)
                    except (AttributeError, TypeError, ValueError) as error:
                        failed(error)


def _line(columns: _Columns, writer: str) -> bytes:
    identity = [
        columns[key] for key in ("name", "unit", "kind", "scope_name", "attributes", "resource")
    ]
    series = blake2b(orjson.dumps(identity, option=_SORTED), digest_size=8).hexdigest()
    return orjson.dumps({**columns, "series": series, "writer": writer}, option=_LINE)


def _resource(resource: Resource) -> _Columns:
    attributes = _attributes(resource.attributes)
    service = attributes.get(SERVICE_NAME)
    if not isinstance(service, str) or service.startswith(_UNKNOWN_SERVICE):
        service = None
    return {"service": service, "resource": attributes}


def _columns(metric: Metric, point: Any) -> _Columns:
    time_ns = _time(point.time_unix_nano)
    if time_ns is None:
        raise ValueError("no time")
    return {
        "name": _text(metric.name),
        "unit": _text(metric.unit or "") or None,
        "time_ns": time_ns,
        "start_ns": _time(point.start_time_unix_nano),  # a gauge has none
        "attributes": _attributes(point.attributes or {}),
        **_of_kind(metric.data, point),
    }


def _of_kind(data: object, point: Any) -> _Columns:
    """What points of this kind of metric have."""
    columns: _Columns
    if isinstance(data, Sum):
        columns = {"kind": "sum", "value": _number(point.value), "monotonic": data.is_monotonic}
    elif isinstance(data, Gauge):
        return {"kind": "gauge", "value": _number(point.value)}
    elif isinstance(data, Histogram):
        columns = {
            "kind": "histogram",
            **_distribution(point),
            "bounds": [_number(bound) for bound in point.explicit_bounds],
            "bucket_counts": list(point.bucket_counts),
        }
    elif isinstance(data, ExponentialHistogram):
        columns = {"kind": "exponential_histogram", **_distribution(point), **_buckets(point)}
    else:
        raise TypeError(f"no kind of metric that is known: {type(data).__name__}")
    return {**columns, "temporality": _TEMPORALITIES.get(data.aggregation_temporality)}


def _distribution(point: Any) -> _Columns:
    extremes = (point.min, point.max) if point.count else (None, None)  # else they are infinite
    return {
        "count": point.count,
        "sum": _number(point.sum),
        "min": _number(extremes[0]),
        "max": _number(extremes[1]),
    }


def _buckets(point: Any) -> _Columns:
    return {
        "scale": point.scale,
        "zero_count": point.zero_count,
        "positive_offset": point.positive.offset,
        "positive_counts": list(point.positive.bucket_counts),
        "negative_offset": point.negative.offset,
        "negative_counts": list(point.negative.bucket_counts),
    }


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _text(key, ATTRIBUTE_LENGTH): _value(value)
        for key, value in attributes.items()
        if value is not None
    }


def _value(value: object) -> Any:
    if isinstance(value, str):
        return _text(value, ATTRIBUTE_LENGTH)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return [_value(each) for each in value]
    raise TypeError(f"no attribute that is known: {type(value).__name__}")


def _time(time_ns: object) -> int | None:
    """If a row can have it: from 1970 to 2262."""
    return time_ns if isinstance(time_ns, int) and 0 < time_ns < _LATEST_NS else None


def _number(number: float | None) -> float | str | None:
    """As JSON has it; what is not finite, and what is too large for it, in words."""
    if number is None or (isinstance(number, int) and -_LARGEST <= number <= _LARGEST):
        return number
    number = float(number)
    return number if math.isfinite(number) else str(number)


def _text(text: str, most: int = TEXT_LENGTH) -> str:
    """Its beginning, with lone surrogates, which are no Unicode, written out in ASCII."""
    return text[:most].encode("utf-8", "backslashreplace").decode()
