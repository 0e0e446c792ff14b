"""Holds, kept here, over a store that can only read and add."""

from __future__ import annotations

import asyncio
import threading
from typing import Final, NamedTuple

from otel_atm.guards.agent_framework.forks import remember
from otel_atm.guards.agent_framework.stores import Full, QuotaStore, fits
from otel_atm.guards.agent_framework.tellers import settled
from otel_atm.trouble import Trouble

#: How often a call that does not fit is looked at again, when others end meanwhile.
_TRIES: Final = 3
#: Of how many users' periods at most tokens are kept that the store did not take.
_MOST_OWING: Final = 10_000


class _Account:
    """One user's period, while calls are in flight.

    Attributes:
        held: for calls in flight.
        charged: by those that ended, since the account was opened.
        owed: of that, what the store did not take.
        visitors: calls that look at it.
    """

    __slots__ = ("charged", "held", "owed", "visitors")

    def __init__(self) -> None:
        self.held = self.charged = self.owed = self.visitors = 0


class _Hold(NamedTuple):
    key: tuple[str, str]
    account: _Account
    tokens: int


class Holds:
    """See `HoldingQuotaStore`: atomic for all calls that pass through this object.

    A call that ends is charged in the store first and let go here second; whoever reads the store
    in between sees it twice rather than not at all. Tokens that the store does not take are kept
    and added with the next call of the same user and period.

    Args:
        store: that keeps the count.
        blocks: whether calls are refused while it cannot be read; they are let in otherwise, as
            far as what is held and owed leaves room.
        trouble: counts what fails.
    """

    def __init__(self, store: QuotaStore, *, blocks: bool, trouble: Trouble) -> None:
        self._store, self._blocks, self._trouble = store, blocks, trouble
        self._accounts: dict[tuple[str, str], _Account] = {}  # only those in flight, or owing
        self._lock = threading.Lock()
        remember(self)

    async def reserve(
        self, user_id: str, period_key: str, tokens: int, quota_tokens: int
    ) -> _Hold | Full:
        """See `HoldingQuotaStore.reserve`.

        Raises:
            Exception: what the store has raised, if that blocks.
        """
        key = user_id, period_key
        account = self._enter(key)
        hold: _Hold | None = None
        try:
            for _ in range(_TRIES):
                before = account.charged
                used = await self._read(key)
                with self._lock:
                    # what was charged while the store was read may not be in what was read
                    news = account.charged - before
                    used += account.owed + news
                    if fits(used, account.held, tokens, quota_tokens):
                        account.held += tokens
                        hold = _Hold(key, account, tokens)
                        return hold
                    full = Full(used, account.held)
                if not news:
                    break
                await asyncio.sleep(0)
            return full
        finally:
            if hold is None:
                self._leave(key, account)

    async def settle(self, hold: _Hold, tokens: int) -> int:
        """See `HoldingQuotaStore.settle`. Raises nothing."""
        key, account, held = hold
        with self._lock:
            due, account.owed = tokens + account.owed, 0
        try:
            if due:
                await settled(self._store.add_usage(*key, due))
            due = 0
        except Exception as error:  # noqa: BLE001 - the reply is there
            self._trouble.note("quota_store", error)
        finally:
            with self._lock:
                account.owed += due
                account.held -= held
                account.charged += tokens
        try:
            return int(await settled(self._store.get_usage(*key))) + account.owed
        except Exception as error:  # noqa: BLE001 - as above
            self._trouble.note("quota_store", error)
            return account.charged
        finally:
            self._leave(key, account)

    def after_fork(self) -> None:
        """In a forked child: what is held and owed is the parent's."""
        self._lock = threading.Lock()
        self._accounts = {}

    async def _read(self, key: tuple[str, str]) -> int:
        try:
            return int(await settled(self._store.get_usage(*key)))
        except Exception as error:
            if self._blocks:
                raise
            self._trouble.note("quota_store", error)
            return 0

    def _enter(self, key: tuple[str, str]) -> _Account:
        with self._lock:
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = _Account()
            account.visitors += 1
            return account

    def _leave(self, key: tuple[str, str], account: _Account) -> None:
        with self._lock:
            account.visitors -= 1
            if account.visitors:
                return
            if not account.owed:
                self._accounts.pop(key, None)
            elif len(self._accounts) > _MOST_OWING:
                del self._accounts[key]
                error = OverflowError("too many users' periods wait for the store")
                self._trouble.note("quota_lost", error, dropped=1)
