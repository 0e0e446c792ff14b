"""What happens to calls when the file of a ledger cannot be used, and afterwards."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_atm.budget import Budget
from otel_atm.errors import ConfigurationError
from otel_atm.ledger.lease_store import LedgerError
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore
from otel_atm.testing import ManualClock
from tests.ledger.contract import Book, tokens

ALLOW = Budget("1000 tokens / day", name="allow", on_error="allow")
BLOCK = Budget("1000 tokens / day", name="block", on_error="block")
LOCAL = Budget("1000 tokens / day", name="local", on_error="local")
WARN = Budget("1000 tokens / day", name="warn", on_error="block", action="warn")


class Shop:
    """A ledger in a file, ticked by hand, and what it has noted."""

    def __init__(self, path: Path) -> None:
        self.path, self.noted = path, list[str]()
        self.now = 1_000.0
        self.ledger = LeasedLedger(
            SqliteStore(path),
            mono=lambda: self.now,
            sleep=self.sleep,
            note=lambda word, error: self.noted.append(f"{word}: {error}"),
            threaded=False,
        )
        self.book = Book(self.ledger, ManualClock())

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def later(self, seconds: float = 3.0) -> None:
        """The ledger tries again, and tells what is due."""
        for _ in range(3):
            self.now += seconds
            self.ledger.tick()

    def lock(self) -> sqlite3.Connection:
        """Somebody writes to the file, and does not end."""
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("begin immediate")
        return other


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "atm.ledger")
    yield shop
    shop.ledger.close()


@pytest.mark.parametrize("budget", [ALLOW, LOCAL, WARN])
def test_calls_are_let_in_while_the_file_is_locked_and_counted_afterwards(
    shop: Shop, budget: Budget
) -> None:
    keys = shop.book.open(budget)
    shop.book.spend(keys, 100)
    shop.later(6)  # its credit is given back
    other = shop.lock()
    started = time.perf_counter()
    hold = shop.book.admit(keys, 200)
    shop.book.settle(shop.book.admit(keys, 300), 250)
    assert time.perf_counter() - started < 1.0
    assert shop.ledger.unbacked == 2
    assert any("locked" in noted for noted in shop.noted)
    other.close()
    shop.later()
    assert shop.book.amounts == {(budget.label,): (350, 200)}
    shop.book.settle(hold, 200)
    assert shop.book.amounts == {(budget.label,): (550, 0)}


def test_calls_are_refused_while_the_file_is_locked_if_the_budget_says_so(shop: Shop) -> None:
    keys = shop.book.open(BLOCK)
    other = shop.lock()
    refused = shop.book.refuse(keys, 200)
    assert (refused.balance.used, refused.retry_ns) == (0, refused.now_ns + 1_000_000_000)
    other.close()
    shop.later()
    shop.book.admit(keys, 200)


def test_a_process_alone_keeps_to_the_limit_if_the_budget_says_so(shop: Shop) -> None:
    keys = shop.book.open(LOCAL)
    other = shop.lock()
    shop.book.admit(keys, 700, exact=True)
    shop.book.refuse(keys, 400, exact=True)
    shop.book.admit(keys, 300, exact=True)
    other.close()
    shop.later()
    assert shop.book.amounts == {("local",): (0, 1_000)}
    shop.book.refuse(keys, 1, exact=True)


def test_credit_at_hand_is_used_while_the_file_is_locked(shop: Shop) -> None:
    keys = shop.book.open(BLOCK)
    shop.book.admit(keys, 100)  # and a block for the next ones
    other = shop.lock()
    for _ in range(9):
        shop.book.admit(keys, 100)
    shop.book.refuse(keys, 100)
    other.close()


def test_nothing_is_counted_twice_when_the_file_is_removed_under_us(shop: Shop) -> None:
    keys = shop.book.open(ALLOW)
    hold = shop.book.admit(keys, 100)
    shop.book.spend(keys, 200)
    for path in shop.path.parent.glob("atm.ledger*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shop.later()
    shop.book.settle(hold, 50)
    shop.book.spend(keys, 300)
    shop.later()
    assert shop.book.amounts == {("allow",): (550, 0)}
    assert shop.path.exists()
    assert shop.book.refuse(keys, 500, exact=True).balance.used == 550


OTHER = """
import sys
from otel_atm.ledger.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.open(5.0)
store.budgets()
store.close()
"""


def test_another_process_that_comes_and_goes_takes_nothing_away(shop: Shop) -> None:
    keys = shop.book.open(BLOCK)
    shop.book.spend(keys, 100)
    assert shop.book.amounts  # it reads with another connection
    log = shop.path.with_name("atm.ledger-wal")
    inode = log.stat().st_ino
    subprocess.run([sys.executable, "-c", OTHER, str(shop.path)], check=True)
    assert log.stat().st_ino == inode


def test_a_file_that_is_no_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "atm.ledger"
    path.write_bytes(b"This is not a database." * 100)
    shop = Shop(path)
    shop.book.admit(shop.book.open(ALLOW), 100)
    shop.book.refuse(shop.book.open(BLOCK), 100)
    assert "not a database" in shop.noted[0]
    assert str(path) in shop.noted[0]
    assert path.read_bytes()[:4] == b"This"


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "atm.ledger"
    other = sqlite3.connect(path)
    other.execute("create table mine (a)")
    other.commit()
    other.close()
    with pytest.raises(LedgerError, match="something else"):
        SqliteStore(path).open(1.0)


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "atm.ledger"
    store = SqliteStore(path)
    store.open(1.0)
    store.close()
    other = sqlite3.connect(path)
    other.execute("pragma user_version = 99")
    other.close()
    with pytest.raises(LedgerError, match="version 99"):
        SqliteStore(path).open(1.0)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "atm.ledger").open(1.0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize("path", ["", "/"])
def test_a_path_that_cannot_be_a_file_is_refused_at_once(path: str) -> None:
    with pytest.raises(ConfigurationError, match="not the path of a file"):
        SqliteStore(path)


FULL = """
import resource, sys
from pathlib import Path
from tests.ledger.test_sqlite_failures import ALLOW, Budget, Shop
shop = Shop(Path(sys.argv[1]))
shop.book.spend(shop.book.open(ALLOW), 1)
size = max(path.stat().st_size for path in Path(sys.argv[1]).parent.rglob("*") if path.is_file())
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
per_user = Budget("1000 tokens / day per user", name="per_user")
for number in range(700):
    shop.book.spend(shop.book.open(per_user, user=f"user{number}"), 1)
    shop.now += 1
unbacked = shop.ledger.unbacked
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
shop.later()
shop.later()
amounts = shop.book.amounts
print(unbacked > 0, len(amounts), set(amounts.values()), bool(shop.noted))
"""


def test_a_full_disk_stops_nobody_and_nothing_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "atm.ledger")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True 701 {(1, 0)} True\n", "")


def test_a_store_that_hangs_holds_up_settling_no_longer_than_its_timeout(shop: Shop) -> None:
    alerting = Budget("1000 tokens / day", alert_at=[0.5], name="alerting")
    hold = shop.book.admit(shop.book.open(alerting), 900)
    other = shop.lock()
    assert list(shop.ledger.settle(hold, tokens(900))) == []
    other.close()
    shop.later()
    crossings = shop.ledger.settle(shop.book.admit(shop.book.open(alerting), 10), tokens(10))
    assert [crossing.level for crossing in crossings] == [0.5]
