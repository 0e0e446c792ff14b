from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.errors import ConfigurationError
from otel_atm.guards import Hosts, Request, Shape, recognise
from otel_atm.guards.endpoints import ENDPOINTS
from otel_atm.guards.hosts import read_gateways
from otel_atm.guards.requests import MOST_PARSED
from otel_atm.tokenizers.estimate import MEDIA_TOKENS

ASKS = [{"role": "user", "content": "How are you?"}]
ASKED = -(-len(orjson.dumps(ASKS)) // 4)


def asked(host: str, path: str, body: Any, hosts: Hosts | None = None) -> Request | None:
    """What a POST with this JSON asks."""
    return recognise("POST", host, path, orjson.dumps(body), hosts or Hosts())


OPENAI, CHAT = "api.openai.com", "/v1/chat/completions"


def test_all_that_is_known_of_a_request() -> None:
    body = {"model": "gpt-5.1", "messages": ASKS, "stream": True, "max_tokens": 50, "n": 2}
    assert asked(OPENAI, CHAT, body) == Request(
        provider="openai",
        host=OPENAI,
        model="gpt-5.1",
        operation="chat",
        shape=Shape.CHAT,
        stream=True,
        most_output=100,
        estimate=(ASKED, 100, 0, 0, 0),
        tells_usage=False,
    )


VERTEX = "/v1/projects/p/locations/l/publishers"


@pytest.mark.parametrize(
    ("host", "path", "body", "provider", "model", "operation", "shape", "stream"),
    [
        (OPENAI, "/v1/completions", {"model": "m", "prompt": "x"}, "openai", "m",
         "text_completion", Shape.COMPLETIONS, False),
        (OPENAI, "/v1/responses", {"model": "m", "input": "x", "stream": True}, "openai", "m",
         "chat", Shape.RESPONSES, True),
        (OPENAI, "/v1/responses/compact", {"model": "m", "input": "x"}, "openai", "m",
         "chat", Shape.RESPONSES, False),
        (OPENAI, "/v1/embeddings", {"model": "m", "input": [[1, 2]]}, "openai", "m",
         "embeddings", Shape.EMBEDDINGS, False),
        ("acme.openai.azure.com", "/openai/deployments/gpt-5/chat/completions?api-version=1",
         {"messages": ASKS}, "azure.ai.openai", "gpt-5", "chat", Shape.CHAT, False),
        ("acme.openai.azure.com", "/openai/v1/responses", {"model": "d", "input": "x"},
         "azure.ai.openai", "d", "chat", Shape.RESPONSES, False),
        ("acme.services.ai.azure.com", "/models/chat/completions", {"model": "m", "messages": ASKS},
         "azure.ai.inference", "m", "chat", Shape.CHAT, False),
        ("api.anthropic.com", "/v1/messages?beta=true", {"model": "c", "messages": ASKS},
         "anthropic", "c", "chat", Shape.MESSAGES, False),
        ("europe-west1-aiplatform.googleapis.com",
         f"{VERTEX}/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
         {"messages": ASKS}, "gcp.vertex_ai", "claude-sonnet-4-5@20250929", "chat",
         Shape.MESSAGES, True),
        ("aiplatform.googleapis.com", f"{VERTEX}/mistralai/models/mistral-small:rawPredict",
         {"messages": ASKS, "stream": True}, "gcp.vertex_ai", "mistral-small", "chat",
         Shape.CHAT, True),
        ("aiplatform.googleapis.com", f"{VERTEX}/google/models/gemini-2.5-pro:generateContent",
         {"contents": []}, "gcp.vertex_ai", "gemini-2.5-pro", "generate_content",
         Shape.GENERATE, False),
        ("aiplatform.googleapis.com", f"{VERTEX}/google/models/text-embedding-005:predict",
         {"instances": [{"content": "x"}]}, "gcp.vertex_ai", "text-embedding-005", "embeddings",
         Shape.PREDICT, False),
        ("generativelanguage.googleapis.com",
         "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", {"contents": []},
         "gcp.gemini", "gemini-2.5-flash", "generate_content", Shape.GENERATE, True),
        ("generativelanguage.googleapis.com", "/v1beta/models/e:batchEmbedContents",
         {"requests": []}, "gcp.gemini", "e", "embeddings", Shape.GEMINI_EMBED, False),
        ("generativelanguage.googleapis.com", "/v1beta/models/e:embedContent",
         {"content": {}}, "gcp.gemini", "e", "embeddings", Shape.GEMINI_EMBED, False),
        ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions",
         {"model": "g", "messages": ASKS}, "gcp.gemini", "g", "chat", Shape.CHAT, False),
        ("api.mistral.ai", "/v1/fim/completions", {"model": "codestral", "prompt": "x"},
         "mistral_ai", "codestral", "text_completion", Shape.COMPLETIONS, False),
        ("api.mistral.ai", "/v1/agents/completions", {"agent_id": "a", "messages": ASKS},
         "mistral_ai", None, "chat", Shape.CHAT, False),
        ("api.groq.com", "/openai/v1/chat/completions", {"model": "m", "messages": ASKS},
         "groq", "m", "chat", Shape.CHAT, False),
        ("api.cohere.com", "/v2/chat", {"model": "c", "messages": ASKS}, "cohere", "c",
         "chat", Shape.COHERE_CHAT, False),
        ("api.cohere.com", "/v1/embed", {"model": "c", "texts": ["x"]}, "cohere", "c",
         "embeddings", Shape.COHERE_EMBED, False),
        ("localhost:11434", "/api/chat", {"model": "l", "messages": ASKS}, "ollama", "l",
         "chat", Shape.OLLAMA, True),
        ("gpu.lan:9000", "/api/generate", {"model": "l", "prompt": "x", "stream": False},
         "ollama", "l", "text_completion", Shape.OLLAMA, False),
        ("localhost:11434", "/v1/chat/completions", {"model": "l", "messages": ASKS}, "ollama",
         "l", "chat", Shape.CHAT, False),
        ("localhost:11434", "/api/embed", {"model": "l", "input": "x"}, "ollama", "l",
         "embeddings", Shape.OLLAMA_EMBED, False),
        ("bedrock-runtime.eu-west-1.amazonaws.com",
         "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse", {"messages": []},
         "aws.bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0", "chat", Shape.CONVERSE, False),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "/model/a.b-v1:0/converse-stream",
         {"messages": []}, "aws.bedrock", "a.b-v1:0", "chat", Shape.CONVERSE, True),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "/model/a.b/invoke-with-response-stream",
         {"prompt": "x"}, "aws.bedrock", "a.b", "chat", Shape.INVOKE, True),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "/model/a.b/invoke", {"prompt": "x"},
         "aws.bedrock", "a.b", "chat", Shape.INVOKE, False),
        ("vllm.lan:8000", "/v1/chat/completions", {"model": "q", "messages": ASKS}, "openai", "q",
         "chat", Shape.CHAT, False),
        ("proxy.acme.dev", "/anthropic/v1/messages", {"model": "c", "messages": ASKS}, "anthropic",
         "c", "chat", Shape.MESSAGES, False),
    ],
)  # fmt: skip
def test_who_is_asked_for_what(
    host: str,
    path: str,
    body: Any,
    provider: str,
    model: str | None,
    operation: str,
    shape: Shape,
    stream: bool,
) -> None:
    request = asked(host, path, body)
    assert request is not None
    assert request[:6] == (provider, host, model, operation, shape, stream)


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("GET", OPENAI, "/v1/models"),
        ("GET", OPENAI, CHAT),
        ("DELETE", OPENAI, "/v1/responses/resp_1"),
        ("POST", OPENAI, "/v1/responses/resp_1/cancel"),
        ("POST", OPENAI, "/v1/responses/input_tokens"),
        ("POST", OPENAI, "/v1/chat/completions/chatcmpl_1"),
        ("POST", OPENAI, "/v1/batches"),
        ("POST", OPENAI, "/v1/files"),
        ("POST", OPENAI, "/v1/images/generations"),
        ("POST", OPENAI, "/v1/audio/transcriptions"),
        ("POST", OPENAI, "/v1/threads/thread_1/messages"),
        ("POST", "api.anthropic.com", "/v1/messages/count_tokens"),
        ("POST", "api.anthropic.com", "/v1/messages/batches"),
        ("POST", "generativelanguage.googleapis.com", "/v1beta/models/g:countTokens"),
        ("POST", "generativelanguage.googleapis.com", "/v1beta/models/g:batchGenerateContent"),
        ("POST", "aiplatform.googleapis.com", f"{VERTEX}/google/models/imagen-4:predict"),
        ("POST", "aiplatform.googleapis.com", f"{VERTEX}/meta/models/llama:rawPredict"),
        ("POST", "api.cohere.com", "/v2/rerank"),
        ("POST", "localhost:11434", "/api/pull"),
        ("POST", "bedrock-runtime.eu-west-1.amazonaws.com", "/guardrail/g/version/1/apply"),
        ("POST", "app.acme.dev", "/chains/summary/invoke"),
        ("POST", "app.acme.dev", "/model/a/invoke"),
        ("POST", "", ""),
        ("POST", "x", "no slash"),
    ],
)
def test_what_asks_no_model(method: str, host: str, path: str) -> None:
    body = {"model": "m", "messages": ASKS, "input": "x", "prompt": "x"}
    assert recognise(method, host, path, orjson.dumps(body)) is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[1]",
        b'"text"',
        b'{"model": "m"}',
        b'{"messages": []}',
        b'{"model": 7, "messages": []}',
        b"\xff\xfe",
        b"--boundary\r\nContent-Disposition: form-data",
        orjson.dumps({"model": "x" * 300, "messages": []}),
    ],
)
def test_at_an_unknown_host_the_body_must_look_like_a_call_too(body: bytes | None) -> None:
    assert recognise("POST", "app.acme.dev", CHAT, body) is None


@pytest.mark.parametrize("body", [None, b"{", b"\xff\xfe", b"[" * 5_000, b"--boundary"])
def test_of_a_body_that_cannot_be_read_what_host_and_path_say_is_known(body: bytes | None) -> None:
    host, path = "acme.openai.azure.com", "/openai/deployments/gpt-5/chat/completions"
    request = recognise("POST", host, path, body)
    assert request is not None
    assert request == Request(
        "azure.ai.openai", host, "gpt-5", "chat", Shape.CHAT, False, None, (0, 0, 0, 0, 0), True
    )


def test_whom_the_user_names_is_known_even_where_the_body_is_not() -> None:
    hosts = Hosts({"llm.acme.dev": "mistral_ai", "*.models.lan": "vllm", "gpu:8000": "vllm"})
    found = {
        host: (request := recognise("POST", host, CHAT, None, hosts)) and request.provider
        for host in ("llm.acme.dev", "LLM.acme.dev:443", "a.models.lan:80", "gpu:8000", "gpu:1")
    }
    assert found == {
        "llm.acme.dev": "mistral_ai",
        "LLM.acme.dev:443": "mistral_ai",
        "a.models.lan:80": "vllm",
        "gpu:8000": "vllm",
        "gpu:1": None,
    }


@pytest.mark.parametrize(
    "gateways",
    [
        {"": "x"},
        {"https://a.dev": "x"},
        {"a b": "x"},
        {"a.dev": ""},
        {"é.dev": "x"},
        {"*": "openai"},
        {"*.": "openai"},
        {"*.*": "openai"},
        {"llm.*": "openai"},
    ],
)
def test_a_gateway_that_cannot_be_one_is_refused(gateways: dict[str, str]) -> None:
    for read in (Hosts, read_gateways):
        with pytest.raises(ConfigurationError, match=re.escape(repr(*gateways))):
            read(gateways)


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("evil-openai.azure.com.example.org", None),
        ("api.openai.com.example.org", None),
        ("notaiplatform.googleapis.com", None),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("[::1]:11434", None),
        ("x" * 10_000, None),
    ],
)
def test_a_host_is_known_by_all_of_its_name(host: str, provider: str | None) -> None:
    assert Hosts().provider(host) == provider


CLAUDE, GEMINI = "api.anthropic.com", "generativelanguage.googleapis.com"
GENERATE, CONVERSE = "/v1beta/models/g:generateContent", "/model/m/converse"
BEDROCK = "bedrock-runtime.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("host", "path", "body", "most"),
    [
        (OPENAI, CHAT, {}, None),
        (OPENAI, CHAT, {"max_tokens": 5}, 5),
        (OPENAI, CHAT, {"max_tokens": 5, "max_completion_tokens": 9, "n": 3}, 27),
        (OPENAI, CHAT, {"max_tokens": True}, None),
        (OPENAI, CHAT, {"max_tokens": -1}, None),
        (OPENAI, CHAT, {"max_tokens": "5"}, None),
        (OPENAI, CHAT, {"max_tokens": 10**19}, None),
        (OPENAI, CHAT, {"max_tokens": 5, "n": 0}, 5),
        (OPENAI, "/v1/completions", {"max_tokens": 5, "n": 2, "best_of": 4}, 20),
        (OPENAI, "/v1/completions", {"max_tokens": 5, "prompt": ["a", "b"], "n": 2}, 20),
        (OPENAI, "/v1/completions", {"max_tokens": 5, "prompt": [1, 2, 3]}, 5),
        (OPENAI, "/v1/responses", {"max_output_tokens": 5}, 5),
        (OPENAI, "/v1/embeddings", {"input": "x"}, 0),
        (CLAUDE, "/v1/messages", {"max_tokens": 5}, 5),
        (GEMINI, GENERATE, {"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 10),
        (GEMINI, GENERATE, {"generation_config": {"max_output_tokens": 5}}, 5),
        (GEMINI, GENERATE, {"generationConfig": 7}, None),
        (BEDROCK, CONVERSE, {"inferenceConfig": {"maxTokens": 5}}, 5),
        (BEDROCK, "/model/m/invoke", {"textGenerationConfig": {"maxTokenCount": 5}}, 5),
        (BEDROCK, "/model/m/invoke", {"max_gen_len": 5}, 5),
        ("localhost:11434", "/api/chat", {"options": {"num_predict": 5}}, 5),
        ("localhost:11434", "/api/chat", {"options": {"num_predict": -1}}, None),
        ("api.cohere.com", "/v2/chat", {"max_tokens": 5}, 5),
    ],
)
def test_the_most_that_an_answer_may_have(
    host: str, path: str, body: dict[str, Any], most: int | None
) -> None:
    request = asked(host, path, body)
    assert request is not None
    assert request.most_output == most
    assert request.estimate[1] == (most or 0)


@pytest.mark.parametrize(
    ("host", "body", "tells"),
    [
        (OPENAI, {}, True),
        (OPENAI, {"stream": True}, False),
        (OPENAI, {"stream": True, "stream_options": {"include_usage": True}}, True),
        (OPENAI, {"stream": True, "stream_options": {"include_usage": False}}, False),
        (OPENAI, {"stream": True, "stream_options": None}, False),
        ("api.mistral.ai", {"stream": True}, True),
    ],
)
def test_whether_the_stream_will_tell_its_usage(
    host: str, body: dict[str, Any], tells: bool
) -> None:
    request = asked(host, CHAT, body)
    assert request is not None
    assert request.tells_usage is tells


# The estimate -----------------------------------------------------------------------------------


def estimated(body: dict[str, Any], host: str = OPENAI, path: str = CHAT) -> int:
    request = asked(host, path, {"model": "m", **body})
    assert request is not None
    return request.estimate[0]


def saying(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_four_bytes_of_text_are_about_a_token() -> None:
    assert estimated(saying("word " * 800)) - estimated(saying("")) == 1_000
    assert estimated(saying("ü" * 4_000)) - estimated(saying("")) == 2_000
    assert estimated(saying("river " * 100_000)) == pytest.approx(150_000, abs=20)


def test_however_deep_it_lies_text_counts() -> None:
    content: Any = "word " * 800
    for _ in range(200):
        content = [{"": content}]
    body = b'{"model":"m","messages":%s}' % json.dumps(content).encode()
    request = recognise("POST", OPENAI, CHAT, body)
    assert request is not None
    assert request.estimate[0] == 1_000


def test_escapes_count_for_what_they_stand_for() -> None:
    plain = orjson.dumps({"model": "m", **saying("日本" * 500)})
    escaped = plain.decode().encode("ascii", "backslashreplace")
    read = [recognise("POST", OPENAI, CHAT, body) for body in (plain, escaped)]
    assert read[0] == read[1]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
        },
    }
]


@pytest.mark.parametrize(
    ("host", "path", "more"),
    [
        (OPENAI, CHAT, {"tools": TOOLS}),
        (OPENAI, CHAT, {"response_format": {"json_schema": TOOLS}}),
        (OPENAI, "/v1/responses", {"text": {"format": {"schema": TOOLS}}}),
        (CLAUDE, "/v1/messages", {"tools": TOOLS}),
        (GEMINI, GENERATE, {"generationConfig": {"responseSchema": TOOLS}}),
        (BEDROCK, CONVERSE, {"toolConfig": {"tools": TOOLS}}),
        ("localhost:11434", "/api/chat", {"format": TOOLS}),
    ],
)
def test_tools_and_schemas_are_read_too(host: str, path: str, more: dict[str, Any]) -> None:
    added = estimated(more, host, path) - estimated({}, host, path)
    assert added == pytest.approx(len(orjson.dumps(TOOLS)) / 4, abs=12)


PICTURE = "iVBORw0KGgo" * 20_000


@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        (OPENAI, CHAT, saying([{"type": "image_url", "image_url": {"url": "https://a.dev/x"}}])),
        (OPENAI, CHAT,
         saying([{"type": "image_url",
                  "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}])),
        (OPENAI, CHAT, saying([{"type": "input_audio", "input_audio": {"data": PICTURE}}])),
        (OPENAI, "/v1/responses",
         {"input": [{"role": "user",
                     "content": [{"type": "input_image", "image_url": "https://a.dev/x"}]}]}),
        (CLAUDE, "/v1/messages",
         saying([{"type": "image", "source": {"type": "base64", "data": PICTURE}}])),
        (CLAUDE, "/v1/messages",
         saying([{"type": "document", "source": {"type": "base64", "data": PICTURE}}])),
        (GEMINI, GENERATE, {"contents": [{"parts": [{"inlineData": {"data": PICTURE}}]}]}),
        (BEDROCK, CONVERSE, saying([{"image": {"source": {"bytes": PICTURE}}}])),
        ("localhost:11434", "/api/chat",
         {"messages": [{"role": "user", "content": "", "images": [PICTURE]}]}),
    ],
)  # fmt: skip
def test_a_picture_counts_the_same_whatever_its_length(
    host: str, path: str, body: dict[str, Any]
) -> None:
    assert estimated(body, host, path) == pytest.approx(MEDIA_TOKENS, abs=60)


def test_a_long_document_of_text_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "The river flows. " * 1_000}
    body = saying([{"type": "document", "source": source}])
    assert estimated(body, CLAUDE, "/v1/messages") == pytest.approx(4_250, abs=40)


def test_texts_to_embed_and_their_tokens_count() -> None:
    assert estimated({"input": ["x" * 400, "y" * 400]}, OPENAI, "/v1/embeddings") == 202
    assert estimated({"input": list(range(1000, 1100))}, OPENAI, "/v1/embeddings") == 126


# Large and hostile bodies -----------------------------------------------------------------------

BOOK = saying('She said "model": "x", {"stream": true}. ' * 40_000)["messages"]
SETTINGS = {"model": "gpt-5.1", "stream": True, "max_tokens": 5, "n": 2}
SCHEMA = [{"parameters": {"properties": {"model": {"type": "x"}, "stream": {"type": "y"}}}}]


@pytest.mark.parametrize(
    "body",
    [
        {**SETTINGS, "messages": BOOK},
        {"messages": BOOK, **SETTINGS},
        {"messages": BOOK, **SETTINGS, "tools": SCHEMA},
        {"tools": SCHEMA, **SETTINGS, "messages": BOOK},
    ],
    ids=["settings first", "settings last", "then tools", "tools first"],
)
def test_of_a_large_body_both_ends_are_read(body: dict[str, Any]) -> None:
    content = orjson.dumps(body)
    assert len(content) > MOST_PARSED
    request = recognise("POST", "vllm.lan", CHAT, content)
    assert request is not None
    assert (request.model, request.stream, request.most_output) == ("gpt-5.1", True, 10)
    assert not request.tells_usage
    assert request.estimate[0] == pytest.approx(len(content) / 4, abs=2)


def test_pictures_in_a_large_body_count_as_such() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + PICTURE}}] * 6
    content = orjson.dumps({"model": "m", **saying([*parts, {"type": "text", "text": "What?"}])})
    assert len(content) > MOST_PARSED
    request = recognise("POST", OPENAI, CHAT, content)
    assert request is not None
    assert request.estimate[0] == pytest.approx(6 * MEDIA_TOKENS, abs=200)


HOSTILE = {
    "deep lists": b"[" * 2_000_000,
    "deep objects": b'{"messages":' * 200_000,
    "quotes": b'"' * 2_000_000,
    "backslashes": b'{"model": "' + b"\\" * 2_000_000,
    "names": b'{"model":' * 200_000,
    "nul bytes": bytes(2_000_000),
    "base64 without end": b'{"messages": "' + b"A" * 2_000_000,
    "many short blobs": b'{"messages": [' + (b'"' + b"A" * 511 + b'",') * 4_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies_do_no_harm(content: bytes) -> None:
    assert recognise("POST", OPENAI, CHAT, content) is not None
    assert recognise("POST", OPENAI, CHAT, content[:1_000_000]) is not None


@given(
    host=st.sampled_from([OPENAI, CLAUDE, GEMINI, BEDROCK, "localhost:11434", "api.cohere.com"]),
    endpoint=st.sampled_from(ENDPOINTS),
    body=st.dictionaries(
        st.sampled_from(
            [
                "model",
                "messages",
                "stream",
                "stream_options",
                "max_tokens",
                "n",
                "generationConfig",
                "options",
                "prompt",
                "input",
                "tools",
                "system",
                "contents",
                "inferenceConfig",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 1 << 60) | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
        ),
    ),
)
def test_whatever_a_body_is_made_of_nothing_is_raised(
    host: str, endpoint: Any, body: dict[str, Any]
) -> None:
    path = f"/model/m{endpoint.within}{endpoint.ending}"
    request = asked(host, path, body)
    if request is not None:
        assert all(type(count) is int and count >= 0 for count in request.estimate)


@given(
    method=st.sampled_from(["POST", "post", ""]), host=st.text(), path=st.text(), body=st.binary()
)
def test_whatever_a_request_is_nothing_is_raised(
    method: str, host: str, path: str, body: bytes
) -> None:
    recognise(method, host, path, body)
    recognise(method, host, path + CHAT, body)


def test_nothing_that_is_said_is_kept() -> None:
    body = {"model": "m", **saying("s3cret"), "tools": [{"name": "s3cret"}], "user": "s3cret"}
    assert "s3cret" not in repr(asked(OPENAI, CHAT, body))
