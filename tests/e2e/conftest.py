"""Real clients under real instrumentations, metered, against a provider on the loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
from opentelemetry.instrumentation.genai.anthropic import wrappers as anthropic_wrappers
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_atm as atm
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import Asked, ManualClock, ProviderServer, Reported, Tokens

#: No test gets near it; its label is how tests find what was charged in all.
PLENTY = atm.Budget("1000M tokens / month", name="plenty")

#: What a row says of a call of which nothing is known: the default hold, half of it input.
UNKNOWN = (500, 500, 0, 0, 0, 1000)
NOTHING = (0, 0, 0, 0, 0, 0)

Row = dict[str, Any]


def spending(asked: Asked) -> Tokens:
    """Other tokens for each length of a prompt, in every field, so that no mix-up goes unseen."""
    length = asked.characters
    return Tokens(
        input=100 + length,
        output=40 + length % 17,
        cache_read=length % 50,
        cache_write=length % 31,
        reasoning=1 + length % 13,
    )


class Program:
    """A program whose LLM calls may be metered, with all that comes out of it.

    Its clock stands still, so no window ever ends in the middle of a test.
    """

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "tokens.duckdb"
        self.clock = clock
        self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.processor: atm.TokenSpanProcessor | None = None
        #: What our loggers will have said when the test is over: a part of each message.
        self.trouble: list[str] = []

    def meter(self, *budgets: atm.Budget | str, joined: bool = True, **settings: Any) -> Program:
        """Meter it from now on; unless `joined`, without its spans; by spans alone, unless told."""
        settings.setdefault("guards", False)
        self.processor = atm.TokenSpanProcessor(
            budgets or [PLENTY],
            settings.pop("ledger", MemoryLedger()),
            settings.pop("store", self.path),
            meter_provider=self.meter_provider,
            clock=self.clock,
            **settings,
        )
        if joined:
            self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return self

    def rows(self, where: str = "true") -> list[Row]:
        """All rows of the file, in the order of admission."""
        with atm.connect(self.path) as db:
            found = db.sql(f"from usage_events where {where} order by ts, event_id")
            return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def row(self) -> Row:
        """The only row."""
        (row,) = self.rows()
        return row

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was exported, first ended first."""
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, dict[frozenset[tuple[str, Any]], float]]:
        """Name → attributes → value, of our meter."""
        collected = self.reader.get_metrics_data()
        assert collected is not None
        return {
            metric.name: {
                frozenset((point.attributes or {}).items()): point.value  # type: ignore[union-attr]
                for point in metric.data.data_points
            }
            for resource in collected.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if scope.scope.name == "otel_atm"
        }

    def charged(self, budget: str = PLENTY.label) -> tuple[float, float]:
        """(used, held) of a budget's fullest account."""
        metrics, key = self.metrics(), frozenset({("atm.budget.name", budget)})
        return metrics["atm.budget.used"][key], metrics["atm.budget.held"][key]

    def close(self) -> None:
        if self.processor is not None:
            self.processor.retire()
        self.provider.shutdown()
        self.meter_provider.shutdown()


class Said(logging.Handler):
    """Keeps what our loggers say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def tokens(row: Mapping[str, Any]) -> tuple[int, int, int, int, int, int]:
    """All amounts of a row."""
    return (
        row["input_tokens"],
        row["output_tokens"],
        row["cache_read_tokens"],
        row["cache_write_tokens"],
        row["reasoning_tokens"],
        row["total_tokens"],
    )


def told(line: Reported) -> tuple[int, ...]:
    """All amounts that the provider told its client, as they should stand in a row."""
    counts = line.tokens
    return (
        counts.input,
        counts.output,
        counts.cache_read,
        counts.cache_write,
        counts.reasoning,
        counts.input + counts.output,
    )


def assert_equals_the_report(
    program: Program, server: ProviderServer, *, ordered: bool = True
) -> list[Row]:
    """Row by row and in sum, the file says what the server told, and so does the budget."""
    rows, lines = program.rows(), server.reported
    assert lines
    assert all(line.told for line in lines)
    found = [(row["model"], row["status"], row["estimated"], *tokens(row)) for row in rows]
    wanted = [(line.model, "ok", False, *told(line)) for line in lines]
    if ordered:
        assert found == wanted
    else:
        assert Counter(found) == Counter(wanted)
    total = server.total_told()
    assert program.charged() == (total.input + total.output, 0)
    with atm.connect(program.path) as db:
        (minutes,) = db.sql(
            "select sum(calls), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), "
            "sum(cache_write_tokens), sum(reasoning_tokens), sum(total_tokens) from usage_1m"
        ).fetchall()
    assert minutes == (
        len(lines),
        total.input,
        total.output,
        total.cache_read,
        total.cache_write,
        total.reasoning,
        total.input + total.output,
    )
    return rows


def assert_each_is_estimated(
    program: Program, number: int, status: str, expected: tuple[int, ...] = UNKNOWN
) -> list[Row]:
    """That many rows, each of an ending of which nothing is known: charged, and marked."""
    rows = program.rows()
    found = [(row["status"], row["estimated"], tokens(row)) for row in rows]
    assert found == [(status, True, expected)] * number
    assert program.charged() == (expected[-1] * number, 0)
    return rows


def assert_each_is_free(program: Program, number: int) -> list[Row]:
    """That many rows, each of a call that failed before it cost anything."""
    rows = program.rows()
    found = [(row["status"], row["estimated"], tokens(row)) for row in rows]
    assert found == [("error", False, NOTHING)] * number
    assert program.charged() == (0, 0)
    return rows


class AppError(Exception):
    """The application's own."""


def fail_in_the_midst_of(stream: Any, text: str = "") -> None:
    """An application that fails at the first event."""
    with stream as events:
        for _ in events:
            raise AppError(text)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def cancelled_once_it_is_sent(call: Coroutine[Any, Any, Any], server: ProviderServer) -> None:
    """Start a call, wait until its request has arrived, and cancel its task."""
    task = asyncio.create_task(call)
    await asyncio.to_thread(server.wait_requests, server.requests + 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture(scope="session")
def running_server() -> Iterator[ProviderServer]:
    with ProviderServer(spending) as server:
        yield server


@pytest.fixture
def server(running_server: ProviderServer) -> Iterator[ProviderServer]:
    running_server.reset()
    yield running_server
    running_server.reset()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside turns content capture, exporters or proxies on."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "ANTHROPIC_", "OPENAI_", "ATM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def blank(tmp_path: Path, clock: ManualClock) -> Iterator[Program]:
    """A program that a test meters as it likes; nothing but what it expects may go wrong."""
    said = Said()
    logger = logging.getLogger("otel_atm")
    logger.addHandler(said)
    program = Program(tmp_path, clock)
    try:
        yield program
        program.close()
    finally:
        logger.removeHandler(said)
    assert len(said.messages) == len(program.trouble), said.messages
    for message, part in zip(said.messages, program.trouble, strict=True):
        assert part in message


@pytest.fixture
def program(blank: Program) -> Program:
    """A program with more budget than it can spend."""
    return blank.meter()


@pytest.fixture
def closed_url() -> Iterator[str]:
    """A port that refuses connections: ours, but nobody listens."""
    with socket.socket() as unlistened:
        unlistened.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unlistened.getsockname()[1]}"


@contextmanager
def instrumented_openai(program: Program) -> Iterator[None]:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=program.provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def instrumented_anthropic(program: Program) -> Iterator[None]:
    instrumentor = AnthropicInstrumentor()
    # One odd stream makes this instrumentation give up reading streams, for the whole process.
    anthropic_wrappers._accumulation_disabled = False
    instrumentor.instrument(tracer_provider=program.provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()
        anthropic_wrappers._accumulation_disabled = False


@pytest.fixture(scope="session")
def openai_base(running_server: ProviderServer) -> Iterator[openai.OpenAI]:
    url = running_server.openai_url
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_base(running_server: ProviderServer) -> Iterator[anthropic.Anthropic]:
    url = running_server.anthropic_url
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def oai(blank: Program, server: ProviderServer, openai_base: openai.OpenAI) -> Iterator[Any]:
    """An OpenAI client under genai-openai."""
    with instrumented_openai(blank):
        yield openai_base.with_options()


@pytest.fixture
def async_oai(blank: Program, server: ProviderServer) -> Iterator[Callable[..., Any]]:
    """Makes async OpenAI clients under genai-openai; close them in their event loop."""

    def make(**options: Any) -> openai.AsyncOpenAI:
        settings: Any = {"base_url": server.openai_url, "api_key": "k", "max_retries": 0}
        return openai.AsyncOpenAI(**settings | options)

    with instrumented_openai(blank):
        yield make


@pytest.fixture
def native_claude(
    blank: Program, server: ProviderServer, anthropic_base: anthropic.Anthropic
) -> anthropic.Anthropic:
    """An Anthropic client that makes its own spans, and nobody else does."""
    return anthropic_base.with_options(open_telemetry={"tracer_provider": blank.provider})


@pytest.fixture
def claude(blank: Program, native_claude: anthropic.Anthropic) -> Iterator[Any]:
    """An Anthropic client under genai-anthropic, which makes its own spans below those."""
    with instrumented_anthropic(blank):
        yield native_claude


@pytest.fixture
def native_async_claude(blank: Program, server: ProviderServer) -> Callable[..., Any]:
    """Makes async Anthropic clients with their own spans only."""

    def make(**options: Any) -> anthropic.AsyncAnthropic:
        settings: Any = {"base_url": server.anthropic_url, "api_key": "k", "max_retries": 0}
        settings["open_telemetry"] = {"tracer_provider": blank.provider}
        return anthropic.AsyncAnthropic(**settings | options)

    return make


@pytest.fixture
def async_claude(
    blank: Program, native_async_claude: Callable[..., Any]
) -> Iterator[Callable[..., Any]]:
    """Makes async Anthropic clients under genai-anthropic; close them in their event loop."""
    with instrumented_anthropic(blank):
        yield native_async_claude
