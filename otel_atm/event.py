"""UsageEvent: the one frozen row that every source makes and every sink takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

STATUSES: Final = ("ok", "error", "cancelled", "lost")
DECISIONS: Final = ("allowed", "refused")
SOURCES: Final = ("span",)

#: The longest value kept among an event's attributes, in characters.
ATTRIBUTE_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One call to a model: who made it, what was decided, what it used. Never what was said.

    The fields are the columns of ``usage_events``, in their order. Amounts of tokens are integers
    ≥ 0, as of `otel_atm.Usage`; times are integers.

    Attributes:
        event_id: a UUIDv7, made when the call opens; also ``atm.call_id`` on its spans.
        ts_us: admission, microseconds since the Unix epoch, UTC.
        trace_id, span_id: lower-case hex as OpenTelemetry prints them; None without a span.
        duration_us: of the call; None when unknown.
        ttft_us: from the start to the first chunk of the answer; None when unknown.
        status: "ok", "error", "cancelled" or "lost" (it never ended).
        decision: "allowed" or "refused".
        budget: the budget that decided; None when allowed.
        calls: how many calls the row stands for.
        attempts: requests sent for them, as far as they were seen.
        cost_usd: None until the price is known.
        estimated: True when the tokens are our estimate and not the provider's report.
        source: the door that saw it: "span".
        attributes: an allow-list and custom scope keys.
        revision: 0 for the first row of an event, then rising; the highest holds.
    """

    event_id: str
    ts_us: int
    trace_id: str | None
    span_id: str | None
    duration_us: int | None
    ttft_us: int | None
    service: str | None
    app: str | None
    env: str | None
    team: str | None
    user_id: str | None
    session_id: str | None
    provider: str | None
    model: str | None
    operation: str | None
    status: str
    decision: str
    budget: str | None
    calls: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cost_usd: float | None
    price_version: str | None
    estimated: bool
    source: str
    tags: tuple[str, ...]
    attributes: Mapping[str, str | int]
    revision: int


class EventIds:
    """Makes UUIDv7 texts (RFC 9562 §5.7): unique, and ordered by the millisecond of their call.

    48 bits of milliseconds, then a counter: its low 12 bits in rand_a, the rest added to 62 random
    bits that are drawn once per process. Safe to call from any thread without a lock.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Draw other random bits: a forked child must not continue its parent's series."""
        self._random = int.from_bytes(os.urandom(8))
        self._count = count()
        # What changes rarely, each with what it was made of: (number, text).
        self._head = (-1, "")  # of the milliseconds
        self._tail = (-1, "")  # of the last 64 bits, which change every 4,096 ids

    def __call__(self, time_ns: int) -> str:
        """The next id, for a call opened at `time_ns`."""
        number = next(self._count)
        milliseconds, block = time_ns // 1_000_000, number >> 12
        head, tail = self._head, self._tail
        if milliseconds != head[0]:
            text = f"{milliseconds:012x}"
            self._head = head = milliseconds, f"{text[-12:-4]}-{text[-4:]}-7"
        if block != tail[0]:
            self._tail = tail = block, self._tail_text(block)
        return f"{head[1]}{_HEX_12[number & 0xFFF]}{tail[1]}"

    def _tail_text(self, block: int) -> str:
        bits = (self._random + block) & _62_BITS | _VARIANT
        text = f"{bits:016x}"
        return f"-{text[:4]}-{text[4:]}"


_HEX_12: Final = [f"{number:03x}" for number in range(1 << 12)]
_62_BITS: Final = (1 << 62) - 1
_VARIANT: Final = 0b10 << 62
