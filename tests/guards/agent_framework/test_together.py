"""Many at once: what was reported is charged, and no more goes out than there is room for."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agent_framework import Agent
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from otel_atm.guards.agent_framework import (
    Full,
    InMemoryQuotaStore,
    LedgerQuotaStore,
    QuotaExceededError,
    TokenGuardMiddleware,
)
from otel_atm.guards.agent_framework.quota import Quota
from otel_atm.guards.agent_framework.tellers import settled
from otel_atm.trouble import Trouble
from tests.guards.agent_framework.conftest import Guarded
from tests.guards.agent_framework.model import Model, usage
from tests.guards.agent_framework.stores import Plain, Slow

Make = Callable[..., Guarded]


async def until_refused(agent: Agent[Any], guard: TokenGuardMiddleware, *, stream: bool) -> None:
    for _ in range(1_000):
        try:
            answer = agent.run("Hello!", middleware=[guard], stream=stream)  # type: ignore[call-overload]
            await (answer.get_final_response() if stream else answer)
        except QuotaExceededError:
            return
    raise AssertionError("nobody is ever refused")


async def some_time() -> None:
    await turns(random.randint(0, 5))


@pytest.mark.parametrize("stream", [False, True])
def test_64_tasks_spend_a_quota_and_not_more(
    guarded: Make, any_store: Any, *, stream: bool
) -> None:
    guard, model = guarded(10_000, store=any_store), Model(wait=some_time)

    async def main() -> None:
        agent = Agent(model)
        tasks = [until_refused(agent, guard.middleware, stream=stream) for _ in range(64)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert guard.charged == model.told
    assert 9_000 <= guard.charged <= 10_000, "half of default_hold is input that was not asked for"


def test_64_tasks_leave_nothing_once_their_model_is_known(guarded: Make, any_store: Any) -> None:
    model = Model(usage(2, 498), wait=some_time)
    guard = guarded(20_000, store=any_store)

    async def main() -> None:
        agent = Agent(model)
        for _ in range(16):
            await agent.run("Hello!", middleware=[guard.middleware])
        tasks = [until_refused(agent, guard.middleware, stream=False) for _ in range(64)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert guard.charged == model.told == 20_000


def test_8_threads_with_loops_of_their_own_share_a_guard(guarded: Make, any_store: Any) -> None:
    guard, model = guarded(20_000, store=any_store), Model(wait=some_time)
    ready = threading.Barrier(8)

    async def main() -> None:
        agent = Agent(model)
        ready.wait()
        tasks = [until_refused(agent, guard.middleware, stream=False) for _ in range(8)]
        await asyncio.gather(*tasks)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(asyncio.run, main()) for _ in range(8)]:
            done.result()
    assert guard.charged == 500 * len(guard.records)
    assert 19_000 <= guard.charged <= 20_000
    period = guard.records[0]["period_key"]
    kept = any_store.get_usage("anonymous", period)
    assert (asyncio.run(kept) if asyncio.iscoroutine(kept) else kept) == guard.charged


PROCESS = """
import asyncio, json, sys
from agent_framework import Agent
from otel_atm.guards.agent_framework import LedgerQuotaStore, TokenGuardMiddleware
from tests.guards.agent_framework.model import Model
from tests.guards.agent_framework.test_together import some_time, until_refused

store = LedgerQuotaStore(sys.argv[1], on_error="block")  # the machine may be busy
charged = []
guard = TokenGuardMiddleware(
    on_usage=lambda record: charged.append(record["total_tokens"]),
    quota_store=store, quota_tokens=40_000, period_key_fn=lambda: "this one",
)
async def main():
    agent = Agent(Model(wait=some_time))
    await asyncio.gather(*[until_refused(agent, guard, stream=False) for _ in range(16)])
sys.stdin.readline()
asyncio.run(main())
store.close()
print(json.dumps([sum(charged), guard.trouble.counts, store.trouble.counts]))
"""


def test_4_processes_share_a_quota_in_a_file(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/quota.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, ledger],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [json.loads(process.communicate()[0]) for process in processes]
    assert {what for _, *troubles in said for counts in troubles for what in counts} <= {"ledger"}
    charged = sum(each for each, *_ in said)
    store = LedgerQuotaStore(ledger)
    assert store.get_usage("anonymous", "this one") == charged
    store.close()
    assert 38_000 <= charged <= 40_000


# Whatever the order -----------------------------------------------------------------------------

calls = st.lists(
    st.builds(
        lambda user, hold, part, first, then: (user, hold, part and hold * part // 4, first, then),
        st.sampled_from(["ann", "bob"]),
        st.integers(1, 400),
        st.one_of(st.none(), st.integers(0, 4)),  # quarters that are used; None: it is cancelled
        st.integers(0, 6),  # how long it takes to come
        st.integers(0, 6),  # how long its answer takes
    ),
    max_size=12,
)

STORES: dict[str, Callable[[], Any]] = {
    "plain": Plain,
    "slow": Slow,
    "memory": InMemoryQuotaStore,
    "ledger": LedgerQuotaStore,
}


class Users:
    """Calls of two users under one quota, and what should have become of them."""

    def __init__(self, store: Any, quota: int) -> None:
        self.trouble = Trouble()
        self.store, self.quota = store, quota
        self.shared = Quota(store, blocks=False, trouble=self.trouble)
        self.charged = {"ann": 0, "bob": 0}

    async def call(self, user: str, hold: int, used: int | None, first: int, then: int) -> None:
        await turns(first)
        answer = await self.shared.reserve(user, "now", hold, self.quota)
        if isinstance(answer, Full):
            return
        await turns(then)
        self.charged[user] += used or 0
        await asyncio.shield(self.shared.start(self.shared.settle(user, "now", answer, used or 0)))

    async def all_at_once(self, todo: list[Any]) -> None:
        tasks = [asyncio.ensure_future(self.call(*each)) for each in todo]
        await turns(4)
        for task, (_, _, used, first, _) in zip(tasks, todo, strict=True):
            if used is None and first > 2:
                task.cancel()  # while it waits, or asks
        await asyncio.gather(*tasks, return_exceptions=True)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def check(self, largest: int) -> None:
        for user, total in self.charged.items():
            assert total < self.quota + largest or total == 0, "the last one alone may go past it"
            assert await settled(self.store.get_usage(user, "now")) == total
            if self.quota > total:
                again = await self.shared.reserve(user, "now", self.quota - total, self.quota)
                assert not isinstance(again, Full), "nothing is held any more"


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", STORES)
@given(todo=calls, quota=st.integers(0, 1_500))
@examples(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_charged_is_what_was_used_whatever_the_order(
    kind: str, todo: list[Any], quota: int
) -> None:
    async def main() -> None:
        users = Users(STORES[kind](), quota)
        await users.all_at_once(todo)
        await users.check(max([hold for _, hold, *_ in todo], default=0))
        assert users.trouble.counts == {}

    asyncio.run(main())
