"""`include_usage`: chat streams tell their usage, and their clients see nothing of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import httpx2
import openai
import pytest

import otel_atm as atm
from otel_atm.guards import include_usage
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import Program, assert_equals_the_report, run

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@pytest.fixture
def asking(blank: Program) -> Program:
    return blank.meter(guards=True, include_usage=True, joined=False)


@pytest.fixture
def client(server: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=2) as client:
        yield client


def stream(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(model="gpt-5.1", messages=HELLO, stream=True, **more)


def test_a_stream_is_counted_exactly_and_its_client_sees_no_more_chunks(
    blank: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    def choices() -> list[Any]:
        return [[each.to_dict() for each in chunk.choices] for chunk in stream(client)]

    before = choices()
    server.reset()
    blank.meter(guards=True, include_usage=True, joined=False)
    assert choices() == before
    assert_equals_the_report(blank, server)


def test_under_an_instrumentation_it_is_one_row_too(
    blank: Program, server: ProviderServer, oai: openai.OpenAI
) -> None:
    blank.meter(guards=True, include_usage=True)
    list(stream(oai))
    assert_equals_the_report(blank, server)


def test_without_it_the_same_stream_is_estimated(
    blank: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    blank.meter(guards=True, joined=False)
    list(stream(client))
    assert blank.row()["estimated"] is True
    assert [line.told for line in server.reported] == [False]


def test_an_async_stream_too(asking: Program, server: ProviderServer) -> None:
    async def main() -> None:
        settings: Any = {"base_url": server.openai_url, "api_key": "k", "max_retries": 0}
        async with openai.AsyncOpenAI(**settings) as client:
            chunks = [chunk async for chunk in await stream(client)]
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)

    run(main())
    assert_equals_the_report(asking, server)


def test_the_call_of_a_tool_comes_as_it_is(
    asking: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    with (
        server.faulty(tool_rounds=1),
        client.chat.completions.stream(model="gpt-5.1", messages=HELLO, tools=[TOOL]) as events,  # type: ignore[arg-type, list-item]
    ):
        for _ in events:
            pass
        final = events.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert call.function.name == "weather"
    assert final.usage is None
    assert_equals_the_report(asking, server)


def test_who_asks_sees_the_usage(
    asking: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    *_, last = stream(client, stream_options={"include_usage": True})
    assert last.usage.total_tokens == server.total_told().input + server.total_told().output
    assert_equals_the_report(asking, server)


def test_retries_are_attempts_that_ask(
    asking: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    with server.faulty(status=[500, 429], retry_after_s=0):
        list(stream(client))
    row = asking.row()
    assert (row["attempts"], row["status"], row["estimated"]) == (3, "ok", False)
    assert server.requests == 3


def test_what_is_over_budget_is_not_sent(
    blank: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    blank.meter(atm.Budget("1 request / month"), guards=True, include_usage=True, joined=False)
    list(stream(client))
    with pytest.raises(atm.TokenQuotaExceeded):
        stream(client)
    assert server.requests == 1


def test_only_chat_streams_are_asked(
    asking: Program, server: ProviderServer, client: openai.OpenAI
) -> None:
    client.chat.completions.create(model="gpt-5.1", messages=HELLO)  # type: ignore[arg-type]
    client.embeddings.create(model="text-embedding-3-small", input="hi")
    for _ in client.responses.create(model="gpt-5.1", input="hi", stream=True):
        pass
    assert_equals_the_report(asking, server)


# The transports --------------------------------------------------------------------------------


BODY = {"model": "gpt-5.1", "messages": HELLO, "stream": True}


def asked_for(library: Any, url: str) -> bytes:
    """A stream whose client asks for its usage by itself, without the chunk that tells it."""
    body = include_usage(json.dumps(BODY).encode())
    answer: bytes = library.post(url, content=body).content
    *events, last, done, end = answer.split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["choices"] == []
    return b"\n\n".join([*events, done, end])


@libraries
@pytest.mark.parametrize("size", [None, 1, 7, 100_000])
def test_the_bytes_that_pass_are_those_of_the_provider(
    blank: Program, server: ProviderServer, library: Any, size: int | None
) -> None:
    url = f"{server.openai_url}/chat/completions"
    wanted = _without_ids(asked_for(library, url))
    blank.meter(guards=True, include_usage=True, joined=False)
    server.reset()
    with library.Client() as client, client.stream("POST", url, json=BODY) as response:
        pieces = list(response.iter_bytes(size))
    assert _without_ids(b"".join(pieces)) == wanted
    if size is not None:
        assert {len(piece) for piece in pieces[:-1]} <= {size}
    assert_equals_the_report(blank, server)


@libraries
def test_a_stream_that_is_read_at_once_passes_without_the_usage_too(
    asking: Program, server: ProviderServer, library: Any
) -> None:
    answer = library.post(f"{server.openai_url}/chat/completions", json=BODY)
    assert b'"choices":[]' not in answer.content.replace(b" ", b"")
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert_equals_the_report(asking, server)


@libraries
def test_the_request_stays_its_owners(
    asking: Program, server: ProviderServer, library: Any
) -> None:
    with library.Client() as client:
        request = client.build_request(
            "POST", f"{server.openai_url}/chat/completions", json=BODY, headers={"x-mine": "1"}
        )
        content, headers = request.content, request.headers.copy()
        for _ in range(2):  # it may be sent again, and is asked for again
            response = client.send(request, stream=True)
            assert response.request is request
            assert b'"usage":{' not in response.read().replace(b" ", b"")
    assert (request.content, request.headers) == (content, headers)
    assert len(assert_equals_the_report(asking, server)) == 2


@libraries
def test_raw_bytes_pass_as_they_are(asking: Program, server: ProviderServer, library: Any) -> None:
    """They may be compressed; whoever reads them sees the chunk that was asked for."""
    url = f"{server.openai_url}/chat/completions"
    with library.Client() as client, client.stream("POST", url, json=BODY) as response:
        raw = b"".join(response.iter_raw())
    assert b'"choices":[]' in raw.replace(b" ", b"")
    assert asking.row()["estimated"] is True


# Servers that do not know it ------------------------------------------------------------------


class Old(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that knows no `stream_options`."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server: Any = self.server
        server.asked.append("stream_options" in body)
        if "stream_options" in body or not body["messages"]:
            return self._answer(server.status, b'{"error": {"message": "bad request"}}', "json")
        chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
        events = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()
        return self._answer(200, events, "event-stream")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", f"text/{kind}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def old_server(status: int = 400) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    server.asked, server.status = [], status
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_does_not_know_it_gets_the_clients_own_request(
    asking: Program, status: int
) -> None:
    with (
        old_server(status) as server,
        openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
    ):
        for _ in range(2):
            (chunk,) = stream(client)
            assert chunk.choices[0].delta.content == "hi"
    assert server.asked == [True, False, False]  # it is not asked again
    assert [(row["attempts"], row["status"], row["estimated"]) for row in asking.rows()] == [
        (2, "ok", True),
        (1, "ok", True),
    ]


def test_async_too(asking: Program) -> None:
    async def main(url: str) -> None:
        settings: Any = {"base_url": url, "api_key": "k", "max_retries": 0}
        async with openai.AsyncOpenAI(**settings) as client:
            (chunk,) = [chunk async for chunk in await stream(client)]
            assert chunk.choices[0].delta.content == "hi"

    with old_server() as server:
        run(main(server.url))
    assert server.asked == [True, False]


def test_a_request_that_is_wrong_by_itself_fails_as_it_would_and_says_nothing_of_the_server(
    asking: Program,
) -> None:
    with (
        old_server() as server,
        openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
    ):
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="bad request"):
                client.chat.completions.create(model="m", messages=[], stream=True)
    assert server.asked == [True, False] * 2
    assert [(row["attempts"], row["total_tokens"]) for row in asking.rows()] == [(2, 0)] * 2


def test_a_bug_of_ours_never_reaches_the_application(
    asking: Program,
    server: ProviderServer,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("otel_atm.guards.asking.include_usage", broken)
    asking.trouble = ["include_usage failed"]
    assert list(stream(client))
    assert asking.row()["estimated"] is True


def test_it_needs_guards() -> None:
    with pytest.raises(atm.ConfigurationError, match="needs guards=True"):
        atm.TokenSpanProcessor(include_usage=True, guards=False)


def _without_ids(stream: bytes) -> bytes:
    """What is the same in two answers to one question."""
    lines = []
    for line in stream.splitlines(keepends=True):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            line = json.dumps(event | {"id": "", "created": 0}).encode()
        lines.append(line)
    return b"\n".join(lines)
