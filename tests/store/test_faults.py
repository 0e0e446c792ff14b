"""Faults: the application goes on, one clear error is said, and rows arrive once all is mended."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time_ns
from typing import Any

import duckdb
import pytest

import otel_atm as atm
from otel_atm.store import store as store_module
from otel_atm.store.store import Store
from tests.store.conftest import assert_roll_ups_add_up, ids_of, rows_of
from tests.store.test_store import Program

Change = Callable[[], None]


class Shop:
    """A program with a store, that is never told that anything is wrong.

    Attributes:
        events: the ids of all its calls.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path, self.events = path, list[str]()
        self.store = Store(path, **settings)
        self._program = Program(self.store, ledger="memory")
        self.trouble = self._program.processor.trouble

    def call(self, times: int = 1) -> None:
        self.events += [self._program.call() for _ in range(times)]

    def flush(self, timeout_s: float = 5.0) -> bool:
        return self.store.flush(timeout_s)

    def seal(self) -> None:
        self.store._spool.seal()

    def lost(self) -> int:
        return sum(self.trouble.dropped.values())

    def close(self) -> None:
        self._program.processor.retire()
        self._program.provider.shutdown()


@pytest.fixture(autouse=True)
def nobody_drains_but_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_INTERVAL_S", 1_000.0)


@pytest.fixture
def shops() -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(path: Path, **settings: Any) -> Shop:
        made.append(Shop(path, **settings))
        return made[-1]

    yield make
    for shop in made:
        shop.close()


@pytest.fixture
def shop(shops: Callable[..., Shop], path: Path) -> Shop:
    return shops(path)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "none", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"cannot mount: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def no_duckdb_file(path: Path) -> tuple[Change, Change]:
    kept = path.with_name("kept")

    def ruin() -> None:
        path.rename(kept)
        path.write_text("hello")

    return ruin, lambda: kept.replace(path) and None


def corrupted(path: Path) -> tuple[Change, Change]:
    kept = path.with_name("kept")

    def ruin() -> None:
        shutil.copy(path, kept)
        content = bytearray(path.read_bytes())
        for place in range(4096 * 3 + 40, len(content), 1000):
            content[place] ^= 0xFF
        path.write_bytes(content)

    return ruin, lambda: kept.replace(path) and None


def cut_short(path: Path) -> tuple[Change, Change]:
    kept = path.with_name("kept")

    def ruin() -> None:
        shutil.copy(path, kept)
        os.truncate(path, 3 * 4096)  # its headers alone

    return ruin, lambda: kept.replace(path) and None


def set_version(path: Path, change: str) -> None:
    with duckdb.connect(path) as connection:
        connection.execute(f"update atm_schema set version = version {change}")


def of_a_newer_version(path: Path) -> tuple[Change, Change]:
    return lambda: set_version(path, "+ 90"), lambda: set_version(path, "- 90")


def held_by_another_process(path: Path) -> tuple[Change, Change]:
    source = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    holders: list[Any] = []

    def ruin() -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", source, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline()
        holders.append(holder)

    def mend() -> None:
        holders[0].communicate()

    return ruin, mend


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (no_duckdb_file, "tokens.duckdb cannot be opened: .*not a valid DuckDB database file"),
        (corrupted, "tokens.duckdb c.*Corrupt database file"),
        (cut_short, "tokens.duckdb c"),
        (of_a_newer_version, "written by a newer otel-atm .*update otel-atm"),
        (held_by_another_process, "tokens.duckdb cannot be opened: .*(PID|process) \\d+"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_of_a_file_that_cannot_be_used_keeps_all_rows_until_it_is_mended(
    shop: Shop,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Path], tuple[Change, Change]],
    said: str,
) -> None:
    ruin, mend = fault(path)
    shop.call(20)
    assert shop.flush()
    ruin()
    shop.call(20)
    assert not shop.flush(0.3)
    shop.call(20)
    assert not shop.flush(0.3)
    (message,) = errors(caplog)
    assert re.search(said, message)
    assert shop.trouble.counts == {"drain": 2}
    assert shop.lost() == 0
    mend()
    assert shop.flush()
    assert ids_of(path) == shop.events
    assert_roll_ups_add_up(path)
    assert list(shop.store.paths.spool.iterdir()) == []


class TestAFullDisk:
    def test_costs_the_rows_that_do_not_fit_and_no_others(
        self, shops: Callable[..., Shop], disk: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop = shops(disk / "tokens.duckdb")
        shop.call(10)
        assert shop.flush()
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - 8192))
        shop.call(200)
        assert shop.lost() > 0
        assert not shop.flush()
        shop.call(10)
        assert not shop.flush()
        messages = errors(caplog)
        assert len(messages) == len(shop.trouble.counts) == 2
        assert all("No space left on device" in message for message in messages), messages
        filler.unlink()
        shop.call(10)
        shop.flush()
        kept = ids_of(shop.path)
        assert len(kept) == len(shop.events) - shop.lost()
        assert set(kept) < set(shop.events)
        assert {*shop.events[:10], *shop.events[-10:]} < set(kept)
        assert_roll_ups_add_up(shop.path)

    def test_that_fills_at_any_moment_of_a_drain_loses_nothing_of_what_was_spooled(
        self, shops: Callable[..., Shop], disk: Path
    ) -> None:
        shop = shops(disk / "tokens.duckdb")
        shop.call(10)
        assert shop.flush()
        free = shutil.disk_usage(disk).free
        failed = 0
        for room in range(0, 600_000, 100_000):
            shop.call(100)
            shop.seal()
            filler = disk / "filler"
            filler.write_bytes(b"\0" * max(0, shutil.disk_usage(disk).free - room))
            failed += not shop.flush()
            filler.unlink()
        assert free > 600_000
        assert 0 < failed < 6
        assert shop.flush()
        assert shop.lost() == 0
        assert ids_of(shop.path) == shop.events
        assert_roll_ups_add_up(shop.path)


def test_a_read_only_disk_takes_no_rows_and_what_was_spooled_arrives_when_it_is_mended(
    shops: Callable[..., Shop], disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = shops(disk / "tokens.duckdb")
    shop.call(3)
    assert shop.flush()
    shop.call(3)
    shop.seal()
    mount("-o", "remount,ro", disk)
    shop.call(4)
    assert not shop.flush()
    assert not shop.flush()
    assert shop.trouble.dropped == {"spool_write": 4}
    assert len(errors(caplog)) == 2
    assert all("Read-only file system" in message for message in errors(caplog))
    mount("-o", "remount,rw", disk)
    shop.call(3)
    shop.flush()
    assert ids_of(shop.path) == shop.events[:6] + shop.events[-3:]


class TestDeletedUnderUs:
    def test_the_file_is_made_anew(self, shop: Shop, path: Path) -> None:
        shop.call(3)
        assert shop.flush()
        path.unlink()
        shop.call(3)
        assert shop.flush()
        assert ids_of(path) == shop.events[3:]

    def test_the_folder_of_segments_costs_nothing_that_is_being_written(
        self, shop: Shop, path: Path
    ) -> None:
        shop.call(3)
        shutil.rmtree(shop.store.paths.spool)
        shop.call(3)
        assert shop.flush()
        assert ids_of(path) == shop.events
        assert list(shop.store.paths.spool.iterdir()) == []

    def test_a_segment_that_cannot_be_saved_is_said(
        self, shop: Shop, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop.call(3)
        shutil.rmtree(shop.store.paths.spool)
        shop.store.paths.spool.write_text("in the way")
        assert not shop.flush()
        assert shop.trouble.dropped == {"spool_deleted": 3}
        deleted, in_the_way = errors(caplog)
        assert "spool_deleted" in deleted
        assert f"{shop.store.paths.spool}: Not a directory" in in_the_way
        shop.store.paths.spool.unlink()
        shop.call(3)
        shop.flush()
        assert ids_of(path) == shop.events[3:]

    def test_the_whole_folder_is_made_anew(
        self, shops: Callable[..., Shop], tmp_path: Path
    ) -> None:
        shop = shops(tmp_path / "data" / "tokens.duckdb")
        shop.call(3)
        assert shop.flush()
        shop.call(3)
        shutil.rmtree(tmp_path / "data")
        shop.call(3)
        assert shop.flush()
        assert ids_of(shop.path) == shop.events[3:]

    def test_the_lock_is_made_anew(self, shop: Shop, path: Path) -> None:
        shop.call(3)
        assert shop.flush()
        shop.store.paths.lock.unlink()
        shop.call(3)
        assert shop.flush()
        assert ids_of(path) == shop.events


def test_a_clock_that_is_set_back_loses_and_doubles_nothing(path: Path) -> None:
    day_ns = 86_400 * 10**9
    now = [time_ns()]
    processor = atm.TokenSpanProcessor(store=path, clock=lambda: now[0])
    for step_ns in (0, -day_ns, 1, -400 * day_ns, 2 * day_ns, 500 * day_ns):
        now[0] += step_ns
        for _ in range(3):
            with processor.admit(tokens=10) as call:
                call.settle(input_tokens=5, output_tokens=5)
        assert processor.force_flush()
    rows = rows_of(path)
    assert len({row["event_id"] for row in rows}) == len(rows) == 18
    assert len({row["ts"] for row in rows}) > 3
    assert_roll_ups_add_up(path)
    assert processor.trouble.counts == {}
    processor.retire()


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_a_file_that_is_damaged_anywhere_never_makes_good_segments_bad(
    shops: Callable[..., Shop], path: Path, rounds: int
) -> None:
    """Else rows would be put aside for what is the file's fault."""
    shop = shops(path)
    shop.call(200)
    assert shop.flush()
    sound, chance = path.read_bytes(), random.Random(2026)
    for _ in range(rounds):
        content = bytearray(sound)
        for _ in range(chance.choice([1, 10, 1000])):
            content[chance.randrange(4096 * 3, len(content))] ^= 1 << chance.randrange(8)
        shop.call()
        shop.seal()
        path.write_bytes(content)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        shop.flush(0.1)
        assert list(shop.store.paths.spool.glob("*.bad")) == []
        path.write_bytes(sound)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
