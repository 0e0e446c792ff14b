from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards import WithoutUsage, include_usage, is_usage_only
from tests.guards.bodies import CHAT_USAGE, chat_chunk, sse
from tests.guards.test_streams import cut

LAST = {**chat_chunk({}), "choices": [], "usage": CHAT_USAGE}
BEFORE = sse(chat_chunk({"content": 'a "usage": {}'}, usage=None), chat_chunk({}, "stop"))


def test_the_usage_is_asked_for_and_the_rest_stays_to_the_byte() -> None:
    body = b' {"model": "m",  "seed": 12345678901234567890123, "stream":true, "t": 1.50}'
    assert include_usage(body) == (
        b' {"stream_options":{"include_usage":true},'
        b'"model": "m",  "seed": 12345678901234567890123, "stream":true, "t": 1.50}'
    )


@pytest.mark.parametrize(
    "options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}, 7]
)
def test_other_stream_options_are_kept(options: Any) -> None:
    body = {"seed": 12345678901234567890123, "stream": True, "stream_options": options}
    kept = options if isinstance(options, dict) else {}
    asks = json.loads(include_usage(json.dumps(body).encode()))
    assert asks == {**body, "stream_options": {**kept, "include_usage": True}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"stream": false}',
        b'{"stream": 1}',
        b'{"messages": []}',
        b'{"stream": true, "stream_options": {"include_usage": true}}',
        b'{"stream": true, "stream_options": null, "x": "\\ud800"}',
    ],
)
def test_what_needs_no_change_or_cannot_have_one_comes_back_as_it_is(body: bytes) -> None:
    assert include_usage(body) is body


def test_a_large_body_is_asked_too() -> None:
    body = orjson.dumps({"messages": ["x" * 1_500_000], "stream": True})
    assert json.loads(include_usage(body))["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("event", "only"),
    [
        (LAST, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": [], "prompt_filter_results": []}, False),  # the first one of Azure
        (chat_chunk({}, "stop", usage=CHAT_USAGE), False),
        ({"usage": CHAT_USAGE}, False),
    ],
)
def test_which_event_tells_nothing_but_the_usage(event: dict[str, Any], only: bool) -> None:
    assert is_usage_only(orjson.dumps(event)) is only
    assert is_usage_only(sse(event)) is only
    assert is_usage_only(sse(event, end=b"\r\n")) is only


@pytest.mark.parametrize("event", [b"", b"data: [DONE]", b"data: {", b"\xff" * 9, b"x" * 100_000])
def test_what_is_no_event_with_usage(event: bytes) -> None:
    assert not is_usage_only(event)


@given(places=st.lists(st.integers(0, 2_000), max_size=8), end=st.sampled_from([b"\n", b"\r\n"]))
def test_all_but_the_usage_passes_byte_equal(places: list[int], end: bytes) -> None:
    before, after = BEFORE.replace(b"\n", end), sse("[DONE]", end=end)
    content = before + sse(LAST, end=end) + after
    without = WithoutUsage()
    passed = b"".join(without.feed(chunk) for chunk in cut(content, places))
    assert passed + without.finish() == before + after


@given(content=st.binary(max_size=300), places=st.lists(st.integers(0, 300), max_size=8))
def test_what_is_no_stream_passes_byte_equal(content: bytes, places: list[int]) -> None:
    without = WithoutUsage()
    passed = b"".join(without.feed(chunk) for chunk in cut(content, places))
    assert passed + without.finish() == content


def test_a_whole_event_does_not_wait() -> None:
    without = WithoutUsage()
    event = sse(chat_chunk({"content": "a"}))
    assert without.feed(event) is event
    assert without.feed(event[:20]) == b""
    assert without.feed(event[20:]) == event


def test_an_event_without_end_is_let_through() -> None:
    without = WithoutUsage()
    content = b"data: " + b"x" * 300_000
    passed = b"".join(without.feed(chunk) for chunk in cut(content, list(range(0, 300_000, 999))))
    assert len(passed) > 200_000
    rest = b"x\n\n" + sse(LAST, "[DONE]")
    assert passed + without.feed(rest) + without.finish() == content + b"x\n\n" + sse("[DONE]")


def test_a_stream_that_ends_with_the_usage_ends_without_it() -> None:
    without = WithoutUsage()
    assert without.feed(sse(LAST)[:-2]) + without.finish() == b""
