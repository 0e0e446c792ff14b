"""The SDK's spans: what we read of them and write to them.

The public ways cost: look-ups in `span.attributes` lock, and raise for what is not there (25 µs for
twelve of them); `set_attributes` takes 0.34 of a bare span for what one `dict.update` does in 0.01.
What lies behind them is used where it is what it was when this was written (opentelemetry-sdk
1.45); with anything else, everything goes the public way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import SpanContext

#: (attributes, name of the instrumentation scope, context, parent); attributes are not to be kept.
Facts = tuple[Mapping[str, Any], str, SpanContext, SpanContext | None]


class Access(NamedTuple):
    """One way to the facts of a span."""

    look: Look
    write: Write


class Look(Protocol):
    """Reads a span."""

    def __call__(self, span: ReadableSpan) -> Facts:
        """Its facts."""
        ...


class Write(Protocol):
    """Sets attributes, whose values need no cleaning, on a span that is being started."""

    def __call__(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Set them."""
        ...


def look_public(span: ReadableSpan) -> Facts:
    """As the API gives it."""
    scope = span.instrumentation_scope
    name = scope.name if scope is not None else ""
    return dict(span.attributes or {}), name, span.context, span.parent


def write_public(span: Span, attributes: Mapping[str, Any]) -> None:
    """As the API does it."""
    span.set_attributes(attributes)


def look_fast(span: ReadableSpan) -> Facts:
    """As it lies there."""
    own, scope = span._attributes, span._instrumentation_scope
    if own.__class__ is not BoundedAttributes or scope is None or span._context is None:
        return look_public(span)
    return own._dict, scope._name, span._context, span._parent


def write_fast(span: Span, attributes: Mapping[str, Any]) -> None:
    """One update, within the span's own limits. Nobody else has the span yet: no lock is needed."""
    own = span._attributes
    if (
        own.__class__ is BoundedAttributes
        and own.max_value_len is None
        and (own.maxlen is None or len(own._dict) + len(attributes) <= own.maxlen)
    ):
        own._dict.update(attributes)
    else:
        span.set_attributes(attributes)


PUBLIC: Final = Access(look_public, write_public)
FAST: Final = Access(look_fast, write_fast)


def best_access() -> Access:
    """The fast way where it gives what the public way gives, on a span of this SDK."""
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("otel_atm.check").start_span("check", attributes={"a": 1, "b": "x"})
    if not isinstance(span, Span):
        return PUBLIC  # OTEL_SDK_DISABLED: there will be no spans
    try:
        alike = look_fast(span) == look_public(span)
        write_fast(span, {"c": 2})
        alike = alike and look_fast(span) == look_public(span) and look_public(span)[0]["c"] == 2
    except AttributeError:
        alike = False
    return FAST if alike else PUBLIC
