"""Stores by themselves: what fits, threads, forks, files."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import otel_atm.guards.agent_framework as guards
from otel_atm.errors import ConfigurationError
from otel_atm.guards.agent_framework import (
    Full,
    HoldingQuotaStore,
    InMemoryQuotaStore,
    LedgerQuotaStore,
    QuotaStore,
)
from otel_atm.guards.agent_framework.holds import Holds
from otel_atm.guards.agent_framework.tellers import settled
from otel_atm.ledger import MemoryLedger
from otel_atm.trouble import Trouble
from tests.guards.agent_framework.stores import Plain


def holding(store: Any) -> Any:
    """A store that holds; one that cannot is helped."""
    return (
        store
        if isinstance(store, HoldingQuotaStore)
        else Holds(store, blocks=False, trouble=Trouble())
    )


def test_what_does_not_fit_is_told_with_what_is_used_and_held(any_store: Any) -> None:
    store = holding(any_store)

    async def main() -> None:
        await settled(any_store.add_usage("ann", "now", 300))
        first = await settled(store.reserve("ann", "now", 400, 1_000))
        assert await settled(store.reserve("ann", "now", 301, 1_000)) == Full(300, 400)
        second = await settled(store.reserve("ann", "now", 300, 1_000))
        assert await settled(store.settle(first, 0)) == 300
        assert await settled(store.settle(second, 250)) == 550
        assert await settled(any_store.get_usage("ann", "now")) == 550
        assert await settled(any_store.get_usage("bob", "now")) == 0
        assert await settled(any_store.get_usage("ann", "then")) == 0

    asyncio.run(main())


def test_the_last_call_goes_out_alone_with_what_is_left(any_store: Any) -> None:
    store = holding(any_store)

    async def main() -> None:
        await settled(any_store.add_usage("ann", "now", 990))
        last = await settled(store.reserve("ann", "now", 400, 1_000))
        assert isinstance(await settled(store.reserve("ann", "now", 1, 1_000)), Full)
        assert await settled(store.settle(last, 350)) == 1_340
        assert isinstance(await settled(store.reserve("ann", "now", 1, 1_000)), Full)

    asyncio.run(main())


def test_a_quota_of_nothing_lets_nothing_in(any_store: Any) -> None:
    async def main() -> None:
        assert await settled(holding(any_store).reserve("ann", "now", 1, 0)) == Full(0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("kind", [InMemoryQuotaStore, LedgerQuotaStore])
def test_8_threads_at_one_store_lose_nothing(kind: Any) -> None:
    store, ready = kind(), threading.Barrier(8)

    def spend() -> int:
        ready.wait()
        spent = 0
        while not isinstance(hold := store.reserve("ann", "now", 10, 20_000), Full):
            store.settle(hold, 7)
            store.add_usage("ann", "now", 1)
            spent += 8
        return spent

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(spend) for _ in range(8)]
    assert store.get_usage("ann", "now") == sum(each.result() for each in done)


@pytest.mark.parametrize("kind", [InMemoryQuotaStore, LedgerQuotaStore])
def test_a_forked_child_has_the_count_and_not_the_holds_of_its_parent(kind: Any) -> None:
    store = kind()
    store.add_usage("ann", "now", 100)
    store.reserve("ann", "now", 500, 1_000)
    pipe = os.pipe()
    if not (child := os.fork()):
        free = not isinstance(store.reserve("ann", "now", 900, 1_000), Full)
        os.write(pipe[1], json.dumps([store.get_usage("ann", "now"), free]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(pipe[0], 100)) == [100, True]
    assert isinstance(store.reserve("ann", "now", 900, 1_000), Full)
    os.close(pipe[0])
    os.close(pipe[1])


def test_of_very_many_periods_those_of_long_ago_are_forgotten_first() -> None:
    store = InMemoryQuotaStore(most=2)
    for key in ("monday", "tuesday", "monday", "wednesday"):
        store.add_usage("ann", key, 1)
    used = {key: store.get_usage("ann", key) for key in ("monday", "tuesday", "wednesday")}
    assert used == {"monday": 2, "tuesday": 0, "wednesday": 1}


def test_a_file_remembers(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/quota.db"
    for expected in (0, 70, 140):
        store = LedgerQuotaStore(ledger)
        assert store.get_usage("ann", "now") == expected, "before its quota is known"
        hold = store.reserve("ann", "now", 100, 1_000)
        assert store.settle(hold, 70) == expected + 70  # type: ignore[arg-type]
        store.close()


def test_who_only_looks_at_a_file_does_not_change_its_quota(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/quota.db"
    store, other = LedgerQuotaStore(ledger), LedgerQuotaStore(ledger)
    hold = store.reserve("ann", "now", 100, 150)
    assert other.get_usage("ann", "now") == 0
    assert isinstance(store.reserve("ann", "now", 100, 150), Full)
    assert store.settle(hold, 120) == other.get_usage("ann", "now") == 120  # type: ignore[arg-type]
    for each in (store, other):
        each.close()


def test_a_quota_may_be_another_one_after_a_restart(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path}/quota.db"
    store = LedgerQuotaStore(ledger)
    store.settle(store.reserve("ann", "now", 100, 100), 100)  # type: ignore[arg-type]
    assert store.reserve("ann", "now", 100, 100) == Full(100, 0)
    store.close()
    store = LedgerQuotaStore(ledger)
    assert not isinstance(store.reserve("ann", "now", 100, 500), Full)
    store.close()


def test_stores_of_one_name_and_ledger_count_together() -> None:
    ledger = MemoryLedger()
    stores = [LedgerQuotaStore(ledger, name=name) for name in ("gold", "gold", "free")]
    stores[0].add_usage("ann", "now", 5)
    assert [store.get_usage("ann", "now") for store in stores] == [5, 5, 0]


@pytest.mark.parametrize("ledger", ["redis://host/0", "sqlite:///", "quota.db", ""])
def test_a_ledger_that_is_none_is_quoted(ledger: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        LedgerQuotaStore(ledger)
    assert str(raised.value) == (
        f"ledger={ledger!r}: expected 'memory', 'sqlite:///file' or a Ledger"
    )


def test_stores_are_told_by_what_they_can_do() -> None:
    stores = InMemoryQuotaStore(), LedgerQuotaStore(), Plain()
    assert [isinstance(store, QuotaStore) for store in stores] == [True] * 3
    assert [isinstance(store, HoldingQuotaStore) for store in stores] == [True, True, False]


def test_without_agent_framework_the_import_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['agent_framework'] = None\n"
        "try:\n    import otel_atm.guards.agent_framework\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "otel_atm.guards.agent_framework needs agent-framework: "
        "pip install 'otel-atm[agent-framework]'\n"
    )


def test_nothing_else_imports_agent_framework() -> None:
    code = (
        "import sys, otel_atm.guards.install, otel_atm.config\n"
        "print('agent_framework' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", guards.__all__)
def test_each_public_name_says_what_it_is(name: str) -> None:
    assert name == "UsageCallback" or getattr(guards, name).__doc__
