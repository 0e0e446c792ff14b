"""The store: a spool, and a thread that drains it."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from otel_atm.errors import ConfigurationError, StoreError
from otel_atm.gate import Call
from otel_atm.store.backlog import LONGEST_S
from otel_atm.store.bound import DEFAULT_MAX_BYTES, read_bytes
from otel_atm.store.drain import drain, spooled_bytes
from otel_atm.store.mishaps import in_short, names_holder, was_locked
from otel_atm.store.paths import StorePaths
from otel_atm.store.retention import Retention
from otel_atm.store.spool import Spool
from otel_atm.store.unread import UnreadError
from otel_atm.trouble import Trouble

_INTERVAL_S: Final = LONGEST_S
#: A drain may take this part of the time at most: a slow disk makes it run less often.
_SHARE: Final = 0.1
_LONGEST_S: Final = 10.0
#: How soon a drain looks whether others have closed the DuckDB file: then, then less often.
_POLL_S: Final = 0.02
_SELDOM_S: Final = 0.5
#: The end of a program waits no longer: what is spooled waits for the next one.
_PATIENCE_S: Final = 10.0


class Store:
    """Keeps the rows of this process's calls in a DuckDB file.

    Give it to `otel_atm.init` or `TokenSpanProcessor` where a path is not enough::

        atm.init(store=atm.Store("tokens.duckdb", spool_max_bytes="200 MB"))

    Args:
        path: of the DuckDB file; it and its folder are made when the first row comes.
        spool_max_bytes: of what may wait beside the file, of all processes together: an integer
            or a text such as ``"500 MB"``; at least 64 KiB. From nine tenths of it on, new rows
            of refused calls are dropped, from the whole on all new rows, and counted.
        keep_events: for how long, e.g. "90 days", "12h", or a timedelta; what is older is deleted
            from the file about once an hour. None: for ever.
        keep_rollups: the same, for ``usage_1m`` and ``usage_1h``.
        trouble: counts what fails; None: as whoever uses the store does.

    Raises:
        ConfigurationError: quotes the argument that cannot be used.

    Attributes:
        backlog: of events that somebody keeps back; see `otel_atm.store.backlog`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        spool_max_bytes: int | str = DEFAULT_MAX_BYTES,
        keep_events: str | timedelta | None = None,
        keep_rollups: str | timedelta | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.paths = StorePaths.of(path)
        self._trouble, self._reports = trouble or Trouble(), trouble is not None
        self._retention = Retention(keep_events, keep_rollups)
        max_bytes = read_bytes("spool_max_bytes", spool_max_bytes)
        self._spool = Spool(self.paths.spool, self._trouble, self._start, max_bytes)
        self.backlog = self._spool.backlog
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._drained_at = time.monotonic()
        self._took_s = 0.0
        self._failures = 0  # of drains, since one has succeeded
        self._lost = 0  # events, when last flushed
        _stores.add(self)

    def report_to(self, trouble: Trouble) -> None:
        """Count with whoever uses the store first what fails, unless somebody does already."""
        if not self._reports:
            self._trouble, self._reports = trouble, True
            self._spool.report_to(trouble)

    def append(self, call: Call) -> None:
        """Keep the row of a call. When this returns, it survives the death of the process."""
        self._spool.append(call)

    @property
    def sink(self) -> Callable[[Call], None]:
        """`append`, for a gate; one call shorter where nobody has made another of it."""
        return self._spool.append if type(self).append is Store.append else self.append

    def on_failure(self, keep: Callable[[Call], bool] | None) -> None:
        """Have `keep` told of rows that cannot be written; True: it keeps them for later."""
        self._spool.on_failure = keep

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Take all events so far into the file.

        Returns:
            False if that failed or took too long, or if events were lost since the last time.
        """
        self.backlog.write_all()
        return self._drain(timeout_s)

    def _drain(self, timeout_s: float = 30.0, stopping: threading.Event | None = None) -> bool:
        started, complete = time.monotonic(), True
        try:
            self._spool.seal()
            lost = sum(self._trouble.dropped.values())
            self._take_in(timeout_s, stopping)
            self._failures = 0
        except UnreadError as error:  # all others were taken in: no reason to wait, or to keep
            self._failures, complete = 0, False
            self._trouble.note("drain", error)
        except Exception as error:  # noqa: BLE001 - the segments stay, and the program goes on
            self._failures += 1
            self._trouble.note("drain", in_short(error, self.paths.database))
            return False
        finally:
            self._took_s = time.monotonic() - started
            self._measure()
        self._tend()
        self._drained_at = time.monotonic()
        kept, self._lost = lost == self._lost, lost
        return kept and complete

    def _tend(self) -> None:
        try:
            self._retention.tend(self.paths)
        except Exception as error:  # noqa: BLE001 - the rows stay; tried again in an hour
            self._trouble.note("retention", error)

    def _take_in(self, timeout_s: float, stopping: threading.Event | None) -> None:
        """Drain as soon as nobody else has the DuckDB file open, or leave it when stopped."""
        deadline, told, poll_s = time.monotonic() + timeout_s, None, _POLL_S
        while stopping is None or not stopping.is_set():
            left_s = max(0.0, deadline - time.monotonic())
            try:
                drain(self.paths, timeout_s=min(left_s, _INTERVAL_S))
            except StoreError as error:
                if names_holder(error):
                    told = error
                elif not was_locked(error):
                    raise
                if not left_s:
                    raise told or StoreError(
                        f"{self.paths.lock} was locked for more than {timeout_s:.1f} s"
                    ) from None
            else:
                return
            self._measure()
            time.sleep(min(poll_s, left_s))
            poll_s = min(2 * poll_s, _SELDOM_S)

    def close(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Stop the thread and flush. Events that come later are spooled all the same."""
        deadline = time.monotonic() + timeout_s
        # What begins meanwhile gets a thread, and an event, of its own.
        stopping, self._stopping = self._stopping, threading.Event()
        stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_s)
        return self.flush(max(0.0, deadline - time.monotonic()))

    def spooled_bytes(self) -> int:
        """What waits beside the file, of all processes."""
        try:
            return spooled_bytes(self.paths)
        except OSError:
            return 0  # we may not look

    def drain_delay_s(self) -> float:
        """Seconds since the last drain while anything waits; else 0."""
        return time.monotonic() - self._drained_at if self.spooled_bytes() else 0.0

    def after_fork(self) -> None:
        """In a forked child: the thread and the segment are the parent's."""
        self._spool.after_fork()
        self._stopping, self._thread = threading.Event(), None
        self._failures, self._took_s = 0, 0.0

    def _measure(self) -> None:
        try:
            self._spool.measure(Store.spooled_bytes(self))
        except Exception as error:  # noqa: BLE001 - the thread goes on
            self._trouble.note("measure", error)

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
        stopping, wait_s = self._stopping, _INTERVAL_S
        due = drain_due = time.monotonic() + _INTERVAL_S
        self._measure()
        while not stopping.wait(wait_s):
            wait_s = self.backlog.write_due()
            if (now := time.monotonic()) >= due:
                if now >= drain_due:
                    self._drain(stopping=stopping)
                    drain_due = time.monotonic() + self._rest_s()
                else:
                    self._tidy()
                due = (now := time.monotonic()) + _INTERVAL_S
            wait_s = min(wait_s, due - now)

    def _tidy(self) -> None:
        """Between two drains: others may drain sooner."""
        if not self._failures:  # many small segments help nobody
            self._spool.seal()
        self._measure()

    def _rest_s(self) -> float:
        """Between two drains: long if they take long, or fail."""
        long_s = 2.0**self._failures if self._failures else self._took_s / _SHARE
        return max(_INTERVAL_S, min(long_s, _LONGEST_S))


_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def read_store(store: str | os.PathLike[str] | Store | None, trouble: Trouble) -> Store | None:
    """A store from what the user gave: a path, a `Store`, or None to keep nothing.

    Raises:
        ConfigurationError: the path cannot be one of a DuckDB file, or `store` is none of these.
    """
    if isinstance(store, Store):
        store.report_to(trouble)
        return store
    if store is None:
        return None
    if isinstance(store, str | os.PathLike):
        return Store(store, trouble=trouble)
    raise ConfigurationError(f"store={store!r}: expected a path, a Store, or None to keep nothing")
