"""After: the thread of hooks that come after a row."""

from __future__ import annotations

import asyncio
import atexit
import copy
import inspect
import queue
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from otel_atm.facade.draft import Draft
from otel_atm.trouble import Trouble

Hook = Callable[[Draft], Any]
#: A row, who sees it, and where their failures go.
_Row: TypeAlias = tuple[Draft, tuple[Hook, ...], Trouble]
#: Rows that wait; past it they are passed over, and counted.
_MOST: Final = 10_000
#: For how long rows that still wait hold up the end of a process or a handle.
_END_S: Final = 5

#: Whether a hook is running here. What it tells of by itself no hook sees: that would never end.
within: Final[ContextVar[bool]] = ContextVar("otel_atm.within_hook", default=False)


class After:
    """Calls hooks with rows, one after the other, in a thread of its own."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: the thread and what waits are the parent's."""
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Row] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None

    def put(self, draft: Draft, hooks: tuple[Hook, ...], trouble: Trouble) -> None:
        """Have these hooks called."""
        try:
            self._queue.put_nowait((draft, hooks, trouble))
        except queue.Full:
            trouble.count("post_hook_skipped")
            return
        if self._thread is None:
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until hooks have seen all rows so far; False if that takes too long.

        A hook that asks does not wait for itself.
        """
        done = self._queue.all_tasks_done
        with done:
            return within.get() or done.wait_for(
                lambda: not self._queue.unfinished_tasks, timeout_s
            )

    def end(self) -> None:
        """As `flush`, where a process or a handle ends: not for long."""
        self.flush(_END_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="otel-atm-hooks", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self.end)

    def _run(self) -> None:
        within.set(True)
        waiting = self._queue
        while True:
            draft, hooks, trouble = waiting.get()
            for hook in hooks:
                try:
                    _call(hook, draft)
                except BaseException as error:  # noqa: BLE001 - also `sys.exit()`: never in the way
                    trouble.note("post_hook", error)
            waiting.task_done()


def _call(hook: Hook, draft: Draft) -> None:
    answer = hook(copy.deepcopy(draft))
    if inspect.isawaitable(answer):
        asyncio.run(_wait(answer))


async def _wait(awaitable: Any) -> None:
    await awaitable
