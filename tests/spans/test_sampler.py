from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    Decision,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

import otel_atm as atm
from otel_atm.ledger import MemoryLedger
from otel_atm.spans.emitters import EMITTERS
from otel_atm.spans.sampler import CallSampler, unwrap_samplers, wrap_samplers
from otel_atm.testing import ManualClock, ProviderServer
from otel_atm.trouble import Trouble
from tests.conftest import CHAT, USED, Metered

CALLS: list[tuple[str, Attributes]] = [
    ("chat gpt-5.1", CHAT),
    ("invoke_agent a", {"gen_ai.operation.name": "invoke_agent"}),
    ("ChatCompletion", {"openinference.span.kind": "LLM"}),
    *[(f"{start}m", None) for emitter in EMITTERS for start in emitter.names],
]
OTHERS: list[tuple[str, Attributes]] = [
    ("GET", {"http.request.method": "GET"}),
    ("chat about cats", {"topic": "cats"}),
    ("handle", None),
    ("handle", {}),
]


class Says(Sampler):
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, result: SamplingResult) -> None:
        self.result = result
        self.asked: list[tuple[Any, ...]] = []

    def should_sample(self, *asked: Any) -> SamplingResult:  # type: ignore[override]
        self.asked.append(asked)
        return self.result

    def get_description(self) -> str:
        return "Says"


def decide(inner: Sampler, name: str, attributes: Attributes) -> SamplingResult:
    return CallSampler(inner, Trouble()).should_sample(
        None, 1, name, SpanKind.CLIENT, attributes, ()
    )


@pytest.mark.parametrize(("name", "attributes"), CALLS)
def test_a_call_that_is_dropped_is_recorded_with_what_it_says(
    name: str, attributes: Attributes
) -> None:
    result = decide(ALWAYS_OFF, name, attributes)
    assert result.decision is Decision.RECORD_ONLY
    assert result.attributes == (attributes or {})


@pytest.mark.parametrize(("name", "attributes"), OTHERS)
def test_anything_else_that_is_dropped_stays_dropped(name: str, attributes: Attributes) -> None:
    inner = Says(SamplingResult(Decision.DROP))
    assert decide(inner, name, attributes) is inner.result


@pytest.mark.parametrize("decision", [Decision.RECORD_ONLY, Decision.RECORD_AND_SAMPLE])
@pytest.mark.parametrize(("name", "attributes"), [CALLS[0], OTHERS[0]])
def test_what_is_not_dropped_is_left_alone(
    decision: Decision, name: str, attributes: Attributes
) -> None:
    inner = Says(SamplingResult(decision, {"a": 1}))
    assert decide(inner, name, attributes) is inner.result


def test_what_the_inner_sampler_adds_is_kept() -> None:
    state = TraceState([("vendor", "1")])
    inner = Says(SamplingResult(Decision.DROP, {"rate": 0.1}, state))
    result = decide(inner, "chat", CHAT)
    assert (result.attributes, result.trace_state) == ({**CHAT, "rate": 0.1}, state)


def test_the_inner_sampler_is_asked_what_was_asked() -> None:
    inner, context, link = Says(SamplingResult(Decision.DROP)), Context(), ()
    sampler, state = CallSampler(inner, Trouble()), TraceState()
    sampler.should_sample(context, 7, "chat", SpanKind.CLIENT, CHAT, link)
    sampler.should_sample(context, 7, "chat", SpanKind.CLIENT, CHAT, link, state)
    asked = (context, 7, "chat", SpanKind.CLIENT, CHAT, link)
    assert inner.asked == [asked, (*asked, state)]


def test_its_description_names_the_inner_one() -> None:
    assert CallSampler(ALWAYS_OFF, Trouble()).get_description() == (
        "OtelAtmCallSampler{AlwaysOffSampler}"
    )


def test_what_the_inner_sampler_raises_comes_through() -> None:
    class Broken(Says):
        def should_sample(self, *_: Any) -> SamplingResult:  # type: ignore[override]
            raise LookupError("no rule")

    with pytest.raises(LookupError):
        decide(Broken(SamplingResult(Decision.DROP)), "chat", CHAT)


def test_what_fails_in_here_is_counted_and_the_span_is_dropped() -> None:
    trouble = Trouble()
    result = CallSampler(ALWAYS_OFF, trouble).should_sample(
        None,
        1,
        "chat",
        None,
        ["gen_ai.operation.name", []],  # type: ignore[arg-type]
    )
    assert (result.decision, trouble.counts) == (Decision.DROP, {"sampler": 1})


class TestAProvider:
    def test_shows_dropped_calls_of_its_tracers_old_and_new(self) -> None:
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        old = provider.get_tracer("old")
        wrap_samplers(provider, Trouble())
        for tracer in (old, provider.get_tracer("new")):
            span = tracer.start_span("chat", attributes=CHAT)
            assert span.is_recording()
            assert not span.get_span_context().trace_flags.sampled
            assert not tracer.start_span("GET").is_recording()

    def test_is_wrapped_once_and_each_sampler_of_its_tracers_by_one(self) -> None:
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        odd, one, two = (provider.get_tracer(name) for name in ("odd", "one", "two"))
        odd.sampler = ALWAYS_ON  # type: ignore[attr-defined]
        trouble = Trouble()
        wrap_samplers(provider, trouble)
        before = [provider.sampler, odd.sampler, one.sampler]  # type: ignore[attr-defined]
        wrap_samplers(provider, trouble)
        after = [provider.sampler, odd.sampler, two.sampler]  # type: ignore[attr-defined]
        assert before == after
        assert [sampler.inner for sampler in after] == [ALWAYS_OFF, ALWAYS_ON, ALWAYS_OFF]

    def test_gets_its_samplers_back(self) -> None:
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        odd = provider.get_tracer("odd")
        odd.sampler = DEFAULT_OFF  # type: ignore[attr-defined]
        wrap_samplers(provider, Trouble())
        new = provider.get_tracer("new")
        unwrap_samplers(provider)
        unwrap_samplers(provider)
        found = [provider.sampler, odd.sampler, new.sampler]  # type: ignore[attr-defined]
        assert found == [ALWAYS_OFF, DEFAULT_OFF, ALWAYS_OFF]

    def test_that_somebody_else_has_wrapped_since_drops_calls_again(self) -> None:
        class Theirs(Sampler):
            def __init__(self, inner: Sampler) -> None:
                self.inner = inner

            def should_sample(
                self,
                parent_context: Context | None,
                trace_id: int,
                name: str,
                kind: SpanKind | None = None,
                attributes: Attributes = None,
                links: Sequence[Link] | None = None,
                trace_state: TraceState | None = None,
            ) -> SamplingResult:
                return self.inner.should_sample(parent_context, trace_id, name, kind, attributes)

            def get_description(self) -> str:
                return "Theirs"

        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        wrap_samplers(provider, Trouble())
        provider.sampler = theirs = Theirs(provider.sampler)
        tracer = provider.get_tracer("x")
        assert tracer.start_span("chat", attributes=CHAT).is_recording()
        unwrap_samplers(provider)
        assert provider.sampler is theirs
        assert not tracer.start_span("chat", attributes=CHAT).is_recording()


@pytest.fixture
def unsampled(metered: Callable[..., Metered]) -> Metered:
    """Metered, but nothing is sampled: as with ``OTEL_TRACES_SAMPLER=parentbased_always_off``."""
    made = metered("1 request / minute")
    made.provider.add_span_processor(BatchSpanProcessor(made.exporter))
    made.provider.sampler = DEFAULT_OFF
    wrap_samplers(made.provider, made.gate.trouble)
    return made


def test_calls_that_are_sampled_out_are_metered_and_refused_and_not_exported(
    unsampled: Metered,
) -> None:
    unsampled.call()
    with pytest.raises(atm.TokenQuotaExceeded):
        unsampled.call()
    unsampled.provider.force_flush()
    assert [(row.decision, row.total_tokens) for row in unsampled.rows] == [
        ("allowed", 18),
        ("refused", 0),
    ]
    assert unsampled.exported == ()


def test_a_call_below_a_call_that_was_sampled_out_is_seen_too(unsampled: Metered) -> None:
    """As instrumentations of a framework and of its client make them."""
    with unsampled.span(CHAT, emitter="framework"):
        assert trace.get_current_span().is_recording()
        inner = unsampled.start(CHAT, emitter="client")
        assert inner.is_recording()
        unsampled.end(inner, USED)
    assert [row.total_tokens for row in unsampled.rows] == [18]
    assert unsampled.exported == ()


def test_a_sampled_part_of_the_calls_is_exported_and_all_are_metered(
    metered: Callable[..., Metered],
) -> None:
    made = metered()
    made.provider.sampler = TraceIdRatioBased(0.5)
    wrap_samplers(made.provider, made.gate.trouble)
    for _ in range(64):
        made.call()
    assert len(made.rows) == 64
    assert 0 < len(made.exported) < 64


class TestInit:
    def set_up(self, provider: TracerProvider, clock: ManualClock, **more: Any) -> atm.Handle:
        return atm.init(provider, ["1 request / month"], MemoryLedger(), None, clock=clock, **more)

    def test_lets_dropped_calls_be_refused(self, clock: ManualClock) -> None:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(ALWAYS_OFF, Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("openai")
        handle = self.set_up(provider, clock)
        try:
            tracer.start_span("chat", attributes=CHAT).end()
            with pytest.raises(atm.TokenQuotaExceeded):
                tracer.start_span("chat", attributes=CHAT)
        finally:
            handle.shutdown()
        assert exporter.get_finished_spans() == ()
        assert provider.sampler is ALWAYS_OFF
        assert not tracer.start_span("chat", attributes=CHAT).is_recording()

    def test_without_sampler_they_are_not_seen(self, clock: ManualClock) -> None:
        provider = TracerProvider(ALWAYS_OFF, Resource({}), shutdown_on_exit=False)
        handle = self.set_up(provider, clock, sampler=False)
        try:
            assert provider.sampler is ALWAYS_OFF
        finally:
            handle.shutdown()


DISABLED = """
import sys
import httpx
import otel_atm as atm

url, path, guards = sys.argv[1:]
handle = atm.init(budgets=["1 request / month"], store=path, guards=guards == "True")
body = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hi"}]}
print(httpx.post(url, json=body).status_code)
try:
    httpx.post(url, json=body)
except atm.TokenQuotaExceeded:
    print("refused")
handle.shutdown()
"""


@pytest.mark.parametrize("guards", [True, False])
def test_without_any_spans_guards_still_meter_and_refuse(tmp_path: Path, *, guards: bool) -> None:
    """``OTEL_SDK_DISABLED=true``: neither samplers nor processors are asked."""
    path = tmp_path / "tokens.duckdb"
    with ProviderServer() as server:
        url = f"{server.openai_url}/chat/completions"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", DISABLED, url, path, str(guards)],
            env={"OTEL_SDK_DISABLED": "true", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if not guards:
            assert (done.stdout, server.requests) == ("200\n", 2)
            assert "budgets are idle" in done.stderr
            return
        assert (done.stdout, done.stderr, server.requests) == ("200\nrefused\n", "", 1)
    with atm.connect(path) as db:
        rows = db.sql("select source, decision from usage_events order by ts, event_id").fetchall()
    assert rows == [("guard", "allowed"), ("guard", "refused")]
