"""Watching a file, so that what it says can be changed while a program runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread, current_thread
from typing import Any

from otel_atm.trouble import Trouble

#: What changes when a file does: its times of modification and of status, size and inode.
_Look = tuple[int, int, int, int]


class FileWatch:
    """Calls a function when a file has changed, or is there again after it was gone.

    It compares with what the file was when the watch was made; so make the watch first and read
    the file then, lest a change in between goes unnoticed. Editors and Kubernetes, which put
    another file in the place of the old one, are noticed, too. A file that is gone is no change:
    what was read from it goes on being true; `on_gone` is told, once until it is there again.

    Args:
        path: of the file. It may be missing.
        on_change: called with nothing, in the thread that checks.
        on_gone: called, there too, with why the file cannot be looked at; None: nobody is told.
        stat: what tells a file's times and size; raises OSError if it cannot.
        interval_s: seconds between two checks of a watch that was started, > 0.
        trouble: where it is noted if one of these raises in that thread, which goes on. None: one
            of its own, which logs it once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        on_change: Callable[[], None],
        *,
        on_gone: Callable[[OSError], None] | None = None,
        stat: Callable[[str | os.PathLike[str]], os.stat_result] = os.stat,
        interval_s: float = 1.0,
        trouble: Trouble | None = None,
    ) -> None:
        self.path, self.interval_s = path, interval_s
        self._trouble = trouble or Trouble()
        self._on_change, self._on_gone, self._stat = on_change, on_gone, stat
        self._seen: _Look | None = None
        self._gone = False  # and told
        with suppress(OSError):  # told by the first check
            self._seen = self._look()
        self._stopped = Event()
        self._thread: Thread | None = None

    def check(self) -> bool:
        """Look at the file now; whether it has changed, and `on_change` was called."""
        try:
            seen = self._look()
        except OSError as error:
            self._seen = None
            if not self._gone:
                self._gone = True
                if self._on_gone is not None:
                    self._on_gone(error)
            return False
        self._gone, before, self._seen = False, self._seen, seen
        if seen != before:
            self._on_change()
        return seen != before

    def start(self) -> None:
        """Check every `interval_s` in a thread that does not keep the program alive."""
        if self._thread is None:
            # Its own event: a thread that has been told to stop never goes on.
            self._stopped = Event()
            self._thread = Thread(
                target=self._run, args=(self._stopped,), name="otel-atm-watch", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop checking, and wait for a check that is going on, unless that is what calls this."""
        thread, self._thread = self._thread, None
        self._stopped.set()
        if thread is not None and thread is not current_thread():
            thread.join()

    def after_fork(self) -> None:
        """In a child: go on, as threads are not forked."""
        started, self._thread = self._thread is not None, None
        if started:
            self.start()

    def _run(self, stopped: Event) -> None:
        while not stopped.wait(self.interval_s):
            try:
                self.check()
            except Exception as error:  # noqa: BLE001 - the next change must be noticed all the same
                self._trouble.note("watch", error)

    def _look(self) -> _Look:
        found: Any = self._stat(self.path)
        # The status changes when permissions do: a file that could not be read may be read then.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
