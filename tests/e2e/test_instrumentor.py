"""The instrumentor: by hand, and by ``opentelemetry-instrument`` with nothing but variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm import handle
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock, ProviderServer
from otel_atm.variables import keywords
from tests.conftest import CHAT
from tests.no_code import Run, instrumented


@pytest.fixture
def instrumentor() -> Iterator[atm.OtelAtmInstrumentor]:
    instrumentor = atm.OtelAtmInstrumentor()
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    assert handle._handle is None


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    yield provider
    provider.shutdown()


class TestByHand:
    def test_it_sets_up_what_its_keywords_say(
        self,
        instrumentor: atm.OtelAtmInstrumentor,
        provider: TracerProvider,
        clock: ManualClock,
    ) -> None:
        instrumentor.instrument(
            tracer_provider=provider,
            budgets=["1 request / month"],
            ledger=MemoryLedger(),
            store=None,
            clock=clock,
        )
        tracer = provider.get_tracer("openai")
        tracer.start_span("chat", attributes=CHAT).end()
        with pytest.raises(atm.TokenQuotaExceeded):
            tracer.start_span("chat", attributes=CHAT)
        instrumentor.uninstrument()
        tracer.start_span("chat", attributes=CHAT).end()

    def test_variables_say_what_its_keywords_leave_open(
        self,
        instrumentor: atm.OtelAtmInstrumentor,
        provider: TracerProvider,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ATM_BUDGETS", "1 request / month")
        monkeypatch.setenv("ATM_DB", "none")
        monkeypatch.setenv("ATM_LEDGER", "sqlite:///not.used")
        instrumentor.instrument(tracer_provider=provider, ledger="memory")
        tracer = provider.get_tracer("openai")
        tracer.start_span("chat", attributes=CHAT).end()
        with pytest.raises(atm.TokenQuotaExceeded):
            tracer.start_span("chat", attributes=CHAT)
        assert not Path("not.used").exists()

    def test_a_keyword_that_cannot_be_used_is_an_error(
        self, instrumentor: atm.OtelAtmInstrumentor, provider: TracerProvider
    ) -> None:
        with pytest.raises(atm.ConfigurationError, match="guards='yes'"):
            instrumentor.instrument(tracer_provider=provider, store=None, guards="yes")
        assert not instrumentor.is_instrumented_by_opentelemetry

    def test_asked_for_nothing_it_does_nothing_and_may_be_asked_again(
        self, instrumentor: atm.OtelAtmInstrumentor, provider: TracerProvider
    ) -> None:
        instrumentor.instrument()
        assert handle._handle is None
        instrumentor.instrument(tracer_provider=provider, store=None)
        assert handle._handle is not None

    def test_variables_that_cannot_be_used_are_logged_and_nothing_is_metered(
        self,
        instrumentor: atm.OtelAtmInstrumentor,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv("ATM_BUDGETS", "many tokens")
        instrumentor.instrument()
        (record,) = caplog.records
        assert "nothing is metered" in record.getMessage()
        assert "many tokens" in record.getMessage()
        assert handle._handle is None


class TestVariables:
    def test_all_of_them(self) -> None:
        said = {
            "ATM_BUDGETS": "500 tokens / minute per user; 10 USD / month ;",
            "ATM_DB": "/data/tokens.duckdb",
            "ATM_LEDGER": "memory",
            "ATM_PRICES": "prices.toml",
            "ATM_DEFAULT_HOLD": "200",
            "ATM_BAGGAGE_KEYS": "user, team",
            "ATM_GUARDS": "True",
            "ATM_GATEWAYS": "llm.acme.dev=openai, *.acme.dev = azure.ai.openai",
            "ATM_SAMPLER": "false",
            "ATM_INCLUDE_USAGE": "1",
            "ATM_CARRY_CONTEXT": "0",
        }
        assert keywords(said) == {
            "budgets": ["500 tokens / minute per user", "10 USD / month"],
            "store": "/data/tokens.duckdb",
            "ledger": "memory",
            "prices": "prices.toml",
            "default_hold": 200,
            "baggage_keys": ["user", "team"],
            "guards": True,
            "gateways": {"llm.acme.dev": "openai", "*.acme.dev": "azure.ai.openai"},
            "sampler": False,
            "include_usage": True,
            "carry_context": False,
        }

    def test_none_and_empty_ones_say_nothing(self) -> None:
        assert keywords({}) == {}
        assert keywords({"ATM_BUDGETS": " ", "ATM_DB": "", "ATM_GUARDS": ""}) == {}

    @pytest.mark.parametrize("path", ["budgets.yaml", "/etc/b.yml", "b.toml"])
    def test_budgets_may_be_a_file(self, path: str) -> None:
        assert keywords({"ATM_BUDGETS": path}) == {"budgets": path}

    def test_nothing_is_kept_if_they_say_so(self) -> None:
        assert keywords({"ATM_DB": "none"}) == {"store": None}

    def test_what_is_old_is_deleted_if_they_say_so(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens.duckdb"
        store = keywords({"ATM_DB": str(path), "ATM_KEEP_EVENTS": "90 days"})["store"]
        assert isinstance(store, atm.Store)
        assert (store.paths.database, keywords({"ATM_KEEP_EVENTS": ""})) == (path, {})

    def test_where_nothing_is_kept_nothing_is_deleted(self) -> None:
        assert keywords({"ATM_DB": "none", "ATM_KEEP_ROLLUPS": "1y"}) == {"store": None}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ATM_KEEP_EVENTS", "90"),
            ("ATM_KEEP_ROLLUPS", "soon"),
            ("ATM_GUARDS", "maybe"),
            ("ATM_DEFAULT_HOLD", "much"),
            ("ATM_GATEWAYS", "llm.acme.dev"),
        ],
    )
    def test_what_cannot_be_read_is_quoted(self, name: str, value: str) -> None:
        with pytest.raises(atm.ConfigurationError, match=f"{name}='{value}'"):
            keywords({name: value})


PROGRAM = """
import sys
import openai
from opentelemetry import trace

client = openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0)
for _ in range(2):
    try:
        client.chat.completions.create(
            model="gpt-5.1", messages=[{"role": "user", "content": "hi"}]
        )
        print("answered")
    except Exception as error:
        print(type(error).__name__)
print(type(trace.get_tracer_provider()).__name__)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return instrumented(tmp_path, PROGRAM)


class TestTheCommand:
    def test_meters_and_refuses_what_no_code_asks_it_to(
        self, run: Run, server: ProviderServer, tmp_path: Path
    ) -> None:
        done = run(
            server.openai_url,
            ATM_BUDGETS="1 request / month",
            ATM_DB="calls.duckdb",
            ATM_GUARDS="true",
        )
        assert (done.returncode, done.stdout) == (
            0,
            "answered\nTokenQuotaExceeded\nTracerProvider\n",
        ), done.stderr
        assert server.requests == 1
        with atm.connect(tmp_path / "calls.duckdb") as db:
            rows: Any = db.sql("select decision from usage_events order by ts, event_id").fetchall()
        assert rows == [("allowed",), ("refused",)]

    def test_does_nothing_unless_a_variable_is_set(
        self, run: Run, server: ProviderServer, tmp_path: Path
    ) -> None:
        done = run(server.openai_url)
        assert done.stdout == "answered\nanswered\nTracerProvider\n", done.stderr
        assert "otel-atm" not in done.stderr
        assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".py"]

    def test_says_what_is_wrong_with_a_variable_and_lets_the_program_run(
        self, run: Run, server: ProviderServer
    ) -> None:
        done = run(server.openai_url, ATM_BUDGETS="many tokens")
        assert done.stdout == "answered\nanswered\nTracerProvider\n", done.stderr
        assert done.stderr.count("otel-atm: nothing is metered") == 1
        assert "many tokens" in done.stderr

    def test_works_with_the_sdk_disabled(self, run: Run, server: ProviderServer) -> None:
        done = run(
            server.openai_url,
            OTEL_SDK_DISABLED="true",
            ATM_BUDGETS="1 request / month",
            ATM_DB="none",
            ATM_GUARDS="true",
        )
        assert done.stdout.startswith("answered\nTokenQuotaExceeded\n"), done.stderr
