"""Refusals: the call never leaves, the application learns why, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e import test_anthropic, test_openai
from tests.e2e.conftest import NOTHING, Program, Row, run, tokens

ONCE = atm.Budget("1 request / month per user", name="once")

Call = Callable[[Any, str], Any]


def read(stream: Any) -> None:
    for _ in stream:
        pass


async def read_async(stream: Any) -> None:
    async for _ in stream:
        pass


def entered(manager: Any) -> None:
    with manager as stream:
        read(stream)


async def entered_async(manager: Any) -> None:
    async with manager as stream:
        await read_async(stream)


def ways(module: Any, streams: dict[str, Call], managers: dict[str, Call]) -> dict[str, Any]:
    """Name → (does it with a client, does it with an async client)."""
    plain = {
        name: (call, lambda client, text, call=call: call(client, text))
        for name, call in module.PLAIN.items()
    }

    def streamed(call: Call) -> tuple[Any, Any]:
        async def asynchronous(client: Any, text: str) -> None:
            await read_async(await call(client, text))

        return lambda client, text: read(call(client, text)), asynchronous

    def managed(call: Call) -> tuple[Any, Any]:
        return (
            lambda client, text: entered(call(client, text)),
            lambda client, text: entered_async(call(client, text)),
        )

    return {
        **plain,
        **{f"{name} stream": streamed(call) for name, call in streams.items()},
        **{f"{name} manager": managed(call) for name, call in managers.items()},
    }


OPENAI = ways(test_openai, test_openai.STREAMS, test_openai.MANAGERS)
CLAUDE = ways(
    test_anthropic, {"create": test_anthropic.stream_of}, {"stream": test_anthropic.manager_of}
)
BOTH = [("oai", name) for name in OPENAI] + [("claude", name) for name in CLAUDE]

every_way = pytest.mark.parametrize(("client", "way"), BOTH, ids=lambda value: value)
both = pytest.mark.parametrize("client", ["oai", "claude"])


def the_way(client: str, way: str) -> Any:
    return (OPENAI if client == "oai" else CLAUDE)[way]


def simple(client: str) -> Any:
    return the_way(client, "chat" if client == "oai" else "create")


def variables() -> dict[str, int]:
    """Which object each context variable holds."""
    return {variable.name: id(value) for variable, value in contextvars.copy_context().items()}


def assert_refused_once(program: Program, server: ProviderServer) -> Row:
    """Of one user's two calls the second was refused; the other user's was not."""
    assert server.requests == 2
    rows = program.rows()
    assert [(row["user_id"], row["decision"]) for row in rows] == [
        ("ann", "allowed"),
        ("ann", "refused"),
        ("bob", "allowed"),
    ]
    refused = rows[1]
    assert (refused["status"], refused["estimated"], tokens(refused)) == ("error", False, NOTHING)
    assert (refused["calls"], refused["attempts"], refused["budget"]) == (1, 0, ONCE.label)
    assert refused["attributes"] == {"error.type": "TokenQuotaExceeded", "requested": 1}
    return refused


class TestTheApplication:
    @every_way
    def test_gets_the_error_itself_and_nothing_was_sent(
        self,
        blank: Program,
        server: ProviderServer,
        request: pytest.FixtureRequest,
        client: str,
        way: str,
    ) -> None:
        blank.meter(ONCE)
        used, (call, _) = request.getfixturevalue(client), the_way(client, way)
        with atm.context(user="ann"):
            call(used, "one")
            before = variables()
            with pytest.raises(atm.TokenQuotaExceeded) as refusal:
                call(used, "two")
            assert variables() == before
        assert type(refusal.value) is atm.TokenQuotaExceeded
        assert server.requests == 1
        assert trace.get_current_span() is trace.INVALID_SPAN
        with atm.context(user="bob"):
            call(used, "three")
        assert_refused_once(blank, server)

    # A stream manager makes its request's coroutine before it is entered, which a refusal prevents.
    @pytest.mark.filterwarnings("ignore:coroutine '.*(post|traced_method)' was never awaited")
    @every_way
    def test_gets_it_in_a_task_too(
        self,
        blank: Program,
        server: ProviderServer,
        request: pytest.FixtureRequest,
        client: str,
        way: str,
    ) -> None:
        blank.meter(ONCE)
        make, (_, call) = request.getfixturevalue(f"async_{client}"), the_way(client, way)
        kinds: list[type] = []

        async def main() -> None:
            async with make() as used:
                async with atm.context(user="ann"):
                    await call(used, "one")
                    before = variables()
                    with pytest.raises(atm.TokenQuotaExceeded) as refusal:
                        await call(used, "two")
                    assert variables() == before
                kinds.append(type(refusal.value))
                assert server.requests == 1
                assert trace.get_current_span() is trace.INVALID_SPAN
                async with atm.context(user="bob"):
                    await call(used, "three")

        run(main())
        gc.collect()  # so that what it warns of belongs to this test
        assert kinds == [atm.TokenQuotaExceeded]
        assert_refused_once(blank, server)

    @both
    def test_learns_the_facts(
        self, blank: Program, server: ProviderServer, request: pytest.FixtureRequest, client: str
    ) -> None:
        blank.meter("200 tokens / month per user", default_hold=120)
        used, (call, _) = request.getfixturevalue(client), simple(client)
        with atm.context(user="ann"):
            call(used, "one")
            call(used, "two")  # the last one: it is let in with what is left
            with pytest.raises(atm.TokenQuotaExceeded) as refusal:
                call(used, "three")
        error, spent = refusal.value, server.total_told()
        assert vars(error) == {
            "budget": "200 tokens / month per user",
            "scope": {"user": "ann"},
            "unit": "tokens",
            "requested": 120,
            "used": spent.input + spent.output,
            "held": 0,
            "limit": 200,
            "resets_at": datetime(2026, 2, 1, tzinfo=UTC),
            "retry_after_s": 31 * 86_400,
            "window": "month",
            "reason": None,
        }
        assert (error.__cause__, error.__context__) == (None, None)
        (row,) = blank.rows("decision = 'refused'")
        assert (row["budget"], row["attributes"]["requested"]) == (error.budget, 120)

    @both
    def test_finds_its_own_span_current_after_a_refusal(
        self, blank: Program, server: ProviderServer, request: pytest.FixtureRequest, client: str
    ) -> None:
        blank.meter(ONCE)
        used, (call, _) = request.getfixturevalue(client), simple(client)
        call(used, "one")
        with blank.provider.get_tracer("app").start_as_current_span("request") as span:
            with pytest.raises(atm.TokenQuotaExceeded):
                call(used, "two")
            assert trace.get_current_span() is span
        assert server.requests == 1

    @both
    def test_may_call_again_when_the_window_is_over(
        self, blank: Program, server: ProviderServer, request: pytest.FixtureRequest, client: str
    ) -> None:
        blank.meter(ONCE)
        used, (call, _) = request.getfixturevalue(client), simple(client)
        call(used, "one")
        with pytest.raises(atm.TokenQuotaExceeded) as refusal:
            call(used, "two")
        assert refusal.value.retry_after_s is not None
        blank.clock.advance(refusal.value.retry_after_s)
        call(used, "three")
        assert server.requests == 2

    @both
    def test_is_not_refused_for_what_failed_and_cost_nothing(
        self, blank: Program, server: ProviderServer, request: pytest.FixtureRequest, client: str
    ) -> None:
        blank.meter("100 tokens / month", default_hold=100)
        used, (call, _) = request.getfixturevalue(client), simple(client)
        with server.faulty(status=500):
            for _ in range(5):
                with pytest.raises(Exception, match="500"):
                    call(used, "one")
        call(used, "one")
        assert server.requests == 6


class TestTheSpan:
    @both
    def test_of_a_refused_call_is_exported_once_with_all_that_explains_it(
        self, blank: Program, server: ProviderServer, request: pytest.FixtureRequest, client: str
    ) -> None:
        blank.meter(ONCE)
        used, (call, _) = request.getfixturevalue(client), simple(client)
        with atm.context(user="ann"):
            call(used, "one")
            sent = len(blank.spans)
            with pytest.raises(atm.TokenQuotaExceeded) as refusal:
                call(used, "two")
        (span,) = blank.spans[sent:]  # above all: no span of the client's own below it
        (row,) = blank.rows("decision = 'refused'")
        attributes = span.attributes or {}
        assert {
            key: value
            for key, value in attributes.items()
            if key.startswith("atm.") or key == "error.type"
        } == {
            "atm.user": "ann",
            "atm.call_id": row["event_id"],
            "atm.decision": "refused",
            "atm.budget.name": ONCE.label,
            "error.type": "TokenQuotaExceeded",
        }
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == str(refusal.value)
        assert span.context is not None
        assert row["span_id"] == f"{span.context.span_id:016x}"


class TestManyAtOnce:
    """Charged ≤ limit + Σ (actual − held) over the calls that were let in."""

    TEXT = "one"
    ACTUAL = 146  # tokens of its answer

    @pytest.fixture(params=[100, 146], ids=["held too little", "held what it costs"])
    def hold(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    @pytest.fixture
    def limited(self, blank: Program, hold: int) -> Program:
        return blank.meter(f"{13 * self.ACTUAL} tokens / month", default_hold=hold)

    def check(
        self, program: Program, server: ProviderServer, hold: int, results: list[Any]
    ) -> None:
        refusals = [result for result in results if isinstance(result, BaseException)]
        assert {type(refusal) for refusal in refusals} == {atm.TokenQuotaExceeded}
        admitted = len(results) - len(refusals)
        assert server.requests == admitted
        rows = program.rows()
        assert sum(row["decision"] == "allowed" for row in rows) == admitted
        assert sum(row["calls"] for row in rows if row["decision"] == "refused") == len(refusals)
        assert sum(row["total_tokens"] for row in rows) == admitted * self.ACTUAL
        limit = 13 * self.ACTUAL
        used, held = program.charged(f"{limit} tokens / month")
        assert (used, held) == (admitted * self.ACTUAL, 0)
        assert used <= limit + admitted * (self.ACTUAL - hold)
        assert used > limit - hold  # nobody was refused while there was room

    @both
    def test_threads_never_overshoot_by_more_than_was_in_flight(
        self,
        limited: Program,
        server: ProviderServer,
        request: pytest.FixtureRequest,
        client: str,
        hold: int,
    ) -> None:
        used, (call, _) = request.getfixturevalue(client), simple(client)

        def twice(_: int) -> list[Any]:
            results: list[Any] = []
            for _ in range(2):
                try:
                    results.append(call(used, self.TEXT))
                except atm.TokenQuotaExceeded as refusal:
                    results.append(refusal)
            return results

        with server.faulty(delay_s=0.05), ThreadPoolExecutor(32) as pool:
            results = [result for pair in pool.map(twice, range(32)) for result in pair]
        self.check(limited, server, hold, results)

    @both
    def test_tasks_never_overshoot_by_more_than_was_in_flight(
        self,
        limited: Program,
        server: ProviderServer,
        request: pytest.FixtureRequest,
        client: str,
        hold: int,
    ) -> None:
        make, (_, call) = request.getfixturevalue(f"async_{client}"), simple(client)
        results: list[Any] = []

        async def main() -> None:
            async with make() as used:
                calls = (call(used, self.TEXT) for _ in range(64))
                results.extend(await asyncio.gather(*calls, return_exceptions=True))

        with server.faulty(delay_s=0.05):
            run(main())
        self.check(limited, server, hold, results)
