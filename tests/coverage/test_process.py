"""What a running process says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai  # loaded, as in a program that uses it
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

import otel_atm as atm
from otel_atm.coverage.examine import examine_process
from otel_atm.guards import install

assert openai.OpenAI


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    yield provider
    provider.shutdown()


@pytest.fixture
def processor() -> Iterator[atm.TokenSpanProcessor]:
    processor = atm.TokenSpanProcessor(ledger="memory")
    yield processor
    processor.retire()


@pytest.fixture
def guarding() -> Iterator[atm.TokenSpanProcessor]:
    processor = atm.TokenSpanProcessor(ledger="memory", guards=True)
    yield processor
    processor.retire()


def look(
    processor: atm.TokenSpanProcessor, provider: TracerProvider | None, *, guards: bool
) -> dict[str, atm.Finding]:
    diagnosis = examine_process(processor, provider, None, "memory", guards=guards)
    return {finding.name: finding for finding in diagnosis.findings}


def test_with_guards_it_says_on_what_they_stand(
    guarding: atm.TokenSpanProcessor, provider: TracerProvider
) -> None:
    assert any(name.startswith("httpx2.") for name in install.guarded())
    said = look(guarding, provider, guards=True)
    assert said["openai"].state == "enforced"
    assert said["openai"].loaded is True
    assert "httpx2" in said["guards"].why
    assert "openai" in said["guards"].why


def test_what_guards_stand_on_is_read_and_empty_without_them(
    guarding: atm.TokenSpanProcessor,
) -> None:
    standing = install.guarded()
    assert {"httpx2.Client.send", "httpx2.AsyncClient.send"} <= standing
    assert "openai._base_client.SyncAPIClient.request" in standing
    guarding.retire()
    assert install.guarded() == frozenset()


def test_a_client_whose_transport_could_not_be_guarded_is_unseen(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(httpx2, "AsyncClient")  # another version of it
    processor = atm.TokenSpanProcessor(ledger="memory", guards=True)
    try:
        said = look(processor, provider, guards=True)
    finally:
        processor.retire()
    assert said["openai"].state == "unseen"
    assert "cannot be guarded in this version" in said["openai"].why
    assert "httpx2 cannot be guarded" in caplog.text


def test_without_guards_it_needs_an_instrumentation_that_is_on(
    processor: atm.TokenSpanProcessor, provider: TracerProvider
) -> None:
    assert look(processor, provider, guards=False)["openai"].state == "unseen"
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        said = look(processor, provider, guards=False)
    finally:
        OpenAIInstrumentor().uninstrument()
    assert said["openai"].state == "enforced"
    assert said["opentelemetry-instrumentation-genai-openai"].loaded is True


def test_it_says_whether_the_processor_is_on_the_provider_and_where(
    processor: atm.TokenSpanProcessor, provider: TracerProvider
) -> None:
    assert look(processor, provider, guards=False)["processor"].state == "unseen"
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    said = look(processor, provider, guards=False)
    assert said["processor"].state == "fine"
    assert said["processor"].why == "on the provider; exporters before it: 1, after it: 1"
    assert said["provider"].why.startswith("not the global one")
    assert look(processor, None, guards=False)["provider"].state == "unseen"
    assert look(processor, None, guards=True)["provider"].state == "fine"


class Wrapping(type(ALWAYS_OFF)):  # type: ignore[misc]
    """Stands for the sampler of ours."""


Wrapping.__module__ = "otel_atm.spans.sampler"


@pytest.mark.parametrize(
    ("sampler", "states"),
    [
        (ALWAYS_ON, ("fine", "fine")),
        (ALWAYS_OFF, ("fine", "unseen")),
        (Wrapping(ALWAYS_OFF._decision), ("fine", "fine")),
        (None, ("fine", "fine")),
    ],
)
def test_a_sampler_that_drops_calls_is_told(
    processor: atm.TokenSpanProcessor, sampler: Any, states: tuple[str, str]
) -> None:
    dropping = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    found = [look(processor, dropping, guards=guards)["sampler"].state for guards in (True, False)]
    assert tuple(found) == states


def test_the_doctor_of_a_program(tmp_path: Path, provider: TracerProvider) -> None:
    with pytest.raises(atm.ConfigurationError, match="call otel_atm"):
        atm.doctor()
    handle = atm.init(provider, store=tmp_path / "tokens.duckdb", guards=True)
    try:
        diagnosis = atm.doctor()
        assert diagnosis.as_dict() == handle.doctor().as_dict() | {
            "findings": diagnosis.as_dict()["findings"]  # the clock goes on
        }
    finally:
        handle.shutdown()
    assert diagnosis.guards
    said = {finding.name: finding.state for finding in diagnosis.findings}
    assert (said["openai"], said["processor"]) == ("enforced", "fine")
    assert (said["store"], said["ledger"], said["clock"]) == ("fine", "fine", "fine")
