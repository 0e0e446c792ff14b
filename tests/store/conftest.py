"""A process that writes events, by a clock that stands still, and what its file should say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

import otel_atm as atm
from otel_atm.budget import Budget, read_budgets
from otel_atm.event import UsageEvent
from otel_atm.gate import Gate
from otel_atm.ledger import MemoryLedger
from otel_atm.pricing import Prices
from otel_atm.spans.processor import GateProcessor
from otel_atm.store.bound import DEFAULT_MAX_BYTES
from otel_atm.store.drain import drain
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import Spool
from otel_atm.testing import ManualClock
from otel_atm.trouble import Trouble

Row = dict[str, Any]

USAGE = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
)
#: What a roll-up tells calls apart by, and what it adds up.
#: The most that doubles count in whole pico-USD.
_COUNTED_USD = 2_000
KEYS = "app, env, team, user_id, provider, model, operation, status, decision"
AMOUNTS = (
    "calls, attempts, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, "
    "reasoning_tokens, total_tokens"
)


class Writer:
    """Spans of LLM calls, through a gate, into a spool; nothing drains it but what a test calls.

    Attributes:
        events: every row that came out of the gate, with all its revisions.
    """

    def __init__(
        self,
        path: Path,
        clock: ManualClock,
        *budgets: Budget | str,
        prices: Prices | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.paths, self.clock = StorePaths.of(path), clock
        self.trouble = Trouble()
        self.spool = Spool(self.paths.spool, self.trouble, max_bytes=max_bytes)
        self.events: list[UsageEvent] = []
        self.gate = Gate(
            read_budgets(budgets),
            MemoryLedger(),
            clock=clock,
            sinks=[lambda call: self.events.append(call.event()), self.spool.append],
            prices=prices,
            trouble=self.trouble,
        )
        self._provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self._provider.add_span_processor(GateProcessor(self.gate))
        self._tracer = self._provider.get_tracer("writer")

    def start(self, model: str = "gpt-5.1", provider: str = "openai", **scope: Any) -> Span:
        """A call that is open."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        with atm.context(**scope):
            return self._tracer.start_span("chat", attributes=attributes, start_time=self.clock())

    def end(self, span: Span, tokens: tuple[int, ...] = (11, 7), error: str | None = None) -> None:
        """Its end."""
        span.set_attributes(dict(zip(USAGE, tokens, strict=False)))
        if error is not None:
            span.set_attribute("error.type", error)
        span.end(self.clock())

    def call(
        self,
        tokens: tuple[int, ...] = (11, 7),
        *,
        error: str | None = None,
        model: str = "gpt-5.1",
        **scope: Any,
    ) -> str:
        """A whole call; its event id."""
        self.end(self.start(model, **scope), tokens, error)
        return self.events[-1].event_id

    def lose(self) -> None:
        """Write off all that is open."""
        self.gate.expire(everything=True)

    def segments(self) -> list[Path]:
        """The files in the spool, oldest first."""
        return sorted(self.paths.spool.glob("*.segment"))

    def segment(self) -> Path:
        """The only one."""
        (segment,) = self.segments()
        return segment

    def drain(self) -> int:
        """Take everything into the file."""
        self.spool.seal()
        return drain(self.paths)

    def close(self) -> None:
        self._provider.shutdown()
        self.spool.seal()

    def expected(self) -> list[Row]:
        """The rows that the file should have: of each event the highest revision."""
        latest: dict[str, UsageEvent] = {}
        for event in self.events:
            known = latest.get(event.event_id)
            if known is None or event.revision > known.revision:
                latest[event.event_id] = event
        return [as_row(event) for _, event in sorted(latest.items())]


def as_row(event: UsageEvent) -> Row:
    """An event as a row."""
    row = asdict(event) | {"tags": list(event.tags), "attributes": dict(event.attributes)}
    micros = row.pop("ts_us")
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(tzinfo=None)
    row["ts"] = moment.replace(microsecond=micros % 1_000_000)
    return row


def query(path: Path, sql: str, params: Any = None) -> list[Row]:
    """The rows of a query, as dicts."""
    with atm.connect(path) as db:
        found = db.sql(sql, params)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def rows_of(path: Path) -> list[Row]:
    """All rows of a file."""
    return query(path, "from usage_events order by event_id")


def ids_of(path: Path) -> list[str]:
    """The ids of all rows of a file."""
    return [row["event_id"] for row in query(path, "select event_id from usage_events order by 1")]


def assert_roll_ups_add_up(path: Path) -> None:
    """Minutes and hours say what the events say, key by key, and the money to the last pico-USD.

    Beyond 2,000 USD a double cannot count those: then to its last digits.
    """
    amounts = [f"sum({name.strip()})::bigint as {name.strip()}" for name in AMOUNTS.split(",")]
    cost = "sum(cost_usd::decimal(38, 12))::double"
    for unit, view in (("minute", "usage_1m"), ("hour", "usage_1h")):
        from_events = query(
            path,
            f"select date_trunc('{unit}', ts) as bucket, {KEYS}, {', '.join(amounts)}, "
            f"{cost} as cost_usd from usage_events group by all order by all",
        )
        rolled = query(path, f"select bucket, {KEYS}, {AMOUNTS}, cost_usd from {view} order by all")
        for row in from_events:
            if (row["cost_usd"] or 0) > _COUNTED_USD:
                row["cost_usd"] = pytest.approx(row["cost_usd"], rel=1e-15)
        assert rolled == from_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a DuckDB file that is not there yet."""
    return tmp_path / "tokens.duckdb"


@pytest.fixture
def writers(path: Path, clock: ManualClock) -> Iterator[Callable[..., Writer]]:
    """Makes writers to one store; nothing may go wrong in them but what a test clears away."""
    made: list[Writer] = []

    def make(*budgets: Budget | str, at: Path = path, prices: Prices | None = None) -> Writer:
        made.append(Writer(at, clock, *budgets, prices=prices))
        return made[-1]

    yield make
    for writer in made:
        writer.close()
        assert_no_trouble(writer.trouble)


def assert_no_trouble(trouble: Trouble, counts: Mapping[str, int] | None = None) -> None:
    assert trouble.counts == (counts or {})


@pytest.fixture
def writer(writers: Callable[..., Writer]) -> Writer:
    return writers()
