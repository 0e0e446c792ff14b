"""The quota store over a ledger: exact among tasks, threads, and the processes of one host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from otel_atm.budget import Budget
from otel_atm.budget_text import UNITS
from otel_atm.errors import ConfigurationError
from otel_atm.guards.agent_framework.forks import remember
from otel_atm.guards.agent_framework.stores import Full
from otel_atm.ledger import Hold, Key, Ledger, Line, MemoryLedger, Shortage
from otel_atm.trouble import Trouble
from otel_atm.usage import MOST_TOKENS

_SQLITE: Final = "sqlite:///"
_TOKENS: Final = UNITS.index("tokens")


class _Reservation(NamedTuple):
    user_id: str
    period_key: str
    hold: Hold


class LedgerQuotaStore:
    """See `HoldingQuotaStore`. Counts under one budget of a ledger, apart for users and periods.

    A store has one quota; who has another one needs a store of another name.

    Args:
        ledger: "memory"; "sqlite:///FILE", which all processes of a host share and which survives
            a restart; or a `Ledger` of your own, which `close` leaves open.
        name: of the budget. Stores of one name and ledger count together.
        on_error: what becomes of calls while the file cannot be used: "allow" or "block".
        clock: nanoseconds since the Unix epoch.

    Attributes:
        trouble: counts what has failed.

    Raises:
        ConfigurationError: for another ledger; it quotes it.
    """

    def __init__(
        self,
        ledger: str | Ledger[Any] = "memory",
        *,
        name: str = "token_guard",
        on_error: str = "allow",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.trouble = Trouble()
        self._clock, self._name, self._on_error = clock, name, on_error
        self._budget = self._with_limit(MOST_TOKENS)
        self._quota: int | None = None
        self._lock = threading.Lock()
        self._owned = isinstance(ledger, str)
        self._ledger = _open(ledger, self.trouble) if isinstance(ledger, str) else ledger
        remember(self)

    def use_quota(self, quota_tokens: int) -> None:
        """Count against this quota from now on; `TokenGuardMiddleware` says it at its start.

        Raises:
            ConfigurationError: where the store counts against another one already.
        """
        with self._lock:
            if self._quota is None:
                # nobody has a budget of 0 tokens: `reserve` answers that by itself
                self._budget = self._with_limit(max(1, quota_tokens))
                self._ledger.use([self._budget])
                self._quota = quota_tokens
            elif self._quota != quota_tokens:
                raise ConfigurationError(
                    f"quota_tokens={quota_tokens!r}: this store counts against {self._quota}; "
                    f"give another quota a LedgerQuotaStore of another name than {self._name!r}"
                )

    def get_usage(self, user_id: str, period_key: str) -> int:
        """See `QuotaStore.get_usage`."""
        return self._look(user_id, period_key).used

    def add_usage(self, user_id: str, period_key: str, tokens: int) -> None:
        """See `QuotaStore.add_usage`."""
        hold = self._ledger.charge(self._claim(user_id, period_key, 0), self._clock())
        self._ledger.settle(hold, (int(tokens),))

    def reserve(
        self, user_id: str, period_key: str, tokens: int, quota_tokens: int
    ) -> _Reservation | Full:
        """See `HoldingQuotaStore.reserve`."""
        self.use_quota(quota_tokens)
        if quota_tokens <= 0:
            return self._look(user_id, period_key)
        answer = self._ledger.admit(self._claim(user_id, period_key, tokens), self._clock())
        if isinstance(answer, Shortage):
            return Full(answer.balance.used, answer.balance.held)
        return _Reservation(user_id, period_key, answer)

    def settle(self, hold: _Reservation, tokens: int) -> int:
        """See `HoldingQuotaStore.settle`."""
        self._ledger.settle(hold.hold, (tokens,))
        return self.get_usage(hold.user_id, hold.period_key)

    def close(self) -> None:
        """Give back to other processes what this one holds of the quota; close what it opened."""
        if self._owned:
            self._ledger.close()

    def _look(self, user_id: str, period_key: str) -> Full:
        claim = self._claim(user_id, period_key, 0)
        balance = self._ledger.look(claim, self._clock())[0]
        return Full(balance.used, balance.held)

    def _claim(self, user_id: str, period_key: str, tokens: int) -> Any:
        key = Key(self._budget, (user_id, period_key))
        return self._ledger.claim([Line(key, _TOKENS, tokens)])

    def _with_limit(self, limit: int) -> Budget:
        return Budget(
            limit=limit,
            unit="tokens",
            window="lifetime",  # the keys say when a period is over
            by=("user", "period"),
            name=self._name,
            on_error=self._on_error,
        )

    def after_fork(self) -> None:
        """In a forked child: what is held is the parent's."""
        self._lock = threading.Lock()
        if self._owned:
            self._ledger.after_fork()


def _open(ledger: str, trouble: Trouble) -> Ledger[Any]:
    if ledger == "memory":
        return MemoryLedger()
    file = ledger.removeprefix(_SQLITE)
    if file in ("", ledger):
        raise ConfigurationError(
            f"ledger={ledger!r}: expected 'memory', 'sqlite:///file' or a Ledger"
        )
    # Only who shares a file needs sqlite3.
    from otel_atm.ledger.leased import LeasedLedger
    from otel_atm.ledger.sqlite import SqliteStore

    return LeasedLedger(SqliteStore(file), note=trouble.note)
