"""The quota store of one process, in memory. It starts at zero."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from otel_atm.guards.agent_framework.forks import remember
from otel_atm.guards.agent_framework.stores import Full, fits


class _Account:
    """What one user has used in one period, and what calls in flight hold."""

    __slots__ = ("held", "used")

    def __init__(self) -> None:
        self.used = self.held = 0


class _Hold(NamedTuple):
    account: _Account
    tokens: int


class InMemoryQuotaStore:
    """See `HoldingQuotaStore`. Safe for any number of tasks and threads of one process.

    Args:
        most: how many users' periods are remembered. Beyond that the one that was used least
            recently is forgotten, so that periods that are over go first.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self._most = most
        self._accounts: OrderedDict[tuple[str, str], _Account] = OrderedDict()
        # The garbage collector may settle an abandoned stream wherever something is allocated.
        self._lock = threading.RLock()
        remember(self)

    def get_usage(self, user_id: str, period_key: str) -> int:
        """See `QuotaStore.get_usage`."""
        with self._lock:
            account = self._accounts.get((user_id, period_key))
            return account.used if account else 0

    def add_usage(self, user_id: str, period_key: str, tokens: int) -> None:
        """See `QuotaStore.add_usage`."""
        with self._lock:
            self._account(user_id, period_key).used += int(tokens)

    def reserve(
        self, user_id: str, period_key: str, tokens: int, quota_tokens: int
    ) -> _Hold | Full:
        """See `HoldingQuotaStore.reserve`."""
        with self._lock:
            account = self._account(user_id, period_key)
            if not fits(account.used, account.held, tokens, quota_tokens):
                return Full(account.used, account.held)
            account.held += tokens
            return _Hold(account, tokens)

    def settle(self, hold: _Hold, tokens: int) -> int:
        """See `HoldingQuotaStore.settle`."""
        account = hold.account
        with self._lock:
            account.held -= hold.tokens
            account.used += tokens
            return account.used

    def _account(self, user_id: str, period_key: str) -> _Account:
        key = user_id, period_key
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account()
            if len(self._accounts) > self._most:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(key)
        return account

    def after_fork(self) -> None:
        """In a forked child: what is held is the parent's."""
        self._lock = threading.RLock()
        for account in self._accounts.values():
            account.held = 0
