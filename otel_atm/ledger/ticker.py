"""Ticker: the thread that keeps a ledger's word to other processes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final, Protocol

#: Others wait for what we do not use; they are to have it within 50 ms.
TICK_S: Final = 0.025


class Ticks(Protocol):
    """What a ticker calls."""

    def tick(self) -> None:
        """Whatever is due."""
        ...


class Ticker(threading.Thread):
    """Calls `tick` until it is told to stop, or until nobody uses the ledger any more.

    Args:
        ledger: it is not kept alive.
        note: told what failed.
    """

    def __init__(self, ledger: Ticks, note: Callable[[str, BaseException], None]) -> None:
        super().__init__(name="otel-atm-ledger", daemon=True)
        self._ledger, self._note = weakref.ref(ledger), note
        self._end = threading.Event()

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._end.wait(TICK_S):
            ledger = self._ledger()
            if ledger is None:
                return
            try:
                ledger.tick()
            except Exception as error:  # noqa: BLE001 - the next tick may go better
                self._note("ledger_tick", error)
            del ledger

    def stop(self) -> None:
        """Once the tick under way is over."""
        self._end.set()
        if self is not threading.current_thread():
            self.join(timeout=1.0)
