"""Forget: a payer's accounts leave the SQLite file of a ledger, and its free pages."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from otel_atm.ledger.cells import recover
from otel_atm.ledger.lease_store import LedgerError
from otel_atm.ledger.leased_book import budget_of
from otel_atm.ledger.ledger import payer_keys
from otel_atm.ledger.sqlite import SqliteStore
from otel_atm.ledger.sqlite_file import Hand, SqliteFile

#: For how many seconds to wait for programs that write to the file.
_PATIENCE_S: Final = 10.0
_LOOK_S: Final = 0.01
#: Where the keys and the patterns stand in a budget's identity; see `leased_book.identity_of`.
_BY, _MATCH = 6, 7


def forget_payer(
    path: Path, payer: Mapping[str, Collection[str]], now_ns: int
) -> tuple[int, tuple[Path, ...]]:
    """Delete the accounts of a payer, and budgets that match the payer by name.

    A running program whose budgets the payer comes back to opens new accounts, as for a stranger.

    Args:
        path: of the file; nothing happens without one.
        payer: scope key → values that are the payer's.
        now_ns: by the clock of the ledger's programs.

    Returns:
        How many accounts were deleted; files of running programs that name the payer until they
        end.

    Raises:
        LedgerError: the file cannot be used, or is in use for too long.
        OSError: the files beside it cannot be read.
    """
    if not path.exists():
        return 0, ()
    store = SqliteStore(path)
    try:
        for dead in recover(store.folder):
            store.bury(dead.node, dead.remains, now_ns, _PATIENCE_S)
            dead.remove()
    finally:
        store.close()
    file = SqliteFile(store.path, store.folder, mono=time.monotonic, sleep=time.sleep)
    try:
        with file.using(_PATIENCE_S) as hand:
            hand.db.execute("pragma secure_delete = on")
            with hand.alone():
                accounts = _delete(hand, payer)
            hand.write("vacuum")  # what was deleted earlier is in free pages
            _empty_log(hand)
    finally:
        file.close()
    return accounts, tuple(_naming(store.folder, payer))


def _empty_log(hand: Hand) -> None:
    """Copy SQLite's log into the file, and cut it to nothing."""
    deadline = time.monotonic() + _PATIENCE_S
    while hand.db.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
        if time.monotonic() >= deadline:
            raise LedgerError("the ledger is read all the time: its log still names the payer")
        time.sleep(_LOOK_S)


def _delete(hand: Hand, payer: Mapping[str, Collection[str]]) -> int:
    accounts = 0
    budgets = hand.db.execute("select id, identity, about from budget").fetchall()
    for number, identity, about in budgets:
        matched = any(value in payer.get(key, ()) for key, value in json.loads(identity)[_MATCH])
        keys = payer_keys(budget_of(about)) if about else tuple(json.loads(identity)[_BY])
        for table in ("bucket", "exempt"):
            found = hand.db.execute(
                f"select distinct payer from {table} where budget = ?", (number,)
            ).fetchall()
            for (text,) in found:
                if matched or _is_theirs(keys, text, payer):
                    accounts += table == "bucket"
                    _delete_account(hand, table, number, text)
        if matched:
            hand.db.execute("delete from budget where id = ?", (number,))
    return accounts


def _is_theirs(keys: tuple[str, ...], values: str, payer: Mapping[str, Collection[str]]) -> bool:
    return any(
        value in payer.get(key, ()) for key, value in zip(keys, json.loads(values), strict=False)
    )


def _delete_account(hand: Hand, table: str, budget: int, payer: str) -> None:
    whose = (budget, payer)
    if table == "bucket":
        hand.db.execute(
            "delete from lease where bucket in "
            "(select id from bucket where budget = ? and payer = ?)",
            whose,
        )
    hand.db.execute(f"delete from {table} where budget = ? and payer = ?", whose)


def _naming(folder: Path, payer: Mapping[str, Collection[str]]) -> Iterator[Path]:
    """Files of running programs with lines about the payer."""
    values = {value for each in payer.values() for value in each}
    for path in sorted(folder.glob("*.names")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            continue  # its program has just ended
        if any(_names(json.loads(line), values) for line in lines if line.endswith("]")):
            yield path


def _names(line: list[object], values: Collection[str]) -> bool:
    """Whether ``[cell, birth, epoch, budget, payer, …]`` is about one of these."""
    return len(line) > 4 and not set(json.loads(str(line[4]))).isdisjoint(values)
