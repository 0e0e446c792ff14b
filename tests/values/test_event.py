from __future__ import annotations

import threading
import uuid
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import UsageEvent
from otel_atm.event import EventIds
from otel_atm.testing import ManualClock

NOW_NS = ManualClock()()
COLUMNS = [
    "event_id",
    "ts_us",
    "trace_id",
    "span_id",
    "duration_us",
    "ttft_us",
    "service",
    "app",
    "env",
    "team",
    "user_id",
    "session_id",
    "provider",
    "model",
    "operation",
    "status",
    "decision",
    "budget",
    "calls",
    "attempts",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
    "cost_usd",
    "price_version",
    "estimated",
    "source",
    "tags",
    "attributes",
    "revision",
]


def make(ids: EventIds, time_ns: int = NOW_NS) -> str:
    return ids.make(time_ns)


def milliseconds_of(event_id: str) -> int:
    return uuid.UUID(event_id).int >> 80


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_an_id_is_a_uuid_of_version_7_with_its_milliseconds(time_ns: int) -> None:
    event_id = make(EventIds(), time_ns)
    read = uuid.UUID(event_id)
    assert (str(read), read.version, read.variant) == (event_id, 7, uuid.RFC_4122)
    assert milliseconds_of(event_id) == time_ns // 1_000_000


def test_100_000_ids_of_one_instant_differ() -> None:
    ids = EventIds()
    assert len({make(ids) for _ in range(100_000)}) == 100_000


def test_ids_stay_well_formed_however_many_are_made() -> None:
    ids = EventIds()
    last = [make(ids) for _ in range(5_000)][-1]
    assert (uuid.UUID(last).version, uuid.UUID(last).variant) == (7, uuid.RFC_4122)


def test_ids_made_by_many_threads_differ() -> None:
    ids, made, ready = EventIds(), [], threading.Barrier(8)

    def work(thread: int) -> None:
        ready.wait()
        made.extend([make(ids, NOW_NS + at % 3 * 1_000_000) for at in range(5_000)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8 * 5_000
    assert {milliseconds_of(event_id) - NOW_NS // 1_000_000 for event_id in made} == {0, 1, 2}


@given(st.lists(st.integers(min_value=0, max_value=2**62), min_size=2, max_size=20))
def test_texts_are_in_the_order_of_their_milliseconds(times: list[int]) -> None:
    ids = EventIds()
    made = [(time_ns // 1_000_000, make(ids, time_ns)) for time_ns in sorted(times)]
    by_text = sorted(made, key=lambda pair: pair[1])
    assert by_text == made


@given(st.lists(st.integers(min_value=0, max_value=2**62), min_size=2, max_size=20))
def test_a_text_is_never_before_the_last_one_even_if_a_clock_goes_back(times: list[int]) -> None:
    ids = EventIds()
    made = [make(ids, time_ns) for time_ns in times]
    assert made == sorted(made)


def test_two_series_and_a_renewed_one_share_no_id() -> None:
    ids = EventIds()
    before = {make(ids) for _ in range(5_000)}
    ids.renew()
    after = {make(ids) for _ in range(5_000)}
    other = EventIds()
    assert before.isdisjoint(after | {make(other) for _ in range(5_000)})


def test_the_fields_of_an_event_are_the_columns_of_usage_events() -> None:
    assert [field.name for field in fields(UsageEvent)] == COLUMNS


def test_an_event_is_frozen() -> None:
    event = UsageEvent(**dict.fromkeys(COLUMNS))  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        event.total_tokens = 0  # type: ignore[misc]
