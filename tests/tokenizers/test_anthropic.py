"""Anthropic's own count: only where it was asked for, and never in the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import pytest

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers import AnthropicCount, TokenCount, Tokenizers
from otel_atm.trouble import Trouble

MODEL = "claude-opus-4-7"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "system": "Be brief", "stream": True}


class Endpoint(ThreadingHTTPServer):
    """Answers every count with 108 tokens, or with a status; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = 200
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        answer = json.dumps({"input_tokens": 108}).encode()
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tokenizers(endpoint: Endpoint) -> Iterator[Tokenizers]:
    with anthropic.Anthropic(base_url=endpoint.url, api_key="none") as client:
        made = Tokenizers(Trouble())
        made.register(AnthropicCount(client), models="claude-*")
        yield made


def test_a_text_is_counted_without_what_a_message_adds(
    tokenizers: Tokenizers, endpoint: Endpoint
) -> None:
    count = tokenizers.count("Hello", MODEL)
    assert count == TokenCount(101, True, "anthropic:count_tokens", 104)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    assert endpoint.asked == [("/v1/messages/count_tokens", asked)]


def test_a_request_is_counted_whole_by_what_the_endpoint_takes(
    tokenizers: Tokenizers, endpoint: Endpoint
) -> None:
    count = tokenizers.count_request({**HELLO, "model": MODEL}, "anthropic.messages")
    assert count == TokenCount(108, True, "anthropic:count_tokens", 111)
    (_, asked) = endpoint.asked[0]
    assert asked == {"model": MODEL, "messages": HELLO["messages"], "system": "Be brief"}


@pytest.mark.parametrize("status", [429, 500, 401])
def test_without_an_answer_it_is_estimated_at_once(
    status: int, tokenizers: Tokenizers, endpoint: Endpoint
) -> None:
    endpoint.status = status
    assert tokenizers.count("Hello", MODEL).method == "bytes"
    assert len(endpoint.asked) == 1  # no retries


def test_other_models_shapes_and_empty_texts_are_not_asked_for(
    tokenizers: Tokenizers, endpoint: Endpoint
) -> None:
    assert tokenizers.count("Hello", "gpt-5").method == "bytes"
    assert tokenizers.count(" ", MODEL).method == "bytes"
    chat = tokenizers.count_request({**HELLO, "model": "gpt-5"}, "openai.chat")
    assert chat.method == "bytes+openai.chat"
    assert endpoint.asked == []


def test_without_a_server_it_is_estimated(endpoint: Endpoint) -> None:
    with anthropic.Anthropic(base_url="http://127.0.0.1:9", api_key="none") as client:
        tokenizers = Tokenizers(trouble := Trouble())
        tokenizers.register(AnthropicCount(client))
        assert tokenizers.count("Hello", MODEL).method == "bytes"
    assert trouble.counts == {"tokenizer": 1}


def test_a_client_that_must_be_awaited_is_an_error() -> None:
    client = anthropic.AsyncAnthropic(api_key="none")
    with pytest.raises(ConfigurationError) as raised:
        AnthropicCount(client)
    assert str(raised.value) == "client=AsyncAnthropic: expected an anthropic.Anthropic"
