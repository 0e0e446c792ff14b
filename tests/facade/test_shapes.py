"""Whatever a guard can read in an answer on the wire is read in what a client makes of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from google.genai import types

import otel_atm as atm
from otel_atm.facade.native import read_native
from otel_atm.guards import Shape, read_answer
from otel_atm.guards.answers import parsed
from otel_atm.guards.pieces import cutter_for
from tests.facade.conftest import Told
from tests.facade.test_native import CLAUDE, last_telling
from tests.guards.bodies import STREAMS, Stream
from tests.guards.test_answers import BODIES


def as_object(value: Any) -> Any:
    """A dict as an object, as are all dicts in it."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("form", [dict, as_object], ids=["dict", "object"])
@pytest.mark.parametrize(("shape", "body", "tokens"), BODIES)
def test_whatever_a_guard_reads_in_a_body_is_read_in_its_dict_and_its_object(
    shape: Shape, body: dict[str, Any], tokens: tuple[int, ...] | None, form: Callable[..., Any]
) -> None:
    native = read_native(form(body))
    assert (native.tokens if native else None) == tokens
    assert read_answer(shape, orjson.dumps(body)).tokens == tokens


def test_every_shape_is_among_those() -> None:
    assert {shape for shape, _, tokens in BODIES if tokens} == set(Shape)


def events_of(stream: Stream) -> list[Any]:
    """The events of a stream, as a client gives them."""
    cutter = cutter_for(stream.content.lstrip()[0])
    pieces = [*cutter.feed(stream.content), *cutter.finish()]
    lines = [piece.removeprefix(b"data:") for piece in pieces if isinstance(piece, bytes)]
    events = [event for event in map(parsed, lines) if event]
    if stream.shape is Shape.INVOKE:  # whose client unpacks what lies in a chunk once
        return [{"chunk": {"bytes": base64.b64decode(event["bytes"])}} for event in events]
    return events


#: The streams that end, and tell all of their usage in one event.
TELLING = [
    stream for stream in STREAMS if stream.answer.exact and stream.name != "Anthropic messages"
]


@pytest.mark.parametrize("form", [dict, as_object], ids=["dict", "object"])
@pytest.mark.parametrize("stream", TELLING, ids=lambda stream: stream.name)
def test_the_last_chunk_that_tells_usage_says_what_a_guard_reads_in_the_stream(
    stream: Stream, form: Callable[..., Any]
) -> None:
    native = read_native(last_telling(map(form, events_of(stream))))
    assert native is not None
    assert native.tokens == stream.answer.tokens


def test_a_chunk_that_tells_of_the_output_alone_leaves_the_request_as_it_was(told: Told) -> None:
    (stream,) = (each for each in STREAMS if each.name == "Anthropic messages")
    atm.add_user_request(token_count=11, model_id=CLAUDE)
    atm.add_model_response(last_telling(events_of(stream)), model_id=CLAUDE)
    assert told.rows("input_tokens, output_tokens, reasoning_tokens, estimated") == [
        (11, 7, 3, False)
    ]


def test_a_gateway_may_say_it_in_the_words_of_two_providers() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "cache_read_input_tokens": 4}
    native = read_native({"usage": usage, "meta": {"latency_ms": 5}})
    assert native is not None
    assert native.tokens == (11, 7, 4, 0, 0)


def test_an_embedding_of_google_on_vertex_tells_it() -> None:
    statistics = [types.ContentEmbeddingStatistics(token_count=count) for count in (5.0, 6.0)]
    texts = [types.ContentEmbedding(values=[0.5], statistics=each) for each in statistics]
    native = read_native(types.EmbedContentResponse(embeddings=texts))
    assert native is not None
    assert native.tokens == (11, 0, 0, 0, 0)


@pytest.mark.parametrize("usage", [5, {"cost": 5}, {"usage": {"prompt_tokens": True}}])
def test_usage_in_nobodys_words_tells_nothing(usage: Any) -> None:
    for name in ("usage", "usage_metadata", "usageMetadata", "meta", "x_groq"):
        native = read_native({name: usage})
        assert native is None or native == (None, None, None)
