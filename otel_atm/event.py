"""UsageEvent: the one frozen row that every source makes and every sink takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

STATUSES: Final = ("ok", "error", "cancelled", "lost")
DECISIONS: Final = ("allowed", "warned", "degraded", "refused")
SOURCES: Final = ("span", "guard", "admit", "facade")

#: The longest text kept in a column, and among an event's attributes, in characters.
TEXT_LENGTH: Final = 1_024
ATTRIBUTE_LENGTH: Final = 256
#: The most custom keys, and the most tags, that an event keeps.
MOST_KEYS: Final = 64


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
        decision: "allowed", "warned", "degraded" or "refused".
        budget: the budget that decided; None when allowed.
        calls: how many calls the row stands for.
        attempts: requests sent for them, as far as they were seen.
        cost_usd: None when no price is known of the model.
        price_version: where the price comes from; None without one.
        estimated: True when the tokens are our estimate and not the provider's report.
        source: the door that saw it: "span", "guard", "admit" or "facade".
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
    attributes: Mapping[str, str | float]
    revision: int


class EventIds:
    """Makes UUIDv7 texts (RFC 9562 §5.7): unique, and ordered by the millisecond of their call.

    48 bits of milliseconds, 42 random bits drawn once per process, and in the last eight hex digits
    a counter, written in decimal: the cheapest text that Python can make of a number. Safe to call
    from any thread without a lock.

    Attributes:
        series: the ids of the present millisecond; it never ends.
        until_ns: the end of that millisecond, nanoseconds since the Unix epoch.
    """

    series: Iterator[str]
    until_ns: int

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Draw other random bits: a forked child must not continue its parent's series."""
        bits = int.from_bytes(os.urandom(6))
        rand_a, rand_b, node = bits & 0xFFF, bits >> 12 & 0x3FFF | 0x8000, bits >> 26 & 0xFFFF
        self._middle = f"7{rand_a:03x}-{rand_b:04x}-{node:04x}"
        self._numbers = map(str, chain.from_iterable(repeat(_NUMBERS)))
        self.until_ns = 0

    def make(self, time_ns: int) -> str:
        """The next id, for a call opened at `time_ns`; none is before the one made last."""
        if time_ns >= self.until_ns:
            self.turn(time_ns)
        return next(self.series)  # atomic: no two threads get the same number

    def turn(self, time_ns: int) -> None:
        """Begin the series of another millisecond."""
        milliseconds = time_ns // 1_000_000
        text = f"{milliseconds:012x}"
        prefix = f"{text[-12:-4]}-{text[-4:]}-{self._middle}"
        self.series = map(prefix.__add__, self._numbers)
        self.until_ns = (milliseconds + 1) * 1_000_000


_NUMBERS: Final = range(10_000_000, 100_000_000)  # eight digits each
