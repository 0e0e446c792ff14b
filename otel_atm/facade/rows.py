"""Rows on their way to the store: hooks before and after, and what if they cannot be written."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from typing import Final

from otel_atm.errors import ConfigurationError, StoreError
from otel_atm.facade.hooks import Hooks
from otel_atm.gate import Call, Gate
from otel_atm.store.store import Store

POLICIES: Final = ("fail", "buffer", "warn")
#: Rows that are kept in memory until they can be written; past it further ones are lost, counted.
_MOST: Final = 10_000

# Set when a row of the facade's call in this context could not be written.
_failed: ContextVar[bool] = ContextVar("otel_atm.row_failed", default=False)


def check_policy(policy: str) -> str:
    """The policy, if it is one.

    Raises:
        ConfigurationError: it is none.
    """
    if policy not in POLICIES:
        raise ConfigurationError(
            f"telemetry_failure_policy={policy!r}: expected 'fail', 'buffer' or 'warn'"
        )
    return policy


class Rows:
    """A sink of the gate before the store.

    Args:
        store: keeps the rows; None: nobody does.
        gate: that they come from.
        hooks: see the rows before and after.
        policy: of rows that cannot be written. "warn": they are lost, counted, and logged once;
            "buffer": up to 10,000 are kept in memory and tried again each second; "fail": as
            "warn", and the function of the facade that told of the call raises.
    """

    def __init__(self, store: Store | None, gate: Gate, hooks: Hooks, policy: str) -> None:
        self.store, self._gate, self._hooks, self.policy = store, gate, hooks, policy
        self._waiting: deque[Call] = deque()
        if store is not None:
            store.backlog.join(self)
            store.on_failure(self._keep)

    def append(self, call: Call) -> None:
        """Write the row of a call, as hooks want it."""
        hooks = self._hooks
        if hooks.pre and call.source != "facade":  # the facade has asked them already
            call = hooks.change(call, self._gate)
        if self.store is not None:
            self.store.append(call)
        if hooks.post:
            hooks.tell(call, self._gate.trouble)

    def write_due(self) -> float:
        """See `otel_atm.store.backlog.Keeper`."""
        self.write_all()
        return 1.0

    def write_all(self) -> None:
        """Write what could not be written, if it can be now."""
        for _ in range(len(self._waiting)):
            call = self._waiting.popleft()
            left = len(self._waiting)
            if self.store is not None:
                self.store.append(call)
            if len(self._waiting) > left:
                return  # it is back: that still fails

    def _keep(self, call: Call) -> bool:
        """Whether a row that could not be written is written later."""
        if self.policy == "fail" and call.source == "facade":
            _failed.set(True)
        room = self.policy == "buffer" and len(self._waiting) < _MOST
        if room:
            self._waiting.append(call)
        return room


def begin_writing() -> None:
    """What could not be written before in this context, was of another call."""
    if _failed.get():
        _failed.set(False)


def check_written() -> None:
    """Raise if a row of this context could not be written since `begin_writing`.

    Raises:
        StoreError: it could not.
    """
    if _failed.get():
        raise StoreError(
            "the row could not be written (telemetry_failure_policy='fail'); the log says why"
        )
