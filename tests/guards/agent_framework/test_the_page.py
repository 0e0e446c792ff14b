"""The code on the page of azureaicommunity-agent-token-guard runs; only its imports are others."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from agent_framework_openai import OpenAIChatCompletionClient

from otel_atm.guards.agent_framework import InMemoryQuotaStore, TokenGuardMiddleware, day_key
from otel_atm.testing import ProviderServer
from otel_atm.testing.provider.tokens import Tokens
from tests.guards.agent_framework.model import Model, openai_client

QUICK_START = """
import asyncio, json
from agent_framework import Agent
from agent_framework.ollama import OllamaChatClient
from token_guard_middleware import TokenGuardMiddleware
from token_guard_middleware.token_tracker import InMemoryQuotaStore, QuotaExceededError

def save_usage(record):
    print(json.dumps(record, indent=2))

def quota_alert(payload):
    print("QUOTA EXCEEDED:", json.dumps(payload, indent=2))

quota_store = InMemoryQuotaStore()

middleware = TokenGuardMiddleware(
    on_usage=save_usage,
    on_quota_exceeded=quota_alert,
    quota_store=quota_store,
    quota_tokens=50,          # intentionally low to show quota enforcement
)

async def main():
    client = OllamaChatClient(model="gemma3:4b")
    agent = Agent(client)

    # First call — succeeds and records ~60 tokens (exceeds quota of 50)
    try:
        result = await agent.run("Hello!", middleware=[middleware])
        print(result.text)
    except QuotaExceededError as e:
        print(f"Blocked: {e}")

    # Second call — quota already exceeded, quota_alert fires and call is blocked
    try:
        result = await agent.run("How are you?", middleware=[middleware])
        print(result.text)
    except QuotaExceededError as e:
        print(f"Blocked: {e}")

asyncio.run(main())
"""

PERIODS = """
from token_guard_middleware.token_tracker import month_key, week_key, day_key

middleware = TokenGuardMiddleware(..., period_key_fn=month_key)   # Monthly (default)
middleware = TokenGuardMiddleware(..., period_key_fn=day_key)     # Daily
middleware = TokenGuardMiddleware(..., period_key_fn=week_key)    # Weekly

# Custom — e.g. per-user-per-day
middleware = TokenGuardMiddleware(
    ...,
    period_key_fn=lambda: f"{get_current_user_id()}-{day_key()}",
)
"""

USERS = """
def get_user_id(context):
    return context.metadata.get("user_id", "anonymous")

middleware = TokenGuardMiddleware(
    ...,
    user_id_getter=get_user_id,
)
"""

STORE = """
from token_guard_middleware.token_tracker import QuotaStore

class RedisQuotaStore:
    def get_usage(self, user_id: str, period_key: str) -> int:
        return int(redis.get(f"{user_id}:{period_key}") or 0)

    def add_usage(self, user_id: str, period_key: str, tokens: int) -> None:
        redis.incrby(f"{user_id}:{period_key}", tokens)

middleware = TokenGuardMiddleware(
    ...,
    quota_store=RedisQuotaStore(),
)
"""

#: What the page leaves out of its calls, where it writes three dots.
LEFT_OUT = "on_usage=records.append, quota_tokens=1_000, "


class Redis:
    """The two commands that the page uses, and a client's answers to them."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def get(self, key: str) -> bytes | None:
        return str(self.values[key]).encode() if key in self.values else None

    def incrby(self, key: str, amount: int) -> int:
        self.values[key] = self.values.get(key, 0) + amount
        return self.values[key]


def program(page: str, **supplied: Any) -> dict[str, Any]:
    """Run a block of the page, with `supplied` for what it leaves out."""
    code = re.sub(r"from token_guard_middleware\S*", "from otel_atm.guards.agent_framework", page)
    more = "" if "quota_store=" in page else "quota_store=InMemoryQuotaStore(), "
    code = re.sub(r"\.\.\.,\s+", LEFT_OUT + more, code)
    names: dict[str, Any] = {
        "TokenGuardMiddleware": TokenGuardMiddleware,
        "InMemoryQuotaStore": InMemoryQuotaStore,
        "records": [],
        **supplied,
    }
    exec(compile(code, "the page", "exec"), names)
    return names


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A model that answers with 63 tokens; its client is installed apart, and speaks OpenAI's."""
    with ProviderServer(usage=Tokens(input=11, output=52)) as server:

        class OllamaChatClient(OpenAIChatCompletionClient[Any]):
            def __init__(self, *, model: str) -> None:
                super().__init__(model=model, async_client=openai_client(server.openai_url))

        module: Any = ModuleType("agent_framework_ollama")
        module.OllamaChatClient = OllamaChatClient
        monkeypatch.setitem(sys.modules, "agent_framework_ollama", module)
        yield server


def test_its_quick_start(ollama: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    program(QUICK_START)
    said = capsys.readouterr().out
    record, _ = json.JSONDecoder().raw_decode(said)
    assert before <= datetime.fromisoformat(record.pop("timestamp_utc")) <= datetime.now(UTC)
    assert record.pop("period_key") in (before.strftime("%Y-%m"), f"{datetime.now(UTC):%Y-%m}")
    assert list(record.items()) == [
        ("user_id", "anonymous"),
        ("model", "gemma3:4b"),
        ("input_tokens", 11),
        ("output_tokens", 52),
        ("total_tokens", 63),
        ("quota_tokens", 50),
        ("used_tokens_after_call", 63),
        ("streaming", False),
    ]
    alert = said[said.index("QUOTA EXCEEDED: ") + len("QUOTA EXCEEDED: ") :]
    payload, _ = json.JSONDecoder().raw_decode(alert)
    assert (payload["used_tokens"], payload["reason"]) == (63, "quota_exceeded_before_call")
    assert "\nBlocked: user='anonymous' asked for " in said
    assert ollama.requests == 1


async def ask(middleware: TokenGuardMiddleware) -> None:
    from agent_framework import Agent

    await Agent(Model()).run("Hello!", middleware=[middleware])


def test_its_periods() -> None:
    names = program(PERIODS, get_current_user_id=lambda: "ann")
    before = day_key()
    asyncio.run(ask(names["middleware"]))
    assert names["records"][0]["period_key"] in (f"ann-{before}", f"ann-{day_key()}")


def test_its_users() -> None:
    names = program(USERS)
    asyncio.run(ask(names["middleware"]))
    assert names["records"][0]["user_id"] == "anonymous"


def test_its_store() -> None:
    redis = Redis()
    names = program(STORE, redis=redis)
    asyncio.run(ask(names["middleware"]))
    (record,) = names["records"]
    assert redis.values == {f"anonymous:{record['period_key']}": 500}
    assert record["used_tokens_after_call"] == 500
