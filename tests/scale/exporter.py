"""Rows of ended spans, as the collector's ClickHouse exporter writes them into `otel_traces`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan


def rows_of(spans: Iterable[ReadableSpan]) -> list[dict[str, Any]]:
    """One for each span."""
    return [_row(span) for span in spans]


def _row(span: ReadableSpan) -> dict[str, Any]:
    context, scope = span.get_span_context(), span.instrumentation_scope
    assert context is not None
    assert scope is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return {
        "Timestamp": f"{span.start_time // 10**9}.{span.start_time % 10**9:09d}",
        "TraceId": f"{context.trace_id:032x}",
        "SpanId": f"{context.span_id:016x}",
        "ParentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "SpanName": span.name,
        "SpanKind": span.kind.name.capitalize(),
        "ServiceName": str(span.resource.attributes.get("service.name", "")),
        "ResourceAttributes": _texts(span.resource.attributes),
        "ScopeName": scope.name,
        "SpanAttributes": _texts(span.attributes or {}),
        "Duration": span.end_time - span.start_time,
        "StatusCode": span.status.status_code.name.capitalize(),
        "StatusMessage": span.status.description or "",
    }


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Every value is a text; what is none is written as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for key, value in attributes.items()
    }
