"""Quota: how much of it is left for a call, asked of a store that may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

from otel_atm.guards.agent_framework.holds import Holds
from otel_atm.guards.agent_framework.stores import Full, HoldingQuotaStore, QuotaStore
from otel_atm.guards.agent_framework.tellers import settled
from otel_atm.trouble import Trouble


class Unasked(NamedTuple):
    """The store could not be asked, and calls are refused then."""

    used: int = 0
    held: int = 0


class Quota:
    """The tokens of each user and period, in a store.

    What is begun here is ended, also for a task that is cancelled meanwhile.

    Args:
        store: that keeps the count.
        blocks: whether calls are refused while the store fails; else they are let in.
        trouble: counts what fails.
    """

    def __init__(self, store: QuotaStore, *, blocks: bool, trouble: Trouble) -> None:
        self._blocks, self._trouble, self._plain = blocks, trouble, store
        self._store: HoldingQuotaStore | Holds = (
            store
            if isinstance(store, HoldingQuotaStore)
            else Holds(store, blocks=blocks, trouble=trouble)
        )
        self._tasks: set[asyncio.Task[Any]] = set()  # so that none of them is collected

    async def reserve(
        self, user_id: str, period_key: str, tokens: int, quota_tokens: int
    ) -> Any | Full | Unasked:
        """Hold tokens for a call: what `settle` takes, or why it is not let in."""
        task = self.start(self._ask(user_id, period_key, tokens, quota_tokens))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.start(self._give_back(user_id, period_key, task))
            raise

    async def settle(self, user_id: str, period_key: str, hold: Any, tokens: int) -> int:
        """Charge tokens in the place of a hold; what the user has used now."""
        try:
            if hold is not None:
                return int(await settled(self._store.settle(hold, tokens)))
            if tokens:  # let in without a hold
                await settled(self._plain.add_usage(user_id, period_key, tokens))
            return int(await settled(self._plain.get_usage(user_id, period_key)))
        except Exception as error:  # noqa: BLE001 - the reply is there
            self._trouble.note("quota_store", error)
            return tokens

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something in a task of its own, which nobody has to wait for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, *request: Any) -> Any:
        try:
            return await settled(self._store.reserve(*request))
        except Exception as error:  # noqa: BLE001 - what then becomes of calls is a setting
            self._trouble.note("quota_store", error)
            return Unasked() if self._blocks else None

    async def _give_back(self, user_id: str, period_key: str, task: asyncio.Task[Any]) -> None:
        answer = await task
        if answer is not None and not isinstance(answer, Full | Unasked):
            await self.settle(user_id, period_key, answer, 0)
