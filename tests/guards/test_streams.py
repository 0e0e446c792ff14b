from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards import Answer, Shape, StreamWatch
from otel_atm.guards.pieces import HEAD, MOST_WHOLE
from otel_atm.testing.provider import cohere, gemini, mistral, ollama
from otel_atm.testing.provider.anthropic import Messages
from otel_atm.testing.provider.asked import Asked
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.openai import ChatCompletions, Completions, Responses
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.url import Url
from tests.guards.bodies import (
    CHAT_USAGE,
    RESPONSE_USAGE,
    STREAMS,
    Stream,
    chat_chunk,
    frame,
    gemini_chunk,
    json_lines,
    message_events,
    packed,
    sse,
)

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


def watched(shape: Shape, *chunks: bytes) -> StreamWatch:
    """A watch that has seen these chunks."""
    watch = StreamWatch(shape)
    for chunk in chunks:
        watch.feed(chunk)
    return watch


def cut(content: bytes, places: list[int]) -> list[bytes]:
    """The content, cut there."""
    ends = sorted({min(place, len(content)) for place in places} | {len(content)})
    return [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@each_stream
def test_what_a_stream_says(stream: Stream) -> None:
    watch = watched(stream.shape, stream.content)
    assert watch.done is stream.done
    assert watch.finish() == stream.answer


@each_stream
def test_a_stream_that_comes_byte_by_byte_says_the_same(stream: Stream) -> None:
    watch = watched(stream.shape, *(bytes((byte,)) for byte in stream.content))
    assert watch.done is stream.done
    assert watch.finish() == stream.answer


@each_stream
@given(places=st.lists(st.integers(0, 4_000), max_size=12))
def test_however_it_is_cut_a_stream_says_the_same(stream: Stream, places: list[int]) -> None:
    watch = watched(stream.shape, *cut(stream.content, places))
    assert (watch.done, watch.finish()) == (stream.done, stream.answer)


@given(
    shape=st.sampled_from(Shape),
    content=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [b"data: ", b"\n", b"\r\n", b'{"', b'"}', b"[{", b"}]", b"\\", b'"', b"[DONE]"]
            ),
            st.sampled_from([stream.content for stream in STREAMS]),
            st.integers(MOST_WHOLE - 40, MOST_WHOLE + 40).map(lambda size: b"x" * size),
        ),
        max_size=8,
    ).map(b"".join),
    places=st.lists(st.integers(0, 80_000), max_size=6),
)
def test_whatever_comes_nothing_is_raised_and_cuts_change_nothing(
    shape: Shape, content: bytes, places: list[int]
) -> None:
    whole, parts = watched(shape, content), watched(shape, *cut(content, places))
    assert whole.done == parts.done
    assert whole.finish() == parts.finish()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 1 << 50), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "choices",
                    "delta",
                    "content",
                    "type",
                    "message",
                    "response",
                    "text",
                    "candidates",
                    "parts",
                    "usageMetadata",
                    "metadata",
                    "bytes",
                    "chunk",
                    "done",
                    "prompt_tokens",
                    "input_tokens",
                    "outputTokens",
                    "model",
                    "id",
                    "tool_calls",
                    "function",
                    "arguments",
                    "args",
                    "x_groq",
                    "meta",
                    "billed_units",
                    "results",
                    "prompt_tokens_details",
                    "amazon-bedrock-invocationMetrics",
                    "generation",
                    "event_type",
                    "predictions",
                    "embeddings",
                    "statistics",
                    "token_count",
                    "content_block",
                ]
            )
            | st.text(max_size=3),
            inner | st.sampled_from(["message_start", "message-end", "response.completed", "AA=="]),
            max_size=5,
        ),
    ),
    max_leaves=20,
)


@given(shape=st.sampled_from(Shape), events=st.lists(json_values, max_size=4))
def test_whatever_an_event_is_made_of_nothing_is_raised(shape: Shape, events: list[Any]) -> None:
    watch = watched(shape, b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in events))
    tokens = watch.finish().tokens
    if tokens is not None:
        assert all(type(count) is int and count >= 0 for count in tokens)
        assert tokens[0] >= tokens[2] + tokens[3]
        assert tokens[1] >= tokens[4]


counts = st.integers(0, 10_000)
says = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.builds(Call, st.just("look_up"), st.just('{"usage": {"input_tokens": 5}}')),
)


@pytest.mark.parametrize(
    ("dialect", "shape", "query"),
    [
        (ChatCompletions(), Shape.CHAT, {}),
        (Completions(), Shape.COMPLETIONS, {}),
        (Responses(), Shape.RESPONSES, {}),
        (Messages(), Shape.MESSAGES, {}),
        (gemini.StreamGenerateContent(), Shape.GENERATE, {"alt": "sse"}),
        (gemini.StreamGenerateContent(), Shape.GENERATE, {}),
        (cohere.Chat(), Shape.COHERE_CHAT, {}),
        (cohere.ChatV1(), Shape.COHERE_CHAT, {}),
        (ollama.Chat(), Shape.OLLAMA, {}),
        (ollama.Generate(), Shape.OLLAMA, {}),
        (mistral.Chat(), Shape.CHAT, {}),
    ],
    ids=lambda value: value if isinstance(value, Shape) else type(value).__name__,
)
@given(
    says=says,
    tokens=st.builds(
        lambda fresh, read, write, out, reasoning: Tokens(
            input=fresh + read + write,
            output=out + reasoning,
            cache_read=read,
            cache_write=write,
            reasoning=reasoning,
        ),
        counts.map(lambda count: count + 1),
        counts,
        counts,
        counts.map(lambda count: count + 1),
        counts,
    ),
    places=st.lists(st.integers(0, 4_000), max_size=6),
)
def test_a_watch_counts_what_the_provider_says_it_billed(
    dialect: Dialect,
    shape: Shape,
    query: dict[str, str],
    says: str | Call,
    tokens: Tokens,
    places: list[int],
) -> None:
    tokens = dialect.fit(tokens)
    asked = Asked(path="/", model="m-1", stream=True, characters=0, max_output_tokens=None)
    body = {"messages": [], "prompt": "x"}
    turn = Turn(body, asked, says, tokens, tells=True, url=Url("/", query=query))
    content = b"".join(dialect.framing(turn).frames(list(dialect.events(turn))))
    watch = watched(shape, *cut(content, places))
    answer = watch.finish()
    assert watch.done or shape is Shape.GENERATE  # which just ends
    assert answer.exact
    assert answer.tokens == (
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write,
        tokens.reasoning,
    )


def test_a_stream_that_is_done_is_not_looked_at_again() -> None:
    watch = watched(Shape.CHAT, b"data: [DONE]\n\n", sse(chat_chunk({}, "stop", usage=CHAT_USAGE)))
    assert watch.finish() == Answer()


def test_the_answer_stays_as_it_was_when_it_was_asked_for() -> None:
    watch = StreamWatch(Shape.CHAT)
    answer = watch.finish()
    watch.feed(sse(chat_chunk({}, "stop", usage=CHAT_USAGE)))
    watch.take(chat_chunk({}, "stop", usage=CHAT_USAGE))
    assert watch.finish() is answer


def test_events_that_botocore_has_parsed_say_the_same() -> None:
    watch = StreamWatch(Shape.CONVERSE)
    watch.take({"contentBlockDelta": {"delta": {"text": "Hi there"}, "contentBlockIndex": 0}})
    watch.take({"metadata": {"usage": {"inputTokens": 11, "outputTokens": 7}}})
    assert (watch.done, watch.finish()) == (True, Answer((11, 7, 0, 0, 0), None, True, 2))
    invoked = StreamWatch(Shape.INVOKE)
    for event in message_events({"output_tokens": 7}):
        invoked.take({"chunk": {"bytes": orjson.dumps(event)}})
    assert invoked.finish().tokens == (11, 7, 4, 2, 0)


# Lines that are too long to be parsed -----------------------------------------------------------

LONG = 'long "usage": {"input_tokens": 9999} ' * 3_000


@pytest.mark.parametrize(
    ("shape", "content", "tokens"),
    [
        (
            Shape.RESPONSES,
            sse(
                {
                    "type": "response.completed",
                    "response": {
                        "id": "resp_1",
                        "output": [{"text": LONG}],
                        "usage": RESPONSE_USAGE,
                        "metadata": {"usage": "x"},
                    },
                }
            ),
            (11, 7, 4, 0, 3),
        ),
        (Shape.CHAT, sse(chat_chunk({"content": LONG}, usage=CHAT_USAGE)), (11, 7, 4, 0, 3)),
        (
            Shape.GENERATE,
            sse(gemini_chunk(LONG, {"promptTokenCount": 11, "candidatesTokenCount": 7})),
            (11, 7, 0, 0, 0),
        ),
        (
            Shape.GENERATE,
            orjson.dumps([gemini_chunk(LONG, {"promptTokenCount": 11})]),
            (11, 0, 0, 0, 0),
        ),
        (
            Shape.OLLAMA,
            json_lines({"response": LONG, "done": True, "prompt_eval_count": 3, "eval_count": 4}),
            (3, 4, 0, 0, 0),
        ),
        (
            Shape.COHERE_CHAT,
            json_lines(
                {
                    "event_type": "stream-end",
                    "response": {
                        "text": LONG,
                        "meta": {"billed_units": {"input_tokens": 11, "output_tokens": 7}},
                    },
                }
            ),
            (11, 7, 0, 0, 0),
        ),
        # an object of that name in the arguments of a tool, which are no text here
        (
            Shape.GENERATE,
            sse(
                {
                    "candidates": [
                        {
                            "content": {
                                "parts": [
                                    {"text": LONG},
                                    {
                                        "functionCall": {
                                            "name": "f",
                                            "args": {"usageMetadata": {"promptTokenCount": 9999}},
                                        }
                                    },
                                ]
                            }
                        }
                    ]
                }
            ),
            None,
        ),
    ],
    ids=["responses", "chat", "gemini", "gemini list", "ollama", "cohere", "a tool's argument"],
)
def test_usage_at_the_end_of_a_long_line_is_found(
    shape: Shape, content: bytes, tokens: tuple[int, ...] | None
) -> None:
    answer = watched(shape, content).finish()
    assert answer.tokens == tokens
    assert answer.exact is (tokens is not None)
    assert answer == watched(shape, *cut(content, list(range(0, len(content), 997)))).finish()


def test_a_message_that_is_too_long_is_passed_over() -> None:
    content = frame("contentBlockDelta", {"delta": {"text": LONG}}) + frame(
        "metadata", {"usage": {"inputTokens": 1, "outputTokens": 2}}
    )
    for size in (1, 1000, len(content)):
        watch = watched(Shape.CONVERSE, *cut(content, list(range(0, len(content), size))))
        assert (watch.done, watch.finish().tokens) == (True, (1, 2, 0, 0, 0))


# Hostile input ----------------------------------------------------------------------------------

HOSTILE = {
    "deep lists": b"data: " + b"[" * 30_000 + b"\n\n",
    "deep objects": b'data: {"usage":' + b'{"usage":' * 3_000 + b"\n\n",
    "deep, as a list": b"[" * 100_000 + b"{" * 100_000,
    "closed and never opened": b"[" + b"]}" * 50_000,
    "nul bytes": b"data: " + bytes(50_000),
    "a broken message": b"\x00\x00\x00\x05" + b"\xff" * 50_000,
    "a message without end": b"\x00\xff\xff\xff\x00\x00\x00\x00" + b"\x01" * 50_000,
    "no UTF-8": b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n' * 100,
    "a line without end": b"data: " + b'{"usage":' * 50_000,
    "backslashes": b'[{"a":"' + b"\\" * 99_999,
    "quotes": b'data: {"' + b'"usage":{' * 50_000 + b"}\n\n",
    "not base64": frame("chunk", {"bytes": "%%% \u20ac"}),
    "packed nonsense": packed({"type": ["x"]}),
    "lone surrogate": b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n',
    "huge numbers": b'data: {"usage":{"prompt_tokens":%s,"completion_tokens":1e999}}\n\n'
    % (b"9" * 300),
    "compressed": b"\x1f\x8b\x08" + bytes(range(256)) * 100,
}


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_streams_say_nothing_and_do_no_harm(shape: Shape, content: bytes) -> None:
    answer = watched(shape, *cut(content, list(range(0, len(content), 4_096)))).finish()
    assert answer.tokens is None


@pytest.mark.parametrize("begin", [b"data: ", b"[{", b'{"a":"', b"\x00\x00\x7f\xff"])
def test_memory_is_bounded_however_long_a_line_is(begin: bytes) -> None:
    watch = watched(Shape.CHAT, begin)
    chunk = b"x" * 10_000
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1_000):
            watch.feed(chunk)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * (MOST_WHOLE + HEAD)


# Privacy ----------------------------------------------------------------------------------------


def everything_in(thing: object, seen: set[int] | None = None) -> bytes:
    """Whatever an object holds, written down."""
    seen = set() if seen is None else seen
    if id(thing) in seen or callable(thing):
        return b""
    seen.add(id(thing))
    if isinstance(thing, (bytes, bytearray)):
        return bytes(thing)
    parts = list(thing) if isinstance(thing, (tuple, list, set)) else []
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            parts.append(getattr(thing, name, None))
    parts += list(getattr(thing, "__dict__", {}).values())
    return repr(thing).encode() + b"".join(everything_in(part, seen) for part in parts)


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        (Shape.CHAT, sse(chat_chunk({"content": "s3cret"}), chat_chunk({"content": "s3cret"}))),
        (Shape.MESSAGES, sse(*message_events({"output_tokens": 7}, said="s3cret"))),
        (Shape.GENERATE, sse(gemini_chunk("s3cret", {"promptTokenCount": 1}))),
        (Shape.GENERATE, orjson.dumps([gemini_chunk("s3cret", {"promptTokenCount": 1})] * 2)),
        (Shape.CONVERSE, frame("contentBlockDelta", {"delta": {"text": "s3cret"}})),
        (Shape.OLLAMA, json_lines({"response": "s3cret", "done": False})),
        (Shape.CHAT, sse(chat_chunk({"content": "s3cret" * 20_000}))),
    ],
    ids=["chat", "messages", "gemini", "gemini list", "converse", "ollama", "long"],
)
def test_no_text_is_kept(shape: Shape, content: bytes) -> None:
    watch = watched(shape, content)
    assert b"s3cret" not in everything_in(watch)
    assert b"s3cret" not in everything_in(watch.finish())


def test_of_an_unfinished_line_nothing_is_kept_once_the_stream_has_ended() -> None:
    watch = watched(Shape.CHAT, b'data: {"choices":[{"delta":{"content":"s3cret')
    assert b"s3cret" in everything_in(watch)  # so this would find it
    watch.finish()
    assert b"s3cret" not in everything_in(watch)
    done = watched(Shape.CHAT, b"data: [DONE]\n\ndata: s3cret")
    assert b"s3cret" not in everything_in(done)
