"""Beside the guards and spans of `otel_atm.init`: each counts a call once, and each may refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_framework import Agent
from agent_framework_openai import OpenAIChatClient, OpenAIChatCompletionClient

import otel_atm as atm
from otel_atm.guards.agent_framework import QuotaExceededError
from otel_atm.testing import ProviderServer
from otel_atm.testing.provider.tokens import Tokens
from tests.guards.agent_framework.conftest import Guarded
from tests.guards.agent_framework.model import openai_client

Make = Callable[..., Guarded]
CLIENTS = [OpenAIChatClient, OpenAIChatCompletionClient]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(usage=Tokens(input=100, output=400)) as server:
        yield server


def agent_of(client: Any, server: ProviderServer) -> Agent[Any]:
    return Agent(client(model="gpt-5.1", async_client=openai_client(server.openai_url)))


async def say(agent: Agent[Any], guard: Guarded, *, stream: bool) -> None:
    answer = agent.run("Hello!", stream=stream, middleware=[guard.middleware])  # type: ignore[call-overload]
    await (answer.get_final_response() if stream else answer)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_call_is_one_row_and_one_record(
    guarded: Make, server: ProviderServer, tmp_path: Path, client: Any, *, stream: bool
) -> None:
    guard = guarded(1_000)
    handle = atm.init(store=tmp_path / "tokens.duckdb")

    async def main() -> None:
        agent = agent_of(client, server)
        with atm.context(user="ann"):
            for _ in range(2):
                await say(agent, guard, stream=stream)
            with pytest.raises(QuotaExceededError):
                await say(agent, guard, stream=stream)

    asyncio.run(main())
    handle.shutdown()
    with atm.connect(tmp_path / "tokens.duckdb") as db:
        rows = db.sql("select user_id, decision, total_tokens from usage_events").fetchall()
    assert rows == [("ann", "allowed", 500)] * 2
    assert [record["total_tokens"] for record in guard.records] == [500, 500]
    assert [record["user_id"] for record in guard.records] == ["ann", "ann"]
    assert server.requests == 2


def test_what_a_budget_of_init_refuses_costs_no_quota(
    guarded: Make, server: ProviderServer
) -> None:
    guard = guarded(1_000)
    handle = atm.init(budgets=[atm.Budget("1 request / day", name="once")], store=None)

    async def main() -> None:
        agent = agent_of(OpenAIChatCompletionClient, server)
        await say(agent, guard, stream=False)
        for _ in range(3):
            with pytest.raises(Exception, match="once") as raised:
                await say(agent, guard, stream=False)
            assert not isinstance(raised.value, QuotaExceededError)

    asyncio.run(main())
    handle.shutdown()
    assert guard.charged == 500
    assert guard.store.get_usage("anonymous", "2026-01") == 500
    assert server.requests == 1
