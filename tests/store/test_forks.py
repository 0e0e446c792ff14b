"""Forks in the midst of DuckDB: no child writes through its parent's instance."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.store import forks
from otel_atm.store.lock import locked


def in_child(check: Callable[[], bool]) -> bool:
    """What a forked child says."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextmanager
def held(lock: Path) -> Iterator[tuple[threading.Event, Future[None]]]:
    """Another thread has it, until the event is set."""
    have, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(lock):
            have.set()
            assert let_go.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert have.wait(10)
        try:
            yield let_go, holding
        finally:
            let_go.set()


def may_use(lock: Path) -> Callable[[], bool]:
    def try_it() -> bool:
        try:
            with locked(lock, timeout_s=10):
                return True
        except atm.StoreError as error:
            if "was forked while its parent had a DuckDB file open" in str(error):
                return False
            raise

    return try_it


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "tokens.duckdb.lock"


def test_a_fork_waits_until_nobody_has_a_file_open(lock: Path) -> None:
    with held(lock) as (let_go, holding):
        timer = threading.Timer(0.05, let_go.set)
        timer.start()
        assert in_child(lambda: holding.done() or not forks._users)
        timer.join()
    assert in_child(may_use(lock))


def test_a_child_that_could_not_wait_opens_no_file_and_neither_do_its_children(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_PATIENCE_S", 0.01)
    with held(lock):
        assert in_child(lambda: not may_use(lock)() and not in_child(may_use(lock)))
    assert in_child(may_use(lock))  # the next one may
    assert may_use(lock)()  # and so may its parent


def test_who_forks_with_a_file_open_does_not_wait_for_itself(lock: Path) -> None:
    with locked(lock):
        assert in_child(lambda: not may_use(lock)())
    assert in_child(may_use(lock))
