"""The store: a spool, and a thread that drains it."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta
from typing import Final

from otel_atm.errors import ConfigurationError
from otel_atm.gate import Call
from otel_atm.store.backlog import LONGEST_S
from otel_atm.store.drain import drain, spooled_bytes
from otel_atm.store.paths import StorePaths
from otel_atm.store.retention import Retention
from otel_atm.store.spool import Spool
from otel_atm.trouble import Trouble

_INTERVAL_S: Final = LONGEST_S
#: A drain may take this part of the time at most: a slow disk makes it run less often.
_SHARE: Final = 0.1
_LONGEST_S: Final = 10.0


class Store:
    """Keeps the events of this process in a DuckDB file.

    Args:
        path: of the DuckDB file; it and its folder are made when the first event comes.
        keep_events: for how long, e.g. "90 days", "12h", or a timedelta; what is older is deleted
            from the file about once an hour. None: for ever.
        keep_rollups: the same, for ``usage_1m`` and ``usage_1h``.
        trouble: counts what fails.

    Raises:
        ConfigurationError: quotes the argument that cannot be used.

    Attributes:
        backlog: of events that somebody keeps back; see `otel_atm.store.backlog`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep_events: str | timedelta | None = None,
        keep_rollups: str | timedelta | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.paths = StorePaths.of(path)
        self._trouble = trouble or Trouble()
        self._retention = Retention(keep_events, keep_rollups)
        self._spool = Spool(self.paths.spool, self._trouble, on_open=self._start)
        self.backlog = self._spool.backlog
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._drained_at = time.monotonic()
        self._took_s = 0.0
        self._lost = 0  # events, when last flushed

    def append(self, call: Call) -> None:
        """Keep the row of a call; a sink of the gate."""
        self._spool.append(call)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Take all events so far into the file.

        Returns:
            False if that failed or took too long, or if events were lost since the last time.
        """
        self.backlog.write_all()
        return self._drain(timeout_s)

    def _drain(self, timeout_s: float = 30.0) -> bool:
        started, lost = time.monotonic(), sum(self._trouble.dropped.values())
        try:
            self._spool.seal()
            drain(self.paths, timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - the segments stay, and the program goes on
            self._trouble.note("drain", error)
            return False
        finally:
            self._took_s = time.monotonic() - started
        self._tend()
        self._drained_at = time.monotonic()
        kept, self._lost = lost == self._lost, lost
        return kept

    def _tend(self) -> None:
        try:
            self._retention.tend(self.paths)
        except Exception as error:  # noqa: BLE001 - the rows stay; tried again in an hour
            self._trouble.note("retention", error)

    def close(self, timeout_s: float = 30.0) -> bool:
        """Stop the thread and flush. Events that come later are spooled all the same."""
        # What begins meanwhile gets a thread, and an event, of its own.
        stopping, self._stopping = self._stopping, threading.Event()
        stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_s)
        return self.flush(timeout_s)

    def spooled_bytes(self) -> int:
        """What waits beside the file, of all processes."""
        try:
            return spooled_bytes(self.paths)
        except OSError:
            return 0  # a segment was drained while we looked

    def drain_delay_s(self) -> float:
        """Seconds since the last drain while anything waits; else 0."""
        return time.monotonic() - self._drained_at if self.spooled_bytes() else 0.0

    def after_fork(self) -> None:
        """In a forked child: the thread and the segment are the parent's."""
        self._spool.after_fork()
        self._stopping, self._thread = threading.Event(), None

    def _start(self) -> None:
        if sys.is_finalizing() or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._run, name="otel-atm-drain", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter is shutting down; the next process drains what is spooled
        self._thread = thread

    def _run(self) -> None:
        stopping, wait_s, drained_at = self._stopping, _INTERVAL_S, time.monotonic()
        while not stopping.wait(wait_s):
            wait_s = self.backlog.write_due()
            rest_s = max(_INTERVAL_S, min(self._took_s / _SHARE, _LONGEST_S))
            if (left_s := drained_at + rest_s - time.monotonic()) <= 0:
                self._drain()
                left_s, drained_at = _INTERVAL_S, time.monotonic()
            wait_s = min(wait_s, left_s)


def read_store(store: str | os.PathLike[str] | Store | None, trouble: Trouble) -> Store | None:
    """A store from what the user gave: a path, a `Store`, or None to keep nothing.

    Raises:
        ConfigurationError: the path cannot be one of a DuckDB file, or `store` is none of these.
    """
    if store is None or isinstance(store, Store):
        return store
    if isinstance(store, str | os.PathLike):
        return Store(store, trouble=trouble)
    raise ConfigurationError(f"store={store!r}: expected a path, a Store, or None to keep nothing")
