"""Two ways to the facts of a span, which have to agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from otel_atm.spans.sdk import FAST, PUBLIC, best_access

LIMITS = {
    "no limits": SpanLimits(max_attributes=SpanLimits.UNSET, max_attribute_length=SpanLimits.UNSET),
    "the SDK's own": None,
    "one attribute": SpanLimits(max_span_attributes=1),
    "room for all but one": SpanLimits(max_span_attributes=4),
    "room for all": SpanLimits(max_span_attributes=5),
    "none at all": SpanLimits(max_span_attributes=0),
    "short values": SpanLimits(max_span_attribute_length=3),
}
OWN: Mapping[str, Any] = {"a": 1, "b": "long enough"}
OURS: Mapping[str, Any] = {"atm.user": "annabelle", "atm.tags": ("production", "b")}
REMOTE = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def start(limits: SpanLimits | None = None, attributes: Mapping[str, Any] = OWN) -> Span:
    provider = TracerProvider(
        resource=Resource({"service.name": "api"}), span_limits=limits, shutdown_on_exit=False
    )
    parent = set_span_in_context(NonRecordingSpan(REMOTE))
    span = provider.get_tracer("openai", "1.0").start_span(
        "chat", parent, attributes=attributes, start_time=1
    )
    assert isinstance(span, Span)
    return span


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_both_ways_see_the_same_when_a_span_starts(limits: SpanLimits | None) -> None:
    span = start(limits)
    assert FAST.at_start(span) == PUBLIC.at_start(span)
    assert PUBLIC.at_start(span) == (
        dict(span.attributes or {}),
        "openai",
        span.context.trace_id,
        span.context.span_id,
        0xB,
        span.resource,
    )


def test_a_root_has_no_parent() -> None:
    span: Any = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("root")
    assert FAST.at_start(span) == PUBLIC.at_start(span)
    assert PUBLIC.at_start(span)[4] is None


@pytest.mark.parametrize("status", [None, StatusCode.OK, StatusCode.ERROR])
def test_both_ways_see_the_same_when_it_ends(status: StatusCode | None) -> None:
    ended: list[ReadableSpan] = []

    class Catch(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Catch())
    span = provider.get_tracer("x").start_span("chat", attributes=OWN, start_time=1)
    if status is not None:
        span.set_status(status)
    span.end(2)
    (readable,) = ended
    assert FAST.at_end(readable) == PUBLIC.at_end(readable)
    assert PUBLIC.at_end(readable) == (
        OWN,
        span.get_span_context().span_id,
        status is StatusCode.ERROR,
        1,
        2,
    )


def by_hand(**parts: Any) -> ReadableSpan:
    return ReadableSpan("made by hand", context=REMOTE, **parts)


@pytest.mark.parametrize(
    "span",
    [
        by_hand(),
        by_hand(attributes=OWN),
        by_hand(attributes=OWN, parent=REMOTE, start_time=1, end_time=2),
    ],
    ids=["bare", "with attributes", "with a parent and times"],
)
def test_both_ways_read_a_span_that_was_made_by_hand(span: ReadableSpan) -> None:
    assert FAST.at_start(span) == PUBLIC.at_start(span)
    assert FAST.at_end(span) == PUBLIC.at_end(span)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_both_ways_write_the_same(limits: SpanLimits | None) -> None:
    fast, public = start(limits), start(limits)
    FAST.write(fast, OURS, "id")
    PUBLIC.write(public, OURS, "id")
    assert dict(fast.attributes or {}) == dict(public.attributes or {})
    assert fast.dropped_attributes == public.dropped_attributes


names = st.sampled_from([f"key{number}" for number in range(8)])
written = st.dictionaries(names, st.text(max_size=6) | st.tuples(st.text(max_size=6)), max_size=6)


@given(
    st.dictionaries(names, st.text(max_size=6), max_size=8),
    written,
    st.none() | st.integers(min_value=0, max_value=12),
    st.none() | st.integers(min_value=0, max_value=4),
)
def test_whatever_is_written_within_whatever_limits(
    own: dict[str, Any], ours: dict[str, Any], most: int | None, longest: int | None
) -> None:
    limits = SpanLimits(
        max_span_attributes=SpanLimits.UNSET if most is None else most,
        max_span_attribute_length=SpanLimits.UNSET if longest is None else longest,
    )
    fast, public = start(limits, own), start(limits, own)
    FAST.write(fast, ours, "id")
    PUBLIC.write(public, ours, "id")
    assert dict(fast.attributes or {}) == dict(public.attributes or {})


def test_the_fast_way_is_taken_where_it_gives_the_same() -> None:
    assert best_access() is FAST


def test_an_sdk_that_looks_different_is_read_the_public_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "otel_atm.spans.sdk.FAST", FAST._replace(at_start=lambda span: PUBLIC.at_start(span)[1:])
    )
    assert best_access() is PUBLIC


def test_so_is_one_whose_parts_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(span: Span, attributes: Mapping[str, Any], call_id: str) -> None:
        raise AttributeError("_dict")

    monkeypatch.setattr("otel_atm.spans.sdk.FAST", FAST._replace(write=gone))
    assert best_access() is PUBLIC


def test_a_disabled_sdk_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert best_access() is PUBLIC
