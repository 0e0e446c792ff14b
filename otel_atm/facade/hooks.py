"""Hooks: functions of the user before and after a row is written."""

from __future__ import annotations

import asyncio
import atexit
import copy
import inspect
import queue
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias

from otel_atm.errors import ConfigurationError
from otel_atm.facade.draft import Draft
from otel_atm.gate import Call, Gate
from otel_atm.trouble import Trouble

Hook = Callable[[Draft], Any]
_KINDS: Final = ("pre", "post")
#: Rows that wait for hooks after them; past it they are passed over, and counted.
_MOST_WAITING: Final = 10_000
#: For how long hooks that still have rows to see hold up the end of a process or a handle.
_END_S: Final = 5

# Whether a hook is running here. What it tells of by itself no hook sees: that would never end.
_within: ContextVar[bool] = ContextVar("otel_atm.within_hook", default=False)


class Hooks:
    """The functions of a process, and the thread of those that come after.

    Attributes:
        pre: in the order in which they were given.
        post: the same.
        on_change: called when one is given; None when nobody has to know.
    """

    def __init__(self) -> None:
        self.pre: list[Hook] = []
        self.post: list[Hook] = []
        self.on_change: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Row] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def add(self, when: str, hook: Hook) -> None:
        """Have `hook` called from now on."""
        (self.pre if when == "pre" else self.post).append(hook)
        if self.on_change is not None:
            self.on_change()

    def clear(self) -> None:
        """Call none any more, but for rows that are there already."""
        self.pre.clear()
        self.post.clear()

    def ask(self, draft: Draft) -> None:
        """Let hooks change or veto what the facade is told; what they raise comes out."""
        if _within.get():
            return
        token = _within.set(True)
        try:
            for hook in list(self.pre):
                hook(draft)
        finally:
            _within.reset(token)

    def change(self, call: Call, gate: Gate) -> Call:
        """A call as its row is to be, after the hooks before it; the call itself stays.

        It was made and charged already, so an error vetoes nothing: it is counted.
        """
        try:
            draft = Draft.of(call)
            self.ask(draft)
            kind = draft.kind(call.plan)
            if kind == call.plan.kind:
                return call
            changed = copy.copy(call)
            changed.plan = gate.plan(kind)
        except Exception as error:  # noqa: BLE001 - of the user's function, after the call
            gate.trouble.note("pre_hook", error)
            return call
        return changed

    def tell(self, call: Call, trouble: Trouble) -> None:
        """Have the hooks after the row called, in a thread of their own."""
        if _within.get():
            return
        try:
            self._queue.put_nowait((Draft.of(call), tuple(self.post), trouble))
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
            return _within.get() or done.wait_for(
                lambda: not self._queue.unfinished_tasks, timeout_s
            )

    def after_fork(self) -> None:
        """In a forked child: the thread and what waits are the parent's."""
        self._lock = threading.Lock()
        self._queue, self._thread = queue.Queue(_MOST_WAITING), None

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
        _within.set(True)
        waiting = self._queue
        while True:
            draft, hooks, trouble = waiting.get()
            for hook in hooks:
                try:
                    _call(hook, draft)
                except BaseException as error:  # noqa: BLE001 - also `sys.exit()`: never in the way
                    trouble.note("post_hook", error)
            waiting.task_done()


#: A row, who sees it, and where their failures go.
_Row: TypeAlias = tuple[Draft, tuple[Hook, ...], Trouble]


def _call(hook: Hook, draft: Draft) -> None:
    answer = hook(copy.deepcopy(draft))
    if inspect.isawaitable(answer):
        asyncio.run(_wait(answer))


async def _wait(awaitable: Any) -> None:
    await awaitable


def _is_async(function: Hook) -> bool:
    called = getattr(type(function), "__call__", None)  # noqa: B004 - which may be async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


#: Of this process.
hooks: Final = Hooks()


def hook(when: Literal["pre", "post"]) -> Callable[[Hook], Hook]:
    """Have a function called before or after each row is written.

    ::

        @otel_atm.hook("pre")
        def audit(event):
            event._additional_metadata_tags.append("audited")

    Args:
        when: "pre": before; it may change the row (see `Draft`), and of what `add_user_request`
            and `add_model_response` are told, veto it: what it raises comes out of them, and
            nothing is charged. "post": after, in a thread of its own, also async functions; what
            it raises is counted and logged once.

    What a hook tells of by itself is a row as any other, but hooks do not see it.

    Raises:
        ConfigurationError: `when` is neither; what is registered is no function, or an async one
            that is to be called before.
    """
    if when not in _KINDS:
        raise ConfigurationError(f"hook({when!r}): expected 'pre' or 'post'")

    def register(function: Hook) -> Hook:
        if not callable(function):
            raise ConfigurationError(f"hook({when!r}): {function!r} is no function")
        if when == "pre" and _is_async(function):
            raise ConfigurationError(f"hook('pre'): {function!r} is async; only hooks after may be")
        hooks.add(when, function)
        return function

    return register
