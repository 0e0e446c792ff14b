"""What the tests of the middleware share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_atm.guards.agent_framework import (
    InMemoryQuotaStore,
    LedgerQuotaStore,
    QuotaStore,
    TokenGuardMiddleware,
)
from otel_atm.testing import ManualClock
from tests.guards.agent_framework.stores import Plain, Slow

KINDS = ("memory", "ledger", "sqlite", "plain", "slow")


class Guarded:
    """A guard, and what it has told.

    `records` are of calls that were charged, `payloads` of those that were refused. `trouble` is
    what may have failed when the test is over: reason → how often.
    """

    def __init__(self, store: QuotaStore, clock: ManualClock, quota: int, **settings: Any) -> None:
        self.store = store
        self.records: list[dict[str, Any]] = []
        self.payloads: list[dict[str, Any]] = []
        self.trouble: dict[str, int] = {}
        self.middleware = settings.pop("kind", TokenGuardMiddleware)(
            **{
                "on_usage": self.records.append,
                "on_quota_exceeded": self.payloads.append,
                "quota_store": store,
                "quota_tokens": quota,
                "clock": clock,
                **settings,
            }
        )

    @property
    def charged(self) -> int:
        """In all records."""
        return sum(record["total_tokens"] for record in self.records)


@pytest.fixture
def guarded(clock: ManualClock) -> Iterator[Callable[..., Guarded]]:
    """Makes guards over a store of theirs, or one that is given."""
    made: list[Guarded] = []

    def make(quota: int = 10_000, store: Any = None, **settings: Any) -> Guarded:
        made.append(Guarded(store or InMemoryQuotaStore(), clock, quota, **settings))
        return made[-1]

    yield make
    for each in made:
        assert each.middleware.trouble.counts == each.trouble


@pytest.fixture(params=KINDS)
def any_store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Any]:
    """Each kind of store."""
    made: dict[str, Callable[[], Any]] = {
        "memory": InMemoryQuotaStore,
        "ledger": lambda: LedgerQuotaStore(clock=clock),
        "sqlite": lambda: LedgerQuotaStore(f"sqlite:///{tmp_path}/quota.db", clock=clock),
        "plain": Plain,
        "slow": Slow,
    }
    store = made[request.param]()
    yield store
    if isinstance(store, LedgerQuotaStore):
        store.close()
