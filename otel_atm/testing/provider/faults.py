"""Misbehaviour that can be switched on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """How the server deviates from a prompt and correct text answer.

    `status` answers with this HTTP error; of a sequence, each request takes one, and requests
    beyond its end fare well. None and 200 mean no error. `error_text` is the error's message;
    None for the provider's own. `retry_after_s` is the wait, in seconds, that 429, 503 and 529
    advise.

    `no_usage` leaves the token usage out of the answer. `malformed` breaks the JSON of an answer
    with status 200. `drop_stream_after` cuts the connection after that many server-sent events,
    0 right after the headers; None never. `delay_s` is the wait before the answer and
    `chunk_delay_s` the wait before each event of a stream, both in seconds.

    `tool_rounds` is how many times a conversation with tools gets a tool call before it gets text.
    """

    status: int | Sequence[int] | None = None
    error_text: str | None = None
    retry_after_s: float = 1.0
    no_usage: bool = False
    malformed: bool = False
    drop_stream_after: int | None = None
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    tool_rounds: int = 0


@dataclass(frozen=True, slots=True)
class Lot:
    """The faults that fell to one request: `status` is its HTTP error, None for none."""

    status: int | None
    faults: Faults


class FaultSwitch:
    """Holds the faults in force and deals them out to requests; safe to use from any thread."""

    def __init__(self, faults: Faults) -> None:
        self._lock = threading.Lock()
        self._faults = faults
        self._statuses = _statuses(faults)

    @property
    def faults(self) -> Faults:
        """The faults in force; setting them starts a sequence of statuses afresh."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults, self._statuses = faults, _statuses(faults)

    def take(self) -> Lot:
        """Deal the next request its faults."""
        with self._lock:
            status = next(self._statuses, None)
            return Lot(status if status != 200 else None, self._faults)

    @contextmanager
    def changed(self, **changes: Any) -> Iterator[Faults]:
        """Put the faults in force with `changes`; restore what was before, a sequence midway."""
        with self._lock:
            before = self._faults, self._statuses
        self.faults = replace(before[0], **changes)
        try:
            yield self.faults
        finally:
            with self._lock:
                self._faults, self._statuses = before


def _statuses(faults: Faults) -> Iterator[int | None]:
    if faults.status is None or isinstance(faults.status, int):
        return repeat(faults.status)
    return iter(faults.status)
