"""LeaseStore: where the grants of all nodes are kept. SQLite is one; see `grants` for its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from otel_atm.errors import StoreError
from otel_atm.ledger.bell import Bell
from otel_atm.ledger.cells import Remains
from otel_atm.ledger.grants import Answer, Ask, Bucket


class LedgerError(StoreError):
    """The store of a ledger cannot be used now. What was asked for has not happened."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One payer of one budget in its current window, over all nodes, as far as they told.

    Attributes:
        budget, payer: as in `Bucket`.
        cap: the limit that the budget said last.
        extra: granted by operators.
        granted: to all nodes.
        start_ns, end_ns: of the window; of a rolling one, of its last slot in which was spent.
        exempt_ns: until when it is refused nothing; 0: it is not exempt.
    """

    budget: str
    payer: str
    cap: int
    extra: int
    granted: int
    spent: int
    settled: int
    start_ns: int
    end_ns: int
    exempt_ns: int = 0


class Tally(NamedTuple):
    """All payers of one budget in its current window; see `Summary`."""

    used: int
    held: int
    spent: int
    payers: int
    alerted: int
    exhausted: int


class LeaseStore(Protocol):
    """Asked by the processes that share a ledger. Safe to call from any thread.

    Every method but `open` waits `timeout_s` at most, where it has one.

    """

    @property
    def folder(self) -> Path:
        """On this host, where the processes keep their cells."""
        ...

    @property
    def generation(self) -> int:
        """Another number after the records were lost, e.g. because a file was removed."""
        ...

    @property
    def bell(self) -> Bell:
        """What the processes of this host ring.

        Raises:
            LedgerError: it cannot be opened.
        """
        ...

    def open(self, timeout_s: float) -> None:
        """Make ready what the first `step` would wait for; see whether the records are still there.

        Raises:
            LedgerError: it cannot be used now.
        """
        ...

    def step(self, asks: Sequence[Ask], now_ns: int, timeout_s: float) -> list[Answer]:
        """Answer all, in their order, as one transaction.

        Raises:
            LedgerError: none was answered, and nothing has changed.
        """
        ...

    def bury(self, node: str, remains: Sequence[Remains], now_ns: int, timeout_s: float) -> None:
        """Close a dead node's account: what it had committed is spent, the rest is given back.

        Again for the same node: nothing happens.

        Raises:
            LedgerError: nothing has changed.
        """
        ...

    def standings(self, budget: str, start_ns: int, from_ns: int) -> list[Standing]:
        """All payers of a budget in the window that starts at `start_ns`.

        Args:
            budget: as in `Bucket`.
            start_ns: of the window, or of the current slot of a rolling one.
            from_ns: slots that start after this count, too; `start_ns - 1` where there are none.
        """
        ...

    def tally(self, budget: str, start_ns: int, from_ns: int, cap: int, first_alert: int) -> Tally:
        """What `standings` add up to, quickly.

        Args:
            budget: as in `Bucket`.
            start_ns: as for `standings`.
            from_ns: as for `standings`.
            cap: the budget's limit.
            first_alert: from which amount on a payer counts as alerted.
        """
        ...

    def budgets(self) -> dict[str, str]:
        """Every budget that there is: as in `Bucket` → `Ask.about`."""
        ...

    def payers(self, budget: str) -> list[str]:
        """Every payer of a budget, in whatever window, as in `Bucket`."""
        ...

    def grant(self, bucket: Bucket, amount: int, cap: int, about: str) -> None:
        """Let a payer spend so much more in a window."""
        ...

    def reset(self, bucket: Bucket) -> None:
        """Begin a window again at zero, with a new epoch."""
        ...

    def exempt(self, bucket: Bucket, until_ns: int, about: str) -> None:
        """Refuse a payer nothing until then."""
        ...

    def sweep(self, now_ns: int) -> None:
        """Forget windows that are long over."""
        ...

    def flush(self) -> None:
        """Put what was written where a power failure does not reach it. Nobody waits for it."""
        ...

    def close(self) -> None:
        """Let go of what is open; it is opened again when needed."""
        ...
