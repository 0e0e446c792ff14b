"""Several nodes in one process, on one store, by clocks that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otel_atm.budget import Budget
from otel_atm.ledger.cells import Remains
from otel_atm.ledger.grants import Answer, Ask
from otel_atm.ledger.lease_store import LedgerError, Standing
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.leased_book import LeasedBook
from otel_atm.ledger.sqlite import SqliteStore
from otel_atm.testing import ManualClock
from tests.ledger.contract import Book


class FlakyStore(SqliteStore):
    """Fails when it is told to: before it does anything, or after, so that the answer is lost."""

    fails = ""
    steps = 0

    def step(self, asks: Sequence[Ask], now_ns: int, timeout_s: float) -> list[Answer]:
        if self.fails == "before":
            raise LedgerError("cannot be reached")
        answers = super().step(asks, now_ns, timeout_s)
        self.steps += 1
        if self.fails == "after":
            raise LedgerError("does not answer")
        return answers

    def bury(self, node: str, remains: Sequence[Remains], now_ns: int, timeout_s: float) -> None:
        if self.fails == "before":
            raise LedgerError("cannot be reached")
        super().bury(node, remains, now_ns, timeout_s)
        if self.fails == "after":
            raise LedgerError("does not answer")


class Node(Book):
    """One process, in the words of a test."""

    ledger: LeasedLedger

    def __init__(self, ledger: LeasedLedger, store: FlakyStore, clock: ManualClock) -> None:
        super().__init__(ledger, clock)
        self.store = store
        self.alive = True

    def die(self) -> None:
        """As by kill -9: the lock on its cells is gone, its files are not."""
        self.alive = False
        cells = self.ledger._desk.cells
        if cells is not None:
            cells.abandon()
        self.store.close()


class Fleet:
    """Nodes that come and go.

    Attributes:
        troubles: what nodes have noted.
    """

    def __init__(self, path: Path, *budgets: Budget | str) -> None:
        self.path, self.clock = path, ManualClock()
        self.budgets = [Budget(text) if isinstance(text, str) else text for text in budgets]
        self.now = 1_000.0
        self.nodes: list[Node] = []
        self.troubles: list[str] = []
        self._ticking = False

    def join(self) -> Node:
        """Another process starts."""
        store = FlakyStore(self.path, mono=lambda: self.now, sleep=self.sleep)
        ledger = LeasedLedger(
            store,
            mono=lambda: self.now,
            sleep=self.sleep,
            note=lambda word, error: self.troubles.append(f"{word}: {error}"),
            threaded=False,
        )
        ledger.use(self.budgets)
        self.nodes.append(Node(ledger, store, self.clock))
        return self.nodes[-1]

    @property
    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    def sleep(self, seconds: float) -> None:
        """While a node waits, the others go on."""
        self.now += seconds
        if not self._ticking:
            self._ticking = True
            self.tick()
            self._ticking = False

    def tick(self) -> None:
        for node in self.alive:
            node.ledger.tick()

    def wait(self, seconds: float) -> None:
        """Let time pass, with ticks."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            self.tick()
        self.clock.advance(seconds)

    def standing(self, at: int = 0) -> Standing:
        """What the store says of the one payer of a budget."""
        node = self.alive[0]
        budget = self.budgets[at]
        book = node.ledger._book(budget)
        with node.ledger._lock:
            node.ledger._turn_book(book, self.clock())
        assert isinstance(book, LeasedBook)
        found = node.store.standings(*book.place)
        return found[0] if found else Standing(book.identity, "[]", 0, 0, 0, 0, 0, 0, 0)

    def close(self) -> None:
        for node in self.alive:
            node.store.fails = ""
            node.ledger.close()
