"""Store, ledger and clock: what can be said of them truly."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

import duckdb

from otel_atm.coverage.files import files
from otel_atm.ledger.sqlite import SqliteStore
from otel_atm.store.paths import StorePaths


def look(store: Path, ledger: Path | None = None, now_s: float | None = None) -> dict[str, str]:
    paths = StorePaths.of(store)
    found = files(paths, ledger, time() if now_s is None else now_s)
    return {finding.name: finding.state for finding in found}


def test_files_that_are_not_there_can_be_made(tmp_path: Path) -> None:
    there = look(tmp_path / "a/b/tokens.duckdb", tmp_path / "tokens.ledger")
    assert there == {"store": "fine", "ledger": "fine", "clock": "fine"}
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_files_in_use_are_fine(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "tokens.duckdb").close()
    ledger = SqliteStore(tmp_path / "tokens.ledger")
    ledger.open(1.0)
    assert look(tmp_path / "tokens.duckdb", tmp_path / "tokens.ledger") == {
        "store": "fine",
        "ledger": "fine",
        "clock": "fine",
    }
    ledger.close()


def test_files_of_another_kind_are_broken(tmp_path: Path) -> None:
    for name in ("tokens.duckdb", "tokens.ledger"):
        (tmp_path / name).write_text("something else, and long enough to be read")
    found = look(tmp_path / "tokens.duckdb", tmp_path / "tokens.ledger")
    assert found == {"store": "broken", "ledger": "broken", "clock": "fine"}


def test_a_folder_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = look(tmp_path / "file/tokens.duckdb", tmp_path / "file/tokens.ledger")
    assert found == {"store": "broken", "ledger": "broken", "clock": "fine"}


def test_a_clock_that_cannot_be_right_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "tokens.duckdb"
    assert look(path, now_s=0.0)["clock"] == "broken"
    duckdb.connect(path).close()
    os.utime(path, (time() + 3_600, time() + 3_600))
    assert look(path)["clock"] == "broken"
    assert look(path, now_s=time() + 3_600)["clock"] == "fine"


def test_what_is_in_memory_has_no_files() -> None:
    assert [finding.name for finding in files(None, None, time())] == ["clock"]
