from __future__ import annotations

import pytest

from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock
from tests.ledger.contract import MINUTE, PER_USER, Book, LedgerContract, LedgerMachine


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()

    def test_starts_at_zero(self, ledger: MemoryLedger, clock: ManualClock) -> None:
        assert ledger.balances(clock()) == []

    def test_keeps_the_payers_of_one_window_only(self, book: Book, clock: ManualClock) -> None:
        for number in range(100):
            book.spend(book.open(PER_USER, user=f"user{number}"), 1)
        clock.advance(MINUTE)
        book.spend(book.open(PER_USER, user="ann"), 1)
        assert len(book.ledger.balances(clock())) == 1
        assert book.amounts == {(PER_USER, "ann"): (1, 0)}


class MemoryMachine(LedgerMachine):
    make = MemoryLedger


TestMemoryMachine = MemoryMachine.TestCase
