"""Hooks: functions of the user before and after a row is written."""

from __future__ import annotations

import asyncio
import copy
import inspect
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Literal

from otel_atm.errors import ConfigurationError
from otel_atm.facade.draft import Draft
from otel_atm.gate import Call, Gate
from otel_atm.trouble import Trouble

Hook = Callable[[Draft], Any]
_KINDS: Final = ("pre", "post")
#: Rows that wait for hooks after them; past it they are passed over, and counted.
_MOST_WAITING: Final = 10_000


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
        self._queue: queue.Queue[tuple[Draft, Trouble]] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def add(self, when: str, hook: Hook) -> None:
        """Have `hook` called from now on."""
        (self.pre if when == "pre" else self.post).append(hook)
        if self.on_change is not None:
            self.on_change()

    def clear(self) -> None:
        """Call none any more."""
        self.pre.clear()
        self.post.clear()

    def ask(self, draft: Draft) -> None:
        """Let hooks change or veto what the facade is told; what they raise comes out."""
        for hook in list(self.pre):
            hook(draft)

    def change(self, call: Call, gate: Gate) -> Call:
        """A call as its row is to be, after the hooks before it; the call itself stays.

        It was made and charged already, so an error vetoes nothing: it is counted.
        """
        try:
            draft = Draft.of(call)
            for hook in list(self.pre):
                hook(draft)
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
        try:
            self._queue.put_nowait((Draft.of(call), trouble))
        except queue.Full:
            trouble.count("post_hook_skipped")
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="otel-atm-hooks", daemon=True)
            self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until hooks have seen all rows so far; False if that takes too long."""
        waiter = threading.Thread(target=self._queue.join, daemon=True)
        waiter.start()
        waiter.join(timeout_s)
        return not waiter.is_alive()

    def after_fork(self) -> None:
        """In a forked child: the thread and what waits are the parent's."""
        self._queue, self._thread = queue.Queue(_MOST_WAITING), None

    def _run(self) -> None:
        waiting = self._queue
        while True:
            draft, trouble = waiting.get()
            for hook in list(self.post):
                try:
                    _call(hook, draft)
                except Exception as error:  # noqa: BLE001 - never in the way
                    trouble.note("post_hook", error)
            waiting.task_done()


def _call(hook: Hook, draft: Draft) -> None:
    answer = hook(copy.deepcopy(draft))
    if inspect.isawaitable(answer):
        asyncio.run(_wait(answer))


async def _wait(awaitable: Any) -> None:
    await awaitable


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

    Raises:
        ConfigurationError: `when` is neither.
    """
    if when not in _KINDS:
        raise ConfigurationError(f"hook({when!r}): expected 'pre' or 'post'")

    def register(function: Hook) -> Hook:
        if not callable(function):
            raise ConfigurationError(f"hook({when!r}): {function!r} is no function")
        hooks.add(when, function)
        return function

    return register
