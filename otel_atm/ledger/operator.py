"""Operator: somebody who looks at a ledger from outside, and changes what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from otel_atm.budget import Budget
from otel_atm.budget_text import nearest
from otel_atm.errors import AtmError
from otel_atm.ledger.account import period_of
from otel_atm.ledger.lease_store import LeaseStore
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.leased_book import LeasedBook, budget_of, identity_of
from otel_atm.ledger.ledger import Key, payer_keys
from otel_atm.window import Period


class UnknownError(AtmError):
    """There is no such budget or payer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One payer of one budget in its current window, in the budget's own unit.

    Attributes:
        payer: scope key → value, of what the budget counts apart.
        left: of the limit, at least 0.
        granted: by operators; it is in `limit`.
        exempt_ns: until when it is refused nothing; 0: it is not exempt.
    """

    budget: Budget
    payer: dict[str, str]
    used: int | float
    held: int | float
    left: int | float
    limit: int | float
    granted: int | float
    period: Period
    exempt_ns: int


class Operator:
    """All that a store knows, without the programs that use it.

    Args:
        store: is closed with the operator.

    Raises:
        LedgerError: it cannot be read.
    """

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        # As in its programs, a name of several budgets is the one that was in use last.
        budgets = [budget_of(about) for about in store.budgets().values()]
        self.budgets = list({budget.label: budget for budget in budgets}.values())
        self._ledger = LeasedLedger(store, threaded=False)

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()

    def rows(self, now_ns: int) -> list[Row]:
        """Everybody who has spent something, or has calls in flight, in the current windows.

        Raises:
            LedgerError: the store cannot be read.
        """
        rows = []
        for budget in self.budgets:
            book = LeasedBook(budget, lambda _: None)
            book.turn(now_ns)
            for each in self._store.standings(*book.place):
                limit, spent = budget.cap + each.extra, each.spent
                rows.append(
                    Row(
                        budget,
                        dict(zip(payer_keys(budget), json.loads(each.payer), strict=True)),
                        budget.shown(each.settled),
                        budget.shown(spent - each.settled),
                        budget.shown(max(0, limit - spent)),
                        budget.shown(limit),
                        budget.shown(each.extra),
                        period_of(budget, book.page.period),
                        each.exempt_ns if each.exempt_ns > now_ns else 0,
                    )
                )
        return rows

    def find(self, name: str) -> Budget:
        """The budget of a name or a canonical text.

        Raises:
            UnknownError: there is none; it quotes the name and the nearest one.
        """
        known = {str(budget): budget for budget in self.budgets}
        known.update({budget.label: budget for budget in self.budgets})
        if name in known:
            return known[name]
        hint = nearest(name, tuple(known))
        raise UnknownError(f"no budget {name!r} has been used in this ledger{hint}")

    def key(self, budget: Budget, payer: Mapping[str, str], *, unseen: bool = False) -> Key:
        """What an account of a budget is kept for.

        Args:
            budget: of the account.
            payer: scope key → value, of all that the budget counts apart; "": of those without.
            unseen: whether it may be one who has not spent anything yet.

        Raises:
            UnknownError: for other keys, and for a payer who has never spent anything.
        """
        keys = payer_keys(budget)
        if set(payer) != set(keys):
            wanted = " ".join(f"--payer {key}=…" for key in keys) or "no --payer"
            raise UnknownError(f"{budget.label!r} needs {wanted}; given: {dict(payer) or 'none'}")
        values = tuple(payer[key] for key in keys)
        seen = [tuple(json.loads(each)) for each in self._store.payers(identity_of(budget))]
        if keys and values not in seen and not unseen:
            hint = nearest(_shown(keys, values), tuple(_shown(keys, each) for each in seen))
            raise UnknownError(
                f"{_shown(keys, values)} has spent nothing of {budget.label!r}{hint}"
            )
        return Key(budget, values)

    def grant(self, key: Key, amount: int, now_ns: int) -> None:
        """See `Ledger.grant`."""
        self._ledger.grant(key, amount, now_ns)

    def reset(self, key: Key, now_ns: int) -> None:
        """See `Ledger.reset`."""
        self._ledger.reset(key, now_ns)

    def exempt(self, key: Key, until_ns: int, now_ns: int) -> None:
        """See `Ledger.exempt`."""
        self._ledger.exempt(key, until_ns, now_ns)

    @property
    def stopped(self) -> bool:
        """Whether all calls are refused."""
        return self._store.bell.stopped

    def stop(self, *, stopped: bool) -> None:
        """Have all programs refuse all calls, or let them go on."""
        self._ledger.stop(stopped=stopped)


def _shown(keys: tuple[str, ...], values: tuple[str, ...]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
