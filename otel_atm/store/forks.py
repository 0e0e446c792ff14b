"""Forks: no process is forked in the midst of DuckDB if that can be helped.

DuckDB keeps a list of the files that a process has open. A child that is forked meanwhile inherits
it, and would write through its parent's instance beside its parent: two writers, and no lock that
keeps them apart. So a fork waits a moment until DuckDB is closed; if that takes too long, the child
does without DuckDB: its rows are spooled, and other processes take them in.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otel_atm import late  # noqa: F401 - hooks run backwards: a drain may end its import first
from otel_atm.errors import StoreError

#: How long a fork waits at most.
_PATIENCE_S: Final = 10.0

_changed = threading.Condition()
_users: dict[int, int] = {}  # thread → how often it is in `using_duckdb`
_cut_off = False


def check_forked() -> None:
    """Make sure that this process may use DuckDB.

    Raises:
        StoreError: it was forked while its parent had a file open.
    """
    if _cut_off:
        raise StoreError(
            "this process was forked while its parent had a DuckDB file open, and cannot open one: "
            "its rows stay in the spool until another process takes them in"
        )


@contextmanager
def using_duckdb() -> Iterator[None]:
    """Have a file of a store open in DuckDB in here, and nowhere else."""
    thread = threading.get_ident()
    with _changed:
        _users[thread] = _users.get(thread, 0) + 1
    try:
        yield
    finally:
        with _changed:
            left = _users.pop(thread, 1) - 1  # a child has forgotten all
            if left:
                _users[thread] = left
            _changed.notify_all()


def _before_fork() -> None:
    _changed.acquire()
    _changed.wait_for(lambda: _users.keys() <= {threading.get_ident()}, _PATIENCE_S)


def _after_fork_in_parent() -> None:
    _changed.release()


def _after_fork_in_child() -> None:
    global _changed, _cut_off
    _changed = threading.Condition()
    _cut_off = _cut_off or bool(_users)
    _users.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
