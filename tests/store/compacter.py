"""Programs that compact a store and die on the way: ``python compacter.py STORE``.

For each line of the input, the number of a step, a child compacts the store and kills itself before
that step; a step is something done to a file or with DuckDB. The answer is a line: the signal that
ended the child, or, below 0, how many steps there were if it came to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from otel_atm.store import compact as compacting
from otel_atm.store.paths import StorePaths

_steps = count()
_death = -1


def mortal(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same, where the program may die before it."""

    def either(*arguments: Any, **keywords: Any) -> Any:
        if next(_steps) == _death:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **keywords)

    return either


class Mortal:
    """A DuckDB connection of such a program."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        for name in ("execute", "begin", "commit", "close"):
            setattr(self, name, mortal(getattr(connection, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def child(store: str, answer: int, step: int) -> NoReturn:
    """Compact, or die."""
    global _death
    _death = step
    connect = duckdb.connect
    duckdb.connect = lambda *a, **k: Mortal(connect(*a, **k))  # type: ignore[assignment,misc]
    compacting.sync = mortal(compacting.sync)  # type: ignore[attr-defined]
    for name in ("replace", "unlink", "chmod"):
        setattr(Path, name, mortal(getattr(Path, name)))
    try:
        compacting.compact(StorePaths.of(store))
        os.write(answer, f"-{next(_steps)}\n".encode())
    finally:
        os._exit(0)


def main(store: str) -> None:
    """A child for each line."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(store, sys.stdout.fileno(), int(line))
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            print(os.WTERMSIG(status), flush=True)  # noqa: T201 - its only way to speak


if __name__ == "__main__":
    main(sys.argv[1])
