"""Hooks: functions of the user before and after a row is written."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Final, Literal

from otel_atm.errors import ConfigurationError
from otel_atm.facade.after import After, Hook, within
from otel_atm.facade.draft import Draft
from otel_atm.gate import Call, Gate
from otel_atm.trouble import Trouble

_KINDS: Final = ("pre", "post")


class Hooks:
    """The functions of a process.

    Attributes:
        pre: in the order in which they were given.
        post: the same.
        after: calls those that come after.
        on_change: called when one is given; None when nobody has to know.
    """

    def __init__(self) -> None:
        self.pre: list[Hook] = []
        self.post: list[Hook] = []
        self.on_change: Callable[[], None] | None = None
        self.after = After()

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
        if within.get():
            return
        token = within.set(True)
        try:
            for hook in list(self.pre):
                hook(draft)
        finally:
            within.reset(token)

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
        if within.get():
            return
        self.after.put(Draft.of(call), tuple(self.post), trouble)


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
