"""aiohttp: what its sessions send is counted and refused there, and its bodies stay as they are."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import aiohttp
import pytest
from aiohttp import web

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    Program,
    assert_each_is_free,
    assert_equals_the_report,
    cancelled_once_it_is_sent,
    run,
)

ONCE = atm.Budget("1 request / month per user", name="once")
Session: TypeAlias = aiohttp.ClientSession
Reading: TypeAlias = Callable[[aiohttp.ClientResponse], Coroutine[Any, Any, bytes]]


def chat(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5.1", "messages": [{"role": "user", "content": text}], **more}


def streamed(text: str = "hi") -> dict[str, Any]:
    return chat(text, stream=True, stream_options={"include_usage": True})


def in_a_session(main: Callable[[Session], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def inside() -> None:
        async with aiohttp.ClientSession(**settings) as session:
            await main(session)

    run(inside())


async def text(response: aiohttp.ClientResponse) -> bytes:
    return (await response.text()).encode()


async def by_any(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk in response.content.iter_any()])


async def by_line(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([line async for line in response.content])


async def by_chunk(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk in response.content.iter_chunked(7)])


async def by_http_chunk(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk, _ in response.content.iter_chunks()])


READINGS: list[Reading] = [aiohttp.ClientResponse.read, text, by_any, by_line, by_chunk]
READINGS += [by_http_chunk]
#: What Python says of a connection that its owner has dropped.
unclosed = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
every_reading = pytest.mark.parametrize("reading", READINGS, ids=lambda one: one.__name__)


@pytest.fixture
def guarded(blank: Program) -> Program:
    return blank.meter(guards=True, joined=False)


@pytest.fixture
def url(server: ProviderServer) -> str:
    return f"{server.openai_url}/chat/completions"


@every_reading
@pytest.mark.parametrize("body", [chat("one"), streamed("one")], ids=["whole", "stream"])
def test_a_call_is_one_row_however_it_is_read(
    guarded: Program, server: ProviderServer, url: str, reading: Reading, body: dict[str, Any]
) -> None:
    async def main(session: Session) -> None:
        with atm.context(user="ann"):
            async with session.post(url, json=body) as response:
                await reading(response)
            async with session.post(url, data=json.dumps(body).encode()) as response:
                await reading(response)  # over the same connection

    in_a_session(main)
    rows = assert_equals_the_report(guarded, server)
    assert [(row["user_id"], row["attempts"], row["source"]) for row in rows] == [
        ("ann", 1, "guard")
    ] * 2
    assert all((row["ttft_us"] is not None) is body.get("stream", False) for row in rows)


def test_embeddings_too(guarded: Program, server: ProviderServer) -> None:
    async def main(session: Session) -> None:
        body = {"model": "text-embedding-3-small", "input": ["hi"] * 99}  # a long answer
        async with session.post("embeddings", json=body) as response:
            await response.json()

    in_a_session(main, base_url=f"{server.openai_url}/")
    assert_equals_the_report(guarded, server)


def test_what_is_over_budget_is_not_sent(blank: Program, server: ProviderServer, url: str) -> None:
    blank.meter(ONCE, guards=True, joined=False)

    async def main(session: Session) -> None:
        for user in ("ann", "bob"):
            with atm.context(user=user):
                async with session.post(url, json=chat()):
                    pass
                with pytest.raises(atm.TokenQuotaExceeded):
                    await session.post(url, json=chat())

    in_a_session(main)
    assert server.requests == 2
    assert [(row["user_id"], row["decision"]) for row in blank.rows()] == [
        ("ann", "allowed"),
        ("ann", "refused"),
        ("bob", "allowed"),
        ("bob", "refused"),
    ]


@every_reading
def test_its_bytes_are_the_same_as_without(blank: Program, reading: Reading) -> None:
    """A stream that was compressed, cut in the midst of its letters, of a server of our own."""
    words = [f"Rhône {n}" for n in range(99)]
    events = [json.dumps({"choices": [{"delta": {"content": word}}]}) for word in words]
    whole = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]")).encode()
    packed = gzip.compress(whole)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-encoding": "gzip"})
        await response.prepare(request)
        for start in range(0, len(packed), 5):
            await response.write(packed[start : start + 5])
        return response

    async def ask() -> bytes:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://{host}:{port}/v1/chat/completions", json=streamed()) as got,
            ):
                return await reading(got)
        finally:
            await runner.cleanup()

    before = asyncio.run(ask())
    blank.meter(guards=True, joined=False)
    assert asyncio.run(ask()) == before == whole
    row, said = blank.row(), len("".join(words).encode())
    assert (row["status"], row["estimated"], row["output_tokens"]) == ("ok", True, -(-said // 4))


def test_a_redirected_call_is_one_call(guarded: Program, server: ProviderServer, url: str) -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(url)

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", elsewhere)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://{host}:{port}/v1/chat/completions", json=chat()) as response,
            ):
                await response.json()
        finally:
            await runner.cleanup()

    run(main())
    assert_equals_the_report(guarded, server)


def slow_stream(session: Session, url: str, **more: Any) -> Any:
    return session.post(url, json=streamed(), **more)


def test_a_stream_that_is_left_early_is_charged_with_what_came(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    async def main(session: Session) -> None:
        async with slow_stream(session, url) as response:
            await response.content.readline()
            await response.content.readline()

    with server.faulty(chunk_delay_s=0.05):
        in_a_session(main)
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("cancelled", True)
    assert 0 < row["total_tokens"] < 1_000


@unclosed
def test_a_stream_that_is_dropped_is_charged_when_its_connection_goes(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    async def main(session: Session) -> None:
        response = await slow_stream(session, url)
        await response.content.readline()

    with server.faulty(chunk_delay_s=0.05):
        in_a_session(main)
    gc.collect()
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("cancelled", True)


@pytest.mark.parametrize("raises", [False, True])
def test_what_the_provider_refuses_is_free(
    guarded: Program, server: ProviderServer, url: str, raises: bool
) -> None:
    async def main(session: Session) -> None:
        if raises:
            with pytest.raises(aiohttp.ClientResponseError):
                await session.post(url, json=chat(), raise_for_status=True)
        else:
            async with session.post(url, json=chat()) as response:
                assert response.status == 429

    with server.faulty(status=429):
        in_a_session(main)
    (row,) = assert_each_is_free(guarded, 1)
    assert row["attributes"]["error.type"] == "429"


def test_a_connection_that_is_refused_is_free(guarded: Program, closed_url: str) -> None:
    async def main(session: Session) -> None:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(f"{closed_url}/v1/chat/completions", json=chat())

    in_a_session(main)
    assert_each_is_free(guarded, 1)


SLOW = [
    ({"delay_s": 30}, aiohttp.ClientTimeout(total=0.2), "TimeoutError"),
    ({"delay_s": 30}, aiohttp.ClientTimeout(sock_read=0.2), "SocketTimeoutError"),
    ({"chunk_delay_s": 30}, aiohttp.ClientTimeout(total=0.2), "TimeoutError"),
    ({"chunk_delay_s": 30}, aiohttp.ClientTimeout(sock_read=0.2), "SocketTimeoutError"),
]


@pytest.mark.parametrize(("faults", "timeout", "named"), SLOW)
def test_a_time_out_is_charged_at_the_estimate(
    guarded: Program,
    server: ProviderServer,
    url: str,
    faults: dict[str, Any],
    timeout: aiohttp.ClientTimeout,
    named: str,
) -> None:
    async def main(session: Session) -> None:
        with pytest.raises(TimeoutError):
            async with slow_stream(session, url, timeout=timeout) as response:
                await response.read()

    with server.faulty(**faults):
        in_a_session(main)
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("error", True)
    assert row["attributes"]["error.type"] == named
    assert guarded.charged() == (row["total_tokens"], 0)


def test_a_connection_that_breaks_is_charged_with_what_came(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    async def main(session: Session) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with slow_stream(session, url) as response:
                await response.read()

    with server.faulty(drop_stream_after=2):
        in_a_session(main)
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("error", True)


def test_a_cancelled_call_is_charged_at_the_estimate(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    async def main(session: Session) -> None:
        await cancelled_once_it_is_sent(session._request("POST", url, json=chat()), server)

    with server.faulty(delay_s=30):
        in_a_session(main)
    row = guarded.row()
    assert (row["status"], row["estimated"], row["attempts"]) == ("cancelled", True, 1)


def test_a_closed_session_has_sent_nothing(guarded: Program, url: str) -> None:
    async def main(session: Session) -> None:
        await session.close()
        with pytest.raises(RuntimeError):
            await session.post(url, json=chat())

    in_a_session(main)
    assert not guarded.path.exists()


def test_what_the_session_says_of_its_arguments_stays(guarded: Program, url: str) -> None:
    async def main(session: Session) -> None:
        with pytest.raises(TypeError):
            await session.post(url, json={"model": "m", "messages": [object()]})
        with pytest.raises(ValueError, match="same time"):
            await session.post(url, json=chat(), data=b"{}")
        with pytest.raises(aiohttp.InvalidURL):
            await session.post("http://[/v1/chat/completions", json=chat())

    in_a_session(main)


def test_what_asks_no_model_passes_untouched(guarded: Program, server: ProviderServer) -> None:
    async def main(session: Session) -> None:
        for path in ("models", "files"):
            target = f"{server.openai_url}/{path}"
            async with session.post(target, json={"purpose": "x"}), session.get(target):
                pass

    in_a_session(main)
    assert not guarded.path.exists()


def test_50_calls_at_once_of_two_users_are_50_rows(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    async def main(session: Session) -> None:
        async def call(user: str, body: dict[str, Any]) -> None:
            with atm.context(user=user):
                async with session.post(url, json=body) as response:
                    await response.read()

        bodies = [streamed("ann") if n % 2 else chat("bob") for n in range(50)]
        await asyncio.gather(*[call("ann" if n % 2 else "bob", bodies[n]) for n in range(50)])

    in_a_session(main)
    assert len(guarded.rows("user_id = 'ann'")) == 25
    assert len(assert_equals_the_report(guarded, server, ordered=False)) == 50


def test_what_httpx_sends_through_aiohttp_is_one_call(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    """As LiteLLM does, and OpenAI's client on request."""
    import httpx

    class Through(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async with aiohttp.ClientSession() as session:
                sent = session.post(str(request.url), data=await request.aread())
                async with sent as response:
                    return httpx.Response(response.status, content=await response.read())

    async def main() -> None:
        async with httpx.AsyncClient(transport=Through()) as client:
            await client.post(url, json=chat())

    run(main())
    (row,) = assert_equals_the_report(guarded, server)
    assert row["attempts"] == 1


def test_what_a_server_in_this_process_asks_is_a_call_of_its_own(
    guarded: Program, server: ProviderServer, url: str
) -> None:
    import httpx

    class Gateway(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async with aiohttp.ClientSession() as session:
                async with session.post(url, json=chat("is this allowed?")) as checked:
                    await checked.read()
                async with session.post(url, data=await request.aread()) as response:
                    return httpx.Response(response.status, content=await response.read())

    async def main() -> None:
        async with httpx.AsyncClient(transport=Gateway()) as client:
            await client.post(url, json=chat())

    run(main())
    assert len(assert_equals_the_report(guarded, server, ordered=False)) == 2


def test_sessions_are_left_as_they_were(blank: Program) -> None:
    before = aiohttp.ClientSession.__dict__["_request"]
    blank.meter(guards=True, joined=False)
    assert aiohttp.ClientSession.__dict__["_request"] is not before
    assert blank.processor is not None
    blank.processor.retire()
    assert aiohttp.ClientSession.__dict__["_request"] is before


def test_a_bug_of_ours_never_reaches_the_application(
    blank: Program, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    async def main(session: Session) -> None:
        async with session.post(url, json=chat()) as response:
            assert (await response.json())["choices"]

    blank.meter(guards=True, joined=False)
    blank.trouble = ["guard failed"]
    for step in ("watch", "_body", "find_endpoint"):
        with monkeypatch.context() as patched:
            patched.setattr(f"otel_atm.guards.aiohttp_net.{step}", broken)
            in_a_session(main)
    assert [row["estimated"] for row in blank.rows()] == [True]
    assert blank.charged()[1] == 0
