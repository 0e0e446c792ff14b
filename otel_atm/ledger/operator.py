"""Operator: somebody who looks at a ledger from outside, and changes what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from otel_atm.budget import Budget
from otel_atm.budget_text import nearest
from otel_atm.errors import AtmError
from otel_atm.ledger.account import period_of
from otel_atm.ledger.definitions import Used, definition, in_force
from otel_atm.ledger.lease_store import LeaseStore
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.leased_book import LeasedBook, budget_of, identity_of
from otel_atm.ledger.ledger import Key, payer_keys
from otel_atm.window import FOREVER_NS, Period


class UnknownError(AtmError):
    """There is no such budget or payer."""


class AmbiguousError(AtmError):
    """Several budgets have this name, and nobody can tell which is in force."""


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
        said: budgets that are in force for certain, e.g. of a file; see
            `otel_atm.ledger.definitions`.

    Attributes:
        budgets: that are in force, or may be.

    Raises:
        LedgerError: it cannot be read.
    """

    def __init__(self, store: LeaseStore, said: Iterable[Budget] = ()) -> None:
        self._store = store
        self._known = [budget_of(about) for about in store.budgets().values()]
        self._named = in_force(self._known, said, self._used)
        self.budgets = [budget for budgets in self._named.values() for budget in budgets]
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
        """The budget of a name, a canonical text or a definition.

        Raises:
            UnknownError: there is none; it quotes the name and the nearest one.
            AmbiguousError: there are several; it quotes their definitions.
        """
        if name in self._named:
            found = self._named[name]
        else:
            found = [budget for budget in self.budgets if str(budget) == name]
        found = found or [budget for budget in self._known if definition(budget) == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousError(
                f"{name!r} is the name of {len(found)} budgets in this ledger, and nothing says "
                f"which is in force: {_quoted(found)}; give one of these texts in its place, or "
                "the file that says it: --budgets FILE"
            )
        if before := [budget for budget in self._known if budget.label == name]:
            raise UnknownError(
                f"nothing has been spent yet of the budget {name!r} that is in force; "
                f"in this ledger is {_quoted(before)}"
            )
        known = dict.fromkeys([*map(str, self.budgets), *self._named])
        hint = nearest(name, tuple(known))
        raise UnknownError(f"no budget {name!r} has been used in this ledger{hint}")

    def title(self, budget: Budget) -> str:
        """Its name or text; its definition where others that may be in force have the same."""
        several = len(self._named.get(budget.label, ())) > 1
        return definition(budget) if several else budget.label

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

    def _used(self, budget: Budget) -> Used:
        found = self._store.standings(identity_of(budget), FOREVER_NS, -1)
        return max((Used(each.start_ns, each.end_ns) for each in found), default=Used())

    @property
    def stopped(self) -> bool:
        """Whether all calls are refused."""
        return self._store.bell.stopped

    def stop(self, *, stopped: bool) -> None:
        """Have all programs refuse all calls, or let them go on."""
        self._ledger.stop(stopped=stopped)


def _quoted(budgets: Iterable[Budget]) -> str:
    return ", ".join(repr(definition(budget)) for budget in budgets)


def _shown(keys: tuple[str, ...], values: tuple[str, ...]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
