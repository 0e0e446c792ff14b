"""Stores for tests: as users write them, async ones, and ones that fail."""

from __future__ import annotations

import asyncio
import threading


class Plain:
    """As on the page of the product: it reads and adds, in any thread. Fails while `broken`."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, str], int] = {}
        self.broken = False
        self._lock = threading.Lock()

    def get_usage(self, user_id: str, period_key: str) -> int:
        self._work()
        return self.totals.get((user_id, period_key), 0)

    def add_usage(self, user_id: str, period_key: str, tokens: int) -> None:
        self._work()
        key = user_id, period_key
        with self._lock:
            self.totals[key] = self.totals.get(key, 0) + tokens

    def _work(self) -> None:
        if self.broken:
            raise ConnectionError("the store of secrets is away")


class Slow(Plain):
    """Async, and others go on before and after it does something."""

    async def get_usage(self, user_id: str, period_key: str) -> int:  # type: ignore[override]
        await asyncio.sleep(0)
        used = super().get_usage(user_id, period_key)
        await asyncio.sleep(0)
        return used

    async def add_usage(  # type: ignore[override]
        self, user_id: str, period_key: str, tokens: int
    ) -> None:
        await asyncio.sleep(0)
        super().add_usage(user_id, period_key, tokens)
        await asyncio.sleep(0)
