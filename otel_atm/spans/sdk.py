"""The SDK's spans: what we read of them and write to them.

The public ways cost: look-ups in `span.attributes` lock, and raise for what is not there (25 µs for
twelve of them); `set_attributes` takes 0.34 of a bare span for what one `dict.update` does in 0.01.
What lies behind them is used where it is what it was when this was written (opentelemetry-sdk
1.45); with anything else, everything goes the public way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import StatusCode, set_span_in_context

from otel_atm.semconv import ATM_CALL_ID

#: When a span starts: attributes (not to be kept), name of the instrumentation scope, trace id,
#: span id, span id of the parent (None without one), resource.
AtStart = tuple[Mapping[str, Any], str, int, int, int | None, Resource]
#: When it ends: attributes, span id, whether its status is ERROR, start and end (ns; None unknown).
AtEnd = tuple[Mapping[str, Any], int, bool, int | None, int | None]


class Access(NamedTuple):
    """One way to what we need of a span."""

    at_start: Callable[[ReadableSpan], AtStart]
    at_end: Callable[[ReadableSpan], AtEnd]
    write: Callable[[Span, Mapping[str, Any], str], None]


def at_start_public(span: ReadableSpan) -> AtStart:
    """As the API gives it."""
    scope, context, parent = span.instrumentation_scope, span.context, span.parent
    return (
        dict(span.attributes or {}),
        scope.name if scope is not None else "",
        context.trace_id,
        context.span_id,
        parent.span_id if parent is not None else None,
        span.resource,
    )


def at_end_public(span: ReadableSpan) -> AtEnd:
    """As the API gives it."""
    failed = span.status.status_code is StatusCode.ERROR
    attributes = dict(span.attributes or {})
    return attributes, span.context.span_id, failed, span.start_time, span.end_time


def write_public(span: Span, attributes: Mapping[str, Any], call_id: str) -> None:
    """As the API does it."""
    span.set_attributes({**attributes, ATM_CALL_ID: call_id})


def at_start_fast(span: ReadableSpan) -> AtStart:
    """As it lies there. A `SpanContext` is a tuple: the trace id, the span id, and more."""
    try:
        context, parent = span._context, span._parent
        return (
            span._attributes._dict,  # type: ignore[union-attr]
            span._instrumentation_scope._name,  # type: ignore[union-attr]
            context[0],  # type: ignore[index]
            context[1],  # type: ignore[index]
            parent and parent[1],
            span._resource,
        )
    except (AttributeError, TypeError):  # a span that was made by hand
        return at_start_public(span)


def at_end_fast(span: ReadableSpan) -> AtEnd:
    """As it lies there."""
    try:
        return (
            span._attributes._dict,  # type: ignore[union-attr]
            span._context[1],  # type: ignore[index]
            span._status._status_code is _ERROR,
            span._start_time,
            span._end_time,
        )
    except (AttributeError, TypeError):
        return at_end_public(span)


def write_fast(span: Span, attributes: Mapping[str, Any], call_id: str) -> None:
    """One update, within the span's own limits. Nobody else has the span yet: no lock is needed."""
    own = span._attributes
    if own.__class__ is BoundedAttributes and own.max_value_len is None:
        plain, most = own._dict, own.maxlen
        if most is None or len(plain) + len(attributes) < most:
            plain.update(attributes)
            plain[ATM_CALL_ID] = call_id
            return
    write_public(span, attributes, call_id)


_ERROR: Final = StatusCode.ERROR
PUBLIC: Final = Access(at_start_public, at_end_public, write_public)
FAST: Final = Access(at_start_fast, at_end_fast, write_fast)


def best_access() -> Access:
    """The fast way, where it gives what the public way gives on a span of this SDK."""
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("otel_atm.check")
    parent = tracer.start_span("parent")
    inside = set_span_in_context(parent)
    span = tracer.start_span("check", inside, attributes={"a": 1, "b": "x"})
    if not isinstance(span, Span):
        return PUBLIC  # OTEL_SDK_DISABLED: there will be no spans
    try:
        FAST.write(span, {"c": 2}, "id")
        alike = FAST.at_start(span) == PUBLIC.at_start(span) and len(PUBLIC.at_start(span)[0]) == 4
        span.set_status(StatusCode.ERROR)
        span.end()
        alike = alike and FAST.at_end(span) == PUBLIC.at_end(span)
    except AttributeError:
        alike = False
    return FAST if alike else PUBLIC
