from __future__ import annotations

import pytest

from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock
from tests.ledger.contract import MINUTE, PER_USER, Book, LedgerContract, LedgerMachine


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, clock: ManualClock) -> MemoryLedger:
        return MemoryLedger(clock)

    def test_starts_at_zero(self, ledger: MemoryLedger) -> None:
        assert ledger.balances() == []

    def test_keeps_the_payers_of_one_window_only(
        self, ledger: MemoryLedger, clock: ManualClock
    ) -> None:
        book = Book(ledger)
        for number in range(100):
            book.spend(book.open(PER_USER, user=f"user{number}"), 1)
        clock.advance(MINUTE)
        book.spend(book.open(PER_USER, user="ann"), 1)
        assert (len(ledger.balances()), book.amounts) == (1, {(PER_USER, "ann"): (1, 0)})

    def test_reads_the_system_clock_by_itself(self) -> None:
        book = Book(MemoryLedger())
        book.spend(book.open("10 tokens / month"), 1)
        assert book.amounts == {("10 tokens / month",): (1, 0)}


class MemoryMachine(LedgerMachine):
    make = MemoryLedger


TestMemoryMachine = MemoryMachine.TestCase
