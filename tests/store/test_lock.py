"""The lock around every opening of a DuckDB file: between threads, and between processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.store.lock import let_go, locked, open_locked


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "tokens.duckdb.lock"


def is_free(lock: Path, *, shared: bool = False) -> bool:
    try:
        with locked(lock, shared=shared, timeout_s=0):
            return True
    except atm.StoreError:
        return False


def test_its_file_is_made_for_the_owner_alone(lock: Path) -> None:
    before = os.umask(0)
    try:
        with locked(lock):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_who_has_it_alone_keeps_all_others_out(lock: Path) -> None:
    with locked(lock):
        assert not is_free(lock)
        assert not is_free(lock, shared=True)
    assert is_free(lock)


def test_readers_share_it_and_keep_writers_out(lock: Path) -> None:
    with locked(lock, shared=True):
        assert is_free(lock, shared=True)
        assert not is_free(lock)
    assert is_free(lock)


def test_it_comes_free_when_the_block_fails(lock: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(lock):
        1 / 0  # noqa: B018
    assert is_free(lock)


def test_waiting_ends_with_an_error_that_names_it_and_the_time(lock: Path) -> None:
    with (
        locked(lock),
        pytest.raises(atm.StoreError, match=r"tokens\.duckdb\.lock was locked for more than 0\.1"),
        locked(lock, timeout_s=0.05 + 0.05),
    ):
        pass


def test_waiting_with_a_limit_gets_it_when_it_comes_free(lock: Path) -> None:
    have, let_go, got = threading.Event(), threading.Event(), threading.Event()

    def holder() -> None:
        with locked(lock):
            have.set()
            let_go.wait(10)

    def waiter() -> None:
        with locked(lock, timeout_s=10):
            got.set()

    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(holder)
        assert have.wait(10)
        waiting = pool.submit(waiter)
        assert not got.is_set()
        let_go.set()
        held.result(10)
        waiting.result(10)
    assert got.is_set()


def test_threads_never_have_it_together(lock: Path) -> None:
    inside, most = [0], [0]

    def enter(_: int) -> None:
        with locked(lock):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            os.sched_yield()
            inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(200)))
    assert most == [1]


HOLDER = """
import sys
from pathlib import Path
from otel_atm.store.lock import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_another_process_that_has_it_keeps_us_out_until_it_is_killed(lock: Path) -> None:
    root = str(Path(atm.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert not is_free(lock)
        holder.kill()
        holder.wait()
        assert is_free(lock)


def test_a_file_that_somebody_has_locked_is_not_opened_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "one.segment"
    path.touch()
    mine = open_locked(path, os.O_RDWR)
    assert mine is not None
    assert open_locked(path, os.O_RDWR) is None
    let_go(mine)
    again = open_locked(path, os.O_RDWR)
    assert again is not None
    let_go(again)


def test_a_child_that_was_forked_while_it_was_held_does_not_keep_it(lock: Path) -> None:
    here, there = os.pipe()
    with locked(lock):
        child = os.fork()
        if child == 0:  # lives on, with whatever it has inherited
            os.close(there)
            os.read(here, 1)
            os._exit(0)
    try:
        assert is_free(lock)
    finally:
        os.close(there)
        os.close(here)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_unlock_what_its_parent_has(lock: Path) -> None:
    with locked(lock):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert not is_free(lock)


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing" / "lock"):
        pass
