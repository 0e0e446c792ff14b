"""What guards cost, as multiples of a bare SDK span."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer, use_span

import otel_atm as atm
from benchmarks.interleaved import measure, medians
from benchmarks.processor import AT_START, BUDGETS, llm_span
from otel_atm.guards import Shape, StreamWatch, read_answer
from otel_atm.guards.door import Door

#: What each ratio should be at most; tests assert twice of it, since machines are noisy.
LIMITS = {
    "processor and guard of one call": 2.0,
    "guard alone, 8 kB request": 0.8,
    "reading an answer of 2 kB": 0.4,
    "a chunk of a stream": 0.25,
}
HOST, PATH = "api.openai.com", "/v1/chat/completions"
TEXT = "How are you today, my friend? "
USAGE = {
    "prompt_tokens": 900,
    "completion_tokens": 210,
    "total_tokens": 1110,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def request(size: int) -> bytes:
    """A chat of about so many bytes."""
    turns = [{"role": "user", "content": TEXT * 25} for _ in range(max(1, size // 780))]
    return orjson.dumps({"model": "gpt-5.1", "messages": turns, "max_completion_tokens": 500})


def parts(size: int) -> bytes:
    """The same, in parts, of which any may be a picture."""
    turns = [
        {"role": "user", "content": [{"type": "text", "text": TEXT * 25}]}
        for _ in range(size // 820)
    ]
    return orjson.dumps({"model": "gpt-5.1", "messages": turns, "max_completion_tokens": 500})


def answer(words: int) -> bytes:
    """What is answered."""
    message = {"role": "assistant", "content": "word " * words}
    return orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "gpt-5.1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    )


CHUNK = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":17000000,'
    b'"model":"gpt-5.1","service_tier":"default","system_fingerprint":null,"usage":null,"choices":'
    b'[{"index":0,"delta":{"content":" river"},"logprobs":null,"finish_reason":null}]}\n\n'
)


def sent(door: Door, body: bytes, answered: bytes) -> Callable[[int], None]:
    """Requests that pass, and are answered."""

    def run(calls: int) -> None:
        for _ in range(calls):
            attempt = door.send("httpx", "POST", HOST, PATH, body)
            assert attempt is not None
            if attempt.status(200):
                attempt.body(answered)

    return run


def both(tracer: Tracer, door: Door, body: bytes, answered: bytes) -> Callable[[int], None]:
    """The same within a span of an instrumentation, which tells the usage too."""
    send = sent(door, body, answered)

    def run(calls: int) -> None:
        for _ in range(calls):
            span = tracer.start_span("chat gpt-5.1", attributes=AT_START)
            with use_span(span, end_on_exit=False):
                send(1)
            span.set_attribute("gen_ai.response.id", "r-1")
            span.set_attribute("gen_ai.usage.input_tokens", 900)
            span.set_attribute("gen_ai.usage.output_tokens", 210)
            span.end()

    return run


def current_span(tracer: Tracer) -> Callable[[int], None]:
    """A bare span that is current while the call lasts."""

    def run(calls: int) -> None:
        for _ in range(calls):
            span = tracer.start_span("chat gpt-5.1", attributes=AT_START)
            with use_span(span, end_on_exit=False):
                pass
            span.set_attribute("gen_ai.response.id", "r-1")
            span.set_attribute("gen_ai.usage.input_tokens", 900)
            span.set_attribute("gen_ai.usage.output_tokens", 210)
            span.end()

    return run


def watched(chunk: bytes) -> Callable[[int], None]:
    def run(chunks: int) -> None:
        watch = StreamWatch(Shape.CHAT)
        for _ in range(chunks):
            watch.feed(chunk)

    return run


def read(body: bytes) -> Callable[[int], None]:
    def run(answers: int) -> None:
        for _ in range(answers):
            read_answer(Shape.CHAT, body)

    return run


def ratios(folder: Path, rounds: int = 15, calls: int = 500) -> dict[str, float]:
    """What each case costs besides the spans that an instrumentation makes, in bare spans."""
    bare = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    provider = TracerProvider(shutdown_on_exit=False)
    processor = atm.TokenSpanProcessor(
        budgets=BUDGETS, ledger="memory", store=folder / "bench.duckdb", guards=True
    )
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("opentelemetry.instrumentation.genai.openai")
    door = processor._door
    assert door is not None
    small, large = request(100), request(8_000)
    try:
        with atm.context(user="ann", team="ml", app="bench"):
            middle = medians(
                measure(
                    {
                        "bare": llm_span(bare),
                        "current": current_span(bare),
                        "both": both(tracer, door, small, answer(20)),
                        "8 kB": sent(door, large, answer(20)),
                        "parts": sent(door, parts(8_000), answer(20)),
                        "small": sent(door, small, answer(20)),
                        "answer": read(answer(400)),
                        "chunk": watched(CHUNK),
                    },
                    rounds=rounds,
                    calls=calls,
                )
            )
    finally:
        processor.retire()
    span = middle["bare"]
    return {
        "processor and guard of one call": (middle["both"] - middle["current"]) / span,
        "guard alone, 8 kB request": middle["8 kB"] / span,
        "guard alone, 8 kB request in parts": middle["parts"] / span,
        "guard alone, small request": middle["small"] / span,
        "reading an answer of 2 kB": middle["answer"] / span,
        "a chunk of a stream": middle["chunk"] / span,
        "making a span current": (middle["current"] - span) / span,
        "bare span, µs": span * 1e6,
    }
