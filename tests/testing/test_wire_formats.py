"""Every endpoint beside those of OpenAI and Anthropic: errors, faults and records, on the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from otel_atm.testing import ProviderServer, Tokens
from tests.testing.test_provider import HELLO, NOTHING, ask, line, post

PARTS: Any = [{"role": "user", "parts": [{"text": "hello"}]}]
GEMINI = "/v1beta/models/m"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/m"
AZURE = "/openai/deployments/m"

#: Path → (body, the fields without which it is refused, what says that a stream is wanted).
CALLS: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, Any] | None]] = {
    f"{GEMINI}:generateContent": ({"contents": PARTS}, ("contents",), None),
    f"{GEMINI}:embedContent": ({"content": PARTS[0]}, ("content",), None),
    f"{GEMINI}:batchEmbedContents": ({"requests": [{"content": PARTS[0]}]}, ("requests",), None),
    f"{VERTEX}:generateContent": ({"contents": PARTS}, ("contents",), None),
    "/v2/chat": ({"model": "m", "messages": HELLO}, ("model", "messages"), {"stream": True}),
    "/v1/chat": ({"model": "m", "message": "hello"}, ("model", "message"), {"stream": True}),
    "/v2/embed": ({"model": "m", "texts": ["hello"]}, ("model", "texts"), None),
    "/v1/embed": ({"model": "m", "texts": ["hello"]}, ("model", "texts"), None),
    "/api/chat": ({"model": "m", "messages": HELLO, "stream": False}, ("model", "messages"), {}),
    "/api/generate": ({"model": "m", "prompt": "hello", "stream": False}, ("model", "prompt"), {}),
    "/api/embed": ({"model": "m", "input": "hello"}, ("model", "input"), None),
    "/mistral/v1/chat/completions": (
        {"model": "m", "messages": HELLO},
        ("model", "messages"),
        {"stream": True},
    ),
    "/mistral/v1/embeddings": ({"model": "m", "input": "hello"}, ("model", "input"), None),
    "/v1/completions": ({"model": "m", "prompt": "hello"}, ("model", "prompt"), {"stream": True}),
    f"{AZURE}/chat/completions": ({"messages": HELLO}, ("messages",), {"stream": True}),
    f"{AZURE}/embeddings": ({"input": "hello"}, ("input",), None),
    "/openai/v1/responses": ({"model": "m", "input": "hello"}, ("model", "input"), None),
}
USAGE = {"stream_options": {"include_usage": True}}
STREAMS: dict[str, dict[str, Any]] = {
    f"{GEMINI}:streamGenerateContent?alt=sse": {"contents": PARTS},
    f"{GEMINI}:streamGenerateContent": {"contents": PARTS},
    f"{VERTEX}:streamGenerateContent?alt=sse": {"contents": PARTS},
} | {
    path: {k: v for k, v in body.items() if k != "stream"}
    | wish
    | ({} if path == "v1/chat" else USAGE)
    for path, (body, _, wish) in CALLS.items()
    if wish is not None
}
every_call = pytest.mark.parametrize("path", CALLS)
every_stream = pytest.mark.parametrize("path", STREAMS)


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(running: ProviderServer) -> ProviderServer:
    running.reset()
    return running


def message_of(answer: dict[str, Any]) -> str:
    """Google and OpenAI: below `error`; Ollama: there; Cohere and Mistral: flat."""
    error = answer.get("error", answer)
    message: str = error if isinstance(error, str) else error["message"]
    return message


@every_call
def test_a_plain_answer_is_recorded_and_told(server: ProviderServer, path: str) -> None:
    status, _ = post(server, path, CALLS[path][0])
    assert status == 200
    (reported,) = server.reported
    assert (reported.path, reported.model) == (path, "m")
    assert (reported.stream, reported.input_tokens, reported.told) == (False, 11, True)


@every_stream
def test_a_stream_is_recorded_and_told(server: ProviderServer, path: str) -> None:
    status, raw = ask(server, "POST", path, STREAMS[path])
    assert status == 200
    assert len(raw) > 100
    (reported,) = server.reported
    assert (reported.path, reported.model) == (path.partition("?")[0], "m")
    assert (reported.stream, reported.output_tokens, reported.told) == (True, 7, True)


@every_call
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_error_is_in_the_words_of_the_provider(
    server: ProviderServer, path: str, status: int
) -> None:
    with server.faulty(status=status):
        answered, body = post(server, path, CALLS[path][0])
    assert answered == status
    assert message_of(body)
    with server.faulty(status=status, error_text="a secret"):
        assert message_of(post(server, path, CALLS[path][0])[1]) == "a secret"
    assert server.reported == [line(path, "m", status=status, **NOTHING)] * 2


def test_errors_of_google_have_a_code_and_a_status(server: ProviderServer) -> None:
    with server.faulty(status=429):
        _, body = post(server, f"{GEMINI}:generateContent", {"contents": PARTS})
    assert body == {
        "error": {
            "code": 429,
            "message": "Resource has been exhausted (e.g. check quota).",
            "status": "RESOURCE_EXHAUSTED",
        }
    }


@every_call
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe"])
def test_broken_json_is_refused(server: ProviderServer, path: str, raw: bytes) -> None:
    status, body = post(server, path, raw)
    assert status == 400
    assert "JSON" in message_of(body)


@every_call
def test_a_missing_field_is_named(server: ProviderServer, path: str) -> None:
    body, needs, _ = CALLS[path]
    for name in needs:
        status, answer = post(server, path, {key: body[key] for key in body if key != name})
        assert status == 400
        assert name in message_of(answer)


@every_call
@pytest.mark.parametrize("junk", [3, "x", None, [3], {"function": 3}])
def test_junk_is_no_crash(server: ProviderServer, path: str, junk: Any) -> None:
    names = ("tools", "generationConfig", "systemInstruction", "options", "format", "suffix")
    fields = dict.fromkeys((*names, "response_format", "stream_options", "chat_history"), junk)
    with server.faulty(tool_rounds=1):
        assert ask(server, "POST", path, CALLS[path][0] | fields)[0] == 200


@every_call
def test_usage_can_be_left_out(server: ProviderServer, path: str) -> None:
    with server.faulty(no_usage=True):
        status, raw = ask(server, "POST", path, CALLS[path][0])
    assert status == 200
    assert b"okens" not in raw.replace(b"max_output_tokens", b"")
    assert b"eval_count" not in raw
    assert [line.told for line in server.reported] == [False]


@every_stream
def test_usage_of_a_stream_can_be_left_out(server: ProviderServer, path: str) -> None:
    with server.faulty(no_usage=True):
        status, raw = ask(server, "POST", path, STREAMS[path])
    assert (status, b"oken" in raw, b"eval_count" in raw) == (200, False, False)
    assert server.total_told() == Tokens()


@every_stream
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_dropped_stream_is_not_told(server: ProviderServer, path: str, after: int) -> None:
    with (
        server.faulty(drop_stream_after=after),
        pytest.raises(http.client.IncompleteRead),
    ):
        ask(server, "POST", path, STREAMS[path])
    assert [(line.told, line.status, line.output_tokens) for line in server.reported] == [
        (False, 200, 7)
    ]


@every_call
def test_an_answer_can_be_malformed(server: ProviderServer, path: str) -> None:
    with server.faulty(malformed=True):
        status, raw = ask(server, "POST", path, CALLS[path][0])
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)


@every_stream
def test_a_stream_can_be_malformed(server: ProviderServer, path: str) -> None:
    with server.faulty(malformed=True):
        status, raw = ask(server, "POST", path, STREAMS[path])
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw.rpartition(b"data: ")[2])
    assert [line.told for line in server.reported] == [False]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (f"{GEMINI}:paint", {"error": {"code": 404, "status": "NOT_FOUND"}}),
        ("/api/nothing", {"error": "model not found"}),
        ("/v2/nothing", {"message": "model not found"}),
        ("/mistral/v1/nothing", {"object": "error"}),
    ],
)
def test_an_unknown_path_is_refused_in_the_words_of_the_provider(
    server: ProviderServer, path: str, error: dict[str, Any]
) -> None:
    status, body = post(server, path, {})
    assert status == 404
    for name, value in error.items():
        found = body[name]
        assert (value.items() <= found.items()) if isinstance(value, dict) else value == found
    assert ask(server, "GET", "/api/chat")[0] == 405
    assert server.requests == 0


def test_counting_tokens_is_no_llm_request(server: ProviderServer) -> None:
    assert post(server, f"{GEMINI}:countTokens", {"contents": PARTS}) == (200, {"totalTokens": 2})
    assert post(server, f"{GEMINI}:countTokens", {})[0] == 400
    assert ask(server, "GET", "/openai/v1/models")[0] == 200
    assert server.requests == 0


def test_a_stream_without_sse_is_a_list(server: ProviderServer) -> None:
    status, raw = ask(server, "POST", f"{GEMINI}:streamGenerateContent", {"contents": PARTS})
    told = [each["usageMetadata"]["totalTokenCount"] for each in json.loads(raw)]
    assert (status, told) == (200, [15, 16, 17, 18])


def test_gemini_counts_thoughts_apart_and_the_cache_within() -> None:
    with ProviderServer(usage=Tokens(20, 9, cache_read=6, cache_write=2, reasoning=4)) as server:
        _, body = post(server, f"{GEMINI}:generateContent", {"contents": PARTS})
        assert server.reported[0].tokens == Tokens(20, 9, cache_read=6, reasoning=4)
    usage = body["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (20, 6)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"]) == (5, 4)
    assert usage["totalTokenCount"] == 29
