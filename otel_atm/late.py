"""Late imports: what takes long to import is imported where it is first needed, in any thread.

A child that is forked while another thread imports has that thread's import locks, but not the
thread: whoever imports the same in the child waits forever. So a fork waits for late imports to
end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: How long a fork waits at most: the thread that forks may have a lock that the import waits for.
_PATIENCE_S: Final = 10.0

_importing = threading.RLock()
_forking = threading.local()


@contextmanager
def late_import() -> Iterator[None]:
    """Import in here what takes long. Threads take turns; one may come in again."""
    with _importing:
        yield


def _before_fork() -> None:
    _forking.waited = _importing.acquire(timeout=_PATIENCE_S)


def _after_fork_in_parent() -> None:
    if _forking.waited:
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing
    _importing = threading.RLock()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
