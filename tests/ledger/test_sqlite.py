from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore
from tests.ledger.contract import PER_MINUTE, Book, LedgerContract, LedgerMachine


def fail(word: str, error: BaseException) -> None:
    raise error


class TestSqliteLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[LeasedLedger]:
        ledger = LeasedLedger(SqliteStore(tmp_path / "atm.ledger"), note=fail, timeout_s=5)
        yield ledger
        ledger.close()

    def test_a_forked_child_keeps_what_was_spent_and_drops_what_its_parent_holds(
        self, book: Book
    ) -> None:
        accounts = book.open(PER_MINUTE)
        book.spend(accounts, 100)
        book.admit(accounts, 300)
        assert book.amounts  # its parent tells the store every two seconds, or when it is asked
        book.ledger.after_fork()
        assert book.amounts == {(PER_MINUTE,): (100, 300)}  # which the parent still holds
        assert book.refuse(accounts, 400).balance.held == 300


class SqliteMachine(LedgerMachine):
    _folder = tempfile.TemporaryDirectory()
    _numbers = itertools.count()

    @staticmethod
    def make() -> LeasedLedger:
        path = Path(SqliteMachine._folder.name) / f"{next(SqliteMachine._numbers)}.ledger"
        return LeasedLedger(SqliteStore(path), note=fail, timeout_s=5, threaded=False)


TestSqliteMachine = SqliteMachine.TestCase
