"""Answers as the providers send them, from their API references: whole and streamed."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any, NamedTuple

import orjson

from otel_atm.guards import Answer, Shape

Json = dict[str, Any]


class Stream(NamedTuple):
    """A stream and what is to be read from it."""

    name: str
    shape: Shape
    content: bytes
    answer: Answer
    done: bool = True


def sse(*events: Json | str, named: bool = False, end: bytes = b"\n") -> bytes:
    """Server-sent events; with the names of their types, if wanted."""
    lines = []
    for event in events:
        if named and isinstance(event, dict):
            lines.append(b"event: %s" % event["type"].encode())
        data = event.encode() if isinstance(event, str) else orjson.dumps(event)
        lines += [b"data: %s" % data, b""]
    return b"".join(line + end for line in lines)


def json_lines(*events: Json) -> bytes:
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


def frame(event_type: str, payload: Json) -> bytes:
    """One message of Amazon's event stream."""
    headers = b"".join(
        struct.pack(">B", len(name)) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":event-type", event_type.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    body = orjson.dumps(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def packed(event: Json) -> bytes:
    """One message of InvokeModelWithResponseStream."""
    content = base64.b64encode(orjson.dumps(event)).decode()
    return frame("chunk", {"bytes": content, "p": "abcdef"})


CHAT_USAGE: Json = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}


def chat_chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "gpt-5.1-2025-11-13",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **more,
    }


#: A text that would be usage, were it not quoted.
LIE = '{"usage": {"prompt_tokens": 9999, "completion_tokens": 9999, "input_tokens": 9999}}'

_CHAT_DELTAS = (
    chat_chunk({"role": "assistant", "content": "", "refusal": None}),
    chat_chunk({"content": "The river"}),
    chat_chunk({"content": " Rhône. " + LIE}),
    chat_chunk({}, "stop"),
)
_SEEN = -(-(len("The river Rhône. ".encode()) + len(LIE)) // 4)

_RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "status": "in_progress",
    "model": "gpt-5.1",
    "output": [],
    "tools": [{"type": "function", "parameters": {"properties": {"usage": {"type": "object"}}}}],
    "usage": None,
}
RESPONSE_USAGE: Json = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 18,
}


def message_events(usage: Json, *, said: str = "Hello!") -> list[Json]:
    """A stream of Anthropic with this usage at its end."""
    start = {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 5,
                "cache_creation_input_tokens": 2,
                "cache_read_input_tokens": 4,
                "cache_creation": {"ephemeral_5m_input_tokens": 2},
                "output_tokens": 1,
                "service_tier": "standard",
            },
        },
    }
    return [
        start,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": said},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]


def gemini_chunk(text: str, usage: Json, finish: str | None = None) -> Json:
    candidate: Json = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }


_GEMINI = (
    gemini_chunk("The", {"promptTokenCount": 9, "totalTokenCount": 9, "thoughtsTokenCount": 2}),
    gemini_chunk(
        " river",
        {
            "promptTokenCount": 9,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "toolUsePromptTokenCount": 2,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 18,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
        },
        "STOP",
    ),
)
_FULL = (11, 7, 4, 0, 3)

STREAMS = [
    Stream(
        "OpenAI chat with usage",
        Shape.CHAT,
        sse(*_CHAT_DELTAS, {**chat_chunk({}), "choices": [], "usage": CHAT_USAGE}, "[DONE]"),
        Answer(_FULL, "chatcmpl-1", True, _SEEN),
    ),
    Stream(
        "OpenAI chat without usage",
        Shape.CHAT,
        sse(*_CHAT_DELTAS, "[DONE]", end=b"\r\n"),
        Answer(None, "chatcmpl-1", False, _SEEN),
    ),
    Stream(
        "tool calls in pieces",
        Shape.CHAT,
        sse(
            chat_chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_12345678",
                            "type": "function",
                            "function": {"name": "look", "arguments": ""},
                        }
                    ]
                }
            ),
            chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"usage":'}}]}),
            chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}}"}}]}),
        ),
        Answer(None, "chatcmpl-1", False, 4),
        done=False,
    ),
    Stream(
        "Mistral: usage beside the last choice",
        Shape.CHAT,
        sse(chat_chunk({"content": "Hi"}), chat_chunk({}, "stop", usage=CHAT_USAGE), "[DONE]"),
        Answer(_FULL, "chatcmpl-1", True, 1),
    ),
    Stream(
        "Groq: usage of its own",
        Shape.CHAT,
        sse(chat_chunk({}, "stop", x_groq={"id": "req_1", "usage": CHAT_USAGE}), "[DONE]"),
        Answer(_FULL, "chatcmpl-1", True, 0),
    ),
    Stream(
        "vLLM: usage in every chunk, cut off",
        Shape.CHAT,
        sse(
            chat_chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1}),
            chat_chunk({"content": "b"}, usage={"prompt_tokens": 5, "completion_tokens": 2}),
        ),
        Answer((5, 2, 0, 0, 0), "chatcmpl-1", False, 1),
        done=False,
    ),
    Stream(
        "OpenAI text completions",
        Shape.COMPLETIONS,
        sse(
            {"id": "cmpl-1", "model": "m", "choices": [{"index": 0, "text": "abcdefgh"}]},
            {"id": "cmpl-1", "model": "m", "choices": [], "usage": CHAT_USAGE},
            "[DONE]",
        ),
        Answer(_FULL, "cmpl-1", True, 2),
    ),
    Stream(
        "OpenAI responses",
        Shape.RESPONSES,
        sse(
            {"type": "response.created", "response": _RESPONSE, "sequence_number": 0},
            {"type": "response.output_text.delta", "delta": LIE, "sequence_number": 1},
            {"type": "response.output_text.done", "text": LIE, "sequence_number": 2},
            {
                "type": "response.completed",
                "response": {
                    **_RESPONSE,
                    "status": "completed",
                    "output": [{"type": "message", "content": [{"text": LIE}]}],
                    "usage": RESPONSE_USAGE,
                },
            },
            named=True,
        ),
        Answer(_FULL, "resp_1", True, -(-len(LIE) // 4)),
    ),
    Stream(
        "Anthropic messages",
        Shape.MESSAGES,
        sse(
            *message_events({"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}),
            named=True,
        ),
        Answer((11, 7, 4, 2, 3), "msg_1", True, 2),
    ),
    Stream(
        "Anthropic messages, counts told again",
        Shape.MESSAGES,
        sse(
            *message_events(
                {
                    "input_tokens": 5,
                    "cache_creation_input_tokens": 2,
                    "cache_read_input_tokens": 4,
                    "output_tokens": 7,
                }
            )
        ),
        Answer((11, 7, 4, 2, 0), "msg_1", True, 2),
    ),
    Stream(
        "Anthropic messages, closed early",
        Shape.MESSAGES,
        sse(*message_events({}, said="word " * 20)[:4], named=True),
        Answer((11, 25, 4, 2, 0), "msg_1", False, 25),
        done=False,
    ),
    Stream(
        "Gemini",
        Shape.GENERATE,
        sse(*_GEMINI, end=b"\r\n"),
        Answer(_FULL, "r-1", True, 3),
        done=False,
    ),
    Stream(
        "Gemini, as a list",
        Shape.GENERATE,
        b"\n" + orjson.dumps([*_GEMINI], option=orjson.OPT_INDENT_2) + b"\n",
        Answer(_FULL, "r-1", True, 3),
        done=False,
    ),
    Stream(
        "Gemini, as a list with quotes and brackets in it, cut off",
        Shape.GENERATE,
        orjson.dumps(
            [gemini_chunk('}]\\"{"\\', {"promptTokenCount": 9, "candidatesTokenCount": 4})] * 2
        )[:-30],
        Answer((9, 4, 0, 0, 0), "r-1", False, 2),
        done=False,
    ),
    Stream(
        "Cohere",
        Shape.COHERE_CHAT,
        sse(
            {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant"}}},
            {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": "Hi there"}}},
            },
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {
                        "billed_units": {"input_tokens": 11, "output_tokens": 7},
                        "tokens": {"input_tokens": 80, "output_tokens": 8},
                    },
                },
            },
            named=True,
        ),
        Answer((11, 7, 0, 0, 0), "c-1", True, 2),
    ),
    Stream(
        "Cohere, first API",
        Shape.COHERE_CHAT,
        json_lines(
            {"event_type": "stream-start", "generation_id": "c-1"},
            {"event_type": "text-generation", "text": "Hi there"},
            {
                "event_type": "stream-end",
                "response": {
                    "text": "Hi there",
                    "meta": {"billed_units": {"input_tokens": 11.0, "output_tokens": 7.0}},
                },
            },
        ),
        Answer((11, 7, 0, 0, 0), "c-1", True, 2),
    ),
    Stream(
        "Ollama chat",
        Shape.OLLAMA,
        json_lines(
            {
                "model": "llama3.2",
                "message": {"role": "assistant", "content": "The"},
                "done": False,
            },
            {
                "model": "llama3.2",
                "message": {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"eval_count": 99}}}],
                },
                "done": False,
            },
            {
                "model": "llama3.2",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 11,
                "eval_count": 7,
            },
        ),
        Answer((11, 7, 0, 0, 0), None, True, 6),
    ),
    Stream(
        "Ollama generate, cut off",
        Shape.OLLAMA,
        json_lines({"model": "llama3.2", "response": "The river", "done": False}),
        Answer(None, None, False, 3),
        done=False,
    ),
    Stream(
        "Bedrock converse",
        Shape.CONVERSE,
        frame("messageStart", {"role": "assistant", "p": "abc"})
        + frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": LIE}, "p": "ab"})
        + frame("messageStop", {"stopReason": "end_turn"})
        + frame(
            "metadata",
            {
                "metrics": {"latencyMs": 1},
                "usage": {
                    "inputTokens": 5,
                    "outputTokens": 7,
                    "totalTokens": 18,
                    "cacheReadInputTokens": 4,
                    "cacheWriteInputTokens": 2,
                },
            },
        ),
        Answer((11, 7, 4, 2, 0), None, True, -(-len(LIE) // 4)),
    ),
    Stream(
        "Claude on Bedrock",
        Shape.INVOKE,
        b"".join(packed(event) for event in message_events({"output_tokens": 7})[:-1])
        + packed(
            {
                "type": "message_stop",
                "amazon-bedrock-invocationMetrics": {
                    "inputTokenCount": 5,
                    "outputTokenCount": 7,
                    "cacheReadInputTokenCount": 4,
                    "cacheWriteInputTokenCount": 2,
                },
            }
        ),
        Answer((11, 7, 4, 2, 0), "msg_1", True, 2),
    ),
    Stream(
        "Llama on Bedrock",
        Shape.INVOKE,
        packed({"generation": "Hi there", "prompt_token_count": 11, "generation_token_count": 2})
        + packed(
            {
                "generation": "",
                "prompt_token_count": None,
                "generation_token_count": 7,
                "stop_reason": "stop",
                "amazon-bedrock-invocationMetrics": {
                    "inputTokenCount": 11,
                    "outputTokenCount": 7,
                },
            }
        ),
        Answer((11, 7, 0, 0, 0), None, True, 2),
    ),
    Stream(
        "Titan on Bedrock",
        Shape.INVOKE,
        packed(
            {
                "index": 0,
                "outputText": "Hi there",
                "inputTextTokenCount": 11,
                "totalOutputTextTokenCount": None,
                "completionReason": None,
            }
        )
        + packed(
            {
                "index": 0,
                "outputText": "",
                "inputTextTokenCount": 11,
                "totalOutputTextTokenCount": 7,
                "completionReason": "FINISH",
            }
        ),
        Answer((11, 7, 0, 0, 0), None, True, 2),
        done=False,
    ),
    Stream(
        "GPT on Bedrock",
        Shape.INVOKE,
        packed(chat_chunk({"content": "Hi there"}))
        + packed(
            {
                **chat_chunk({}, "stop"),
                "amazon-bedrock-invocationMetrics": {"inputTokenCount": 11, "outputTokenCount": 7},
            }
        ),
        Answer((11, 7, 0, 0, 0), "chatcmpl-1", True, 2),
    ),
    Stream(
        "Nova on Bedrock",
        Shape.INVOKE,
        packed({"contentBlockDelta": {"delta": {"text": "Hi there"}, "contentBlockIndex": 0}})
        + packed({"metadata": {"usage": {"inputTokens": 11, "outputTokens": 7}}}),
        Answer((11, 7, 0, 0, 0), None, True, 2),
    ),
    Stream(
        "a gateway that does not stream",
        Shape.CHAT,
        orjson.dumps(
            {
                "id": "chatcmpl-1",
                "model": "m",
                "choices": [{"message": {"role": "assistant", "content": "Hi"}}],
                "usage": CHAT_USAGE,
            }
        ),
        Answer(_FULL, "chatcmpl-1", False, 1),
        done=False,
    ),
    Stream(
        "an error on the way",
        Shape.MESSAGES,
        sse({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, named=True),
        Answer(),
    ),
]
