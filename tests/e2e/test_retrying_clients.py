"""Clients of Cohere, Google and Mistral that try again: what they send for a call is one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import cohere
import httpx
import mistralai.azure.client.basesdk
import mistralai.client.basesdk
import mistralai.gcp.client.basesdk
import pytest
import wrapt
from cohere.core import http_client
from cohere.core.http_client import AsyncHttpClient, HttpClient
from google import genai
from google.genai import _api_client, types
from google.genai._api_client import BaseApiClient
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    NOTHING,
    PLENTY,
    Program,
    Row,
    run,
    tokens,
    told,
)
from tests.e2e.test_more_clients import ONCE, WAYS

#: Attempts of a client that gives up; Mistral's tries for as long as it may.
MOST = 3
#: Advice that Cohere's client takes: it waits a second where it is told to wait for nothing.
SOON_S = 0.001

_NOW = types.HttpRetryOptions(attempts=MOST, initial_delay=0, max_delay=0, jitter=0)
_LONG = RetryConfig("backoff", BackoffStrategy(0, 0, 1.0, 60_000, 0), True)

Ask = Callable[[str], None]


def google(url: str, *transport: httpx.AsyncClient, retry: Any = _NOW) -> genai.Client:
    """One whose async half sends with aiohttp, unless with a transport."""
    settings: dict[str, Any] = {"base_url": url, "retry_options": retry}
    if transport:
        settings["httpx_async_client"] = transport[0]
    return genai.Client(api_key="k", http_options=types.HttpOptions(**settings))


@contextmanager
def client_of(kind: str, urls: ProviderServer) -> Iterator[Any]:
    """One that tries again at once."""
    if kind == "google":
        with google(urls.gemini_url) as made:
            yield made
    elif kind == "mistral":
        with Mistral(api_key="k", server_url=urls.mistral_url, retry_config=_LONG) as mistral:
            yield mistral
    else:
        made_of = cohere.ClientV2 if kind == "cohere" else cohere.Client
        with httpx.Client() as transport:
            yield made_of("k", base_url=urls.cohere_url, httpx_client=transport)


@asynccontextmanager
async def async_client_of(kind: str, urls: ProviderServer) -> AsyncIterator[Any]:
    """The same for those who wait."""
    if kind == "google":
        async with google(urls.gemini_url).aio as made:
            yield made
    elif kind == "google over httpx":
        async with httpx.AsyncClient() as transport, google(urls.gemini_url, transport).aio as made:
            yield made
    elif kind == "mistral":
        async with Mistral(api_key="k", server_url=urls.mistral_url, retry_config=_LONG) as mistral:
            yield mistral
    else:
        made_of = cohere.AsyncClientV2 if kind == "cohere" else cohere.AsyncClient
        async with httpx.AsyncClient() as transport:
            yield made_of("k", base_url=urls.cohere_url, httpx_client=transport)


def asking(side: str, kind: str, way: str, urls: Any) -> Ask:
    """Asks a text of a new client, in a way of its."""
    ways = WAYS[kind.partition(" ")[0]][way]

    def ask(text: str) -> None:
        with client_of(kind, urls) as client:
            ways.call(client, text)

    async def main(text: str) -> None:
        async with async_client_of(kind, urls) as client:
            await ways.acall(client, text)

    return ask if side == "sync" else lambda text: run(main(text))


SIDES = [
    ("sync", "cohere"),
    ("sync", "cohere1"),
    ("sync", "google"),
    ("sync", "mistral"),
    ("async", "cohere"),
    ("async", "cohere1"),
    ("async", "google"),
    ("async", "google over httpx"),
    ("async", "mistral"),
]


def is_stream(way: str) -> bool:
    return way == "stream"


CASES = [(*side, way) for side in SIDES for way in WAYS[side[1].partition(" ")[0]]]
#: Cohere's client sends a stream once.
TRIED_AGAIN = [case for case in CASES if not ("cohere" in case[1] and is_stream(case[2]))]
STREAMS = [case for case in TRIED_AGAIN if is_stream(case[2])]
tried_again = pytest.mark.parametrize(("side", "kind", "way"), TRIED_AGAIN)


@pytest.fixture
def ask(server: ProviderServer, side: str, kind: str, way: str) -> Ask:
    return asking(side, kind, way, server)


@pytest.fixture
def guarded(blank: Program) -> Program:
    return blank.meter(PLENTY, guards=True, joined=False)


def answered(program: Program, server: ProviderServer) -> list[Row]:
    """The rows: as many as answers told what was used, and each says the same."""
    rows, lines = program.rows(), [line for line in server.reported if line.told]
    found = [(row["model"], row["status"], row["estimated"], tokens(row)) for row in rows]
    assert found == [(line.model, "ok", False, told(line)) for line in lines]
    assert program.charged() == (sum(row["total_tokens"] for row in rows), 0)
    return rows


@tried_again
def test_a_failure_and_an_answer_are_one_call(
    guarded: Program, server: ProviderServer, ask: Ask
) -> None:
    with atm.context(user="ann"), server.faulty(status=[429], retry_after_s=SOON_S):
        ask("one")
    (row,) = answered(guarded, server)
    assert (row["user_id"], row["attempts"], server.requests) == ("ann", 2, 2)


@tried_again
def test_failures_alone_are_one_call_that_cost_nothing(
    guarded: Program, server: ProviderServer, ask: Ask
) -> None:
    failing = server.faulty(status=[503, 429, 400], retry_after_s=SOON_S)
    with failing, pytest.raises(Exception, match=r"400|invalid"):
        ask("one")
    row = guarded.row()
    assert (row["status"], row["attempts"], server.requests) == ("error", 3, 3)
    assert (row["attributes"]["error.type"], tokens(row)) == ("400", NOTHING)
    assert guarded.charged() == (0, 0)


@pytest.mark.parametrize(
    ("side", "kind", "way"), [case for case in TRIED_AGAIN if case[1] != "mistral"]
)
def test_a_client_that_gives_up_has_made_one_call(
    guarded: Program, server: ProviderServer, ask: Ask
) -> None:
    failing = server.faulty(status=429, retry_after_s=SOON_S)
    with failing, pytest.raises(Exception, match="429"):
        ask("one")
    row = guarded.row()
    assert (row["status"], row["attempts"], row["total_tokens"]) == ("error", MOST, 0)
    assert server.requests == MOST


@pytest.mark.parametrize(("side", "kind", "way"), CASES)
def test_a_refusal_comes_as_it_is_and_nothing_is_sent(
    blank: Program, server: ProviderServer, ask: Ask
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    ask("one")
    with pytest.raises(atm.TokenQuotaExceeded) as refusal:
        ask("two")
    assert (type(refusal.value), refusal.value.budget) == (atm.TokenQuotaExceeded, "once")
    assert server.requests == 1
    assert [(row["decision"], row["attempts"], row["calls"]) for row in blank.rows()] == [
        ("allowed", 1, 1),
        ("refused", 0, 1),
    ]


@pytest.mark.parametrize(("side", "kind", "way"), STREAMS)
def test_a_stream_that_breaks_off_after_a_failure_is_charged_with_what_came(
    guarded: Program, server: ProviderServer, ask: Ask
) -> None:
    breaking = server.faulty(status=[429], retry_after_s=SOON_S, drop_stream_after=2)
    with breaking, pytest.raises(Exception, match=r"incomplete|closed|not completed"):
        ask("one")
    row = guarded.row()
    assert (row["status"], row["estimated"], row["attempts"]) == ("error", True, 2)
    assert row["total_tokens"] > 0


@pytest.mark.parametrize("side", ["sync", "async"])
def test_a_stream_of_coheres_is_sent_once(
    guarded: Program, server: ProviderServer, side: str
) -> None:
    ask = asking(side, "cohere", "stream", server)
    with server.faulty(status=[429]), pytest.raises(cohere.errors.TooManyRequestsError):
        ask("one")
    ask("two")
    assert [(row["status"], row["attempts"]) for row in guarded.rows()] == [("error", 1), ("ok", 1)]


@pytest.mark.parametrize(("side", "kind"), [side for side in SIDES if side[1] != "mistral"])
def test_connections_that_fail_are_attempts_of_one_call(
    guarded: Program,
    closed_url: str,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    kind: str,
) -> None:
    monkeypatch.setattr(http_client, "INITIAL_RETRY_DELAY_SECONDS", 0)
    nowhere = SimpleNamespace(gemini_url=closed_url, cohere_url=closed_url)
    with pytest.raises(Exception, match=r"[Cc]onnect"):
        asking(side, kind, "chat", nowhere)("one")
    row = guarded.row()
    assert (row["status"], row["attempts"], tokens(row)) == ("error", MOST, NOTHING)


def test_what_google_sends_again_over_aiohttp_unasked_is_one_call(
    guarded: Program, closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_api_client, "random", SimpleNamespace(randint=lambda *_: -1))

    async def main() -> None:
        async with google(closed_url, retry=None).aio as client:
            await WAYS["google"]["chat"].acall(client, "one")

    with pytest.raises(Exception, match="connect"):
        run(main())
    row = guarded.row()
    assert (row["status"], row["attempts"], tokens(row)) == ("error", 2, NOTHING)


def test_what_is_asked_again_though_it_was_answered_is_a_call_of_its_own(
    guarded: Program, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter((0, 1, 2))
    clock = SimpleNamespace(time=lambda: next(seconds), sleep=lambda _: None)
    monkeypatch.setattr("mistralai.client.utils.retries.time", clock)
    again = RetryConfig("backoff", BackoffStrategy(0, 0, 1.0, 1_500), False, ["200"])
    settings: Any = {"server_url": server.mistral_url, "retry_config": again}
    with Mistral(api_key="k", **settings) as client:
        WAYS["mistral"]["chat"].call(client, "one")
    assert [row["attempts"] for row in answered(guarded, server)] == [1, 1]
    assert server.requests == 2


def test_two_calls_of_one_client_are_two_rows(guarded: Program, server: ProviderServer) -> None:
    with client_of("cohere", server) as client:
        for text in ("one", "two"):
            with server.faulty(status=[429], retry_after_s=SOON_S):
                WAYS["cohere"]["chat"].call(client, text)
    rows = answered(guarded, server)
    assert [row["attempts"] for row in rows] == [2, 2]


def test_a_span_around_a_call_that_is_tried_again_is_of_the_same_call(
    blank: Program, server: ProviderServer
) -> None:
    blank.meter(PLENTY, guards=True)
    with chat_span(blank), server.faulty(status=[429], retry_after_s=SOON_S):
        asking("sync", "cohere", "chat", server)("one")
    (row,) = answered(blank, server)
    assert (row["source"], row["attempts"]) == ("span", 2)


def test_what_a_span_tells_of_a_request_that_no_guard_knows_still_counts(
    blank: Program, server: ProviderServer
) -> None:
    blank.meter(PLENTY, guards=True)
    with chat_span(blank) as span, client_of("cohere", server) as client:
        with pytest.raises(cohere.errors.NotFoundError):
            client.rerank(model="rerank-v4", query="one", documents=["two"])
        span.set_attributes({"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7})
    assert tokens(blank.row())[:2] == (11, 7)


def chat_span(program: Program) -> AbstractContextManager[Any]:
    """A span of a call, around a block."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "command-a-03-2025"}
    return program.provider.get_tracer("ours").start_as_current_span("chat", attributes=attributes)


SEAMS: list[tuple[type, str]] = [
    (HttpClient, "request"),
    (AsyncHttpClient, "request"),
    (BaseApiClient, "_request"),
    (BaseApiClient, "_async_request"),
    *[
        (module.BaseSDK, name)
        for module in (
            mistralai.client.basesdk,
            mistralai.azure.client.basesdk,
            mistralai.gcp.client.basesdk,
        )
        for name in ("do_request", "do_request_async")
    ],
]


def test_guards_that_go_leave_the_clients_as_they_were(blank: Program) -> None:
    before = [owner.__dict__[name] for owner, name in SEAMS]
    blank.meter(guards=True, joined=False)
    standing = [owner.__dict__[name] for owner, name in SEAMS]
    assert not any(one is other for one, other in zip(standing, before, strict=True))
    assert blank.processor is not None
    blank.processor.retire()
    after = [owner.__dict__[name] for owner, name in SEAMS]
    assert all(one is other for one, other in zip(after, before, strict=True))


@pytest.mark.parametrize("side", ["sync", "async"])
@pytest.mark.parametrize("kind", ["cohere", "google", "mistral"])
def test_what_somebody_wrapped_before_goes_on(
    blank: Program,
    server: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    kind: str,
) -> None:
    seen: list[str] = []

    def see(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        seen.append(kind)
        return wrapped(*args, **kwargs)

    for owner, name in SEAMS:
        monkeypatch.setattr(owner, name, wrapt.FunctionWrapper(owner.__dict__[name], see))
    blank.meter(PLENTY, guards=True, joined=False)
    ask = asking(side, kind, "chat", server)
    with server.faulty(status=[429], retry_after_s=SOON_S):
        ask("one")
    assert set(seen) == {kind}
    (row,) = answered(blank, server)
    assert row["attempts"] == 2
    assert blank.processor is not None
    blank.processor.retire()
    seen.clear()
    ask("two")
    assert seen == [kind]


@pytest.mark.parametrize("steps", [("land", "crash"), ("status",)], ids=str)
@pytest.mark.parametrize(("side", "kind"), SIDES)
def test_a_bug_of_ours_never_reaches_the_application(
    blank: Program,
    server: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    kind: str,
    steps: tuple[str, ...],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    blank.meter(guards=True, joined=False)
    for step in steps:
        monkeypatch.setattr(f"otel_atm.guards.flight.Flight.{step}", broken)
    ask = asking(side, kind, "chat", server)
    with server.faulty(status=[429], retry_after_s=SOON_S):
        ask("one")
    with server.faulty(status=400), pytest.raises(Exception, match=r"400|invalid"):
        ask("two")
    blank.trouble = ["guard failed"]
    assert server.requests == 3


def test_a_client_of_another_kind_of_version_is_left_alone_and_said(
    blank: Program, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "HttpClient", type("HttpClient", (), {}))
    blank.trouble = [
        "guard_install failed",
        "cohere.core.http_client cannot be guarded in this version",
    ]
    blank.meter(PLENTY, guards=True, joined=False)
    asking("sync", "cohere", "chat", server)("one")
    answered(blank, server)
