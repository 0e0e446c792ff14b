"""Whole answers that come in pieces."""

from __future__ import annotations

import orjson
import pytest

from otel_atm.guards.answers import NOTHING, read_answer
from otel_atm.guards.shape import Shape
from otel_atm.guards.streams import StreamWatch
from otel_atm.guards.whole import WholeWatch

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
SMALL = orjson.dumps({"model": "m", "choices": [], "usage": USAGE}, option=orjson.OPT_INDENT_2)
VECTORS = [{"embedding": [0.123456789] * 1_000}] * 100
LONG = orjson.dumps({"object": "list", "data": VECTORS, "model": "m", "usage": USAGE})
HEADERS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}


def watched(shape: Shape, body: bytes, size: int) -> WholeWatch:
    watch = WholeWatch(shape)
    for start in range(0, len(body), size):
        watch.feed(body[start : start + size])
    return watch


@pytest.mark.parametrize("size", [1, 7, 10_000_000])
def test_it_says_the_same_however_it_is_cut(size: int) -> None:
    answer = watched(Shape.CHAT, b"\n " + SMALL, size).finish()
    assert answer == read_answer(Shape.CHAT, SMALL)
    assert (answer.tokens, answer.exact) == ((11, 7, 0, 0, 0), True)


@pytest.mark.parametrize("size", [1_000, 100_000, 10_000_000])
def test_of_a_long_one_its_ends_are_kept(size: int) -> None:
    watch = watched(Shape.EMBEDDINGS, LONG, size)
    assert len(watch._kept) < 200_000 < len(LONG)
    assert watch.finish() == read_answer(Shape.EMBEDDINGS, LONG)


def test_the_statistics_of_each_vector_are_added_up_however_long_it_is() -> None:
    one = {"embeddings": {"statistics": {"token_count": 3}, "values": [0.5] * 1_000}}
    body = orjson.dumps({"predictions": [one] * 300})
    assert watched(Shape.PREDICT, body, 9_999).finish().tokens == (900, 0, 0, 0, 0)


def test_a_stream_that_nobody_asked_for_is_looked_at_as_one() -> None:
    body = b'data: {"choices":[{"delta":{"content":"Hi there"}}]}\n\ndata: [DONE]\n\n'
    stream = StreamWatch(Shape.CHAT)
    stream.feed(body)
    watch = watched(Shape.CHAT, body, 5)
    assert watch.done
    assert watch.finish() == stream.finish()


def test_headers_count_where_the_body_says_nothing() -> None:
    watch = watched(Shape.INVOKE, b'{"embeddings": [[0.5]]}', 4)
    watch.take(HEADERS)
    answer = watch.finish()
    assert (answer.tokens, answer.exact) == ((3, 2, 0, 0, 0), True)


def test_headers_alone_are_not_the_last_word() -> None:
    watch = WholeWatch(Shape.INVOKE)
    watch.take(HEADERS)
    answer = watch.finish()
    assert (answer.tokens, answer.exact) == ((3, 2, 0, 0, 0), False)


def test_the_body_counts_where_it_says_something() -> None:
    body = b'{"usage": {"input_tokens": 5, "output_tokens": 4}}'
    watch = watched(Shape.INVOKE, body, 4)
    watch.take(HEADERS)
    assert watch.finish().tokens == (5, 4, 0, 0, 0)


def test_what_ends_early_says_nothing_and_nothing_is_added_to_an_answer() -> None:
    watch = watched(Shape.CHAT, SMALL[:-30], 9)
    assert watch.finish() == NOTHING
    watch.feed(SMALL)
    assert watch.finish() == NOTHING
