"""lm15, of which DSPy has a copy: what its transports send is counted and refused there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import lm15
import pytest
from lm15.transports import StdlibAsyncTransport, StdlibTransport, TransportRequest

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    PLENTY,
    Program,
    assert_each_is_free,
    assert_equals_the_report,
    cancelled_once_it_is_sent,
    run,
)

ONCE = atm.Budget("1 request / month per user", name="once")
Ask: TypeAlias = Callable[[str], None]


def said(text: str) -> lm15.Request:
    return lm15.Request(model="gpt-5.1", messages=(lm15.Message.user(text),))


@pytest.fixture(params=["chat", "responses"])
def settings(request: pytest.FixtureRequest, server: ProviderServer) -> tuple[str, dict[str, Any]]:
    kind = {"chat": "OpenAIChatLM", "responses": "OpenAILM"}[request.param]
    return kind, {"api_key": "k", "base_url": server.openai_url}


@pytest.fixture
def model(settings: tuple[str, dict[str, Any]]) -> Iterator[Any]:
    kind, given = settings
    with StdlibTransport() as transport:
        yield getattr(lm15, kind)(**given, transport=transport)


@pytest.fixture(params=["complete", "stream"])
def ask(request: pytest.FixtureRequest, model: Any) -> Ask:
    if request.param == "complete":
        return lambda text: model.complete(said(text)) and None
    return lambda text: list(model.stream(said(text))) and None


@pytest.fixture(params=["complete", "stream"])
def ask_async(request: pytest.FixtureRequest, settings: tuple[str, dict[str, Any]]) -> Ask:
    kind, given = settings

    async def main(text: str) -> None:
        async with StdlibAsyncTransport() as transport:
            model = getattr(lm15, f"Async{kind}")(**given, transport=transport)
            if request.param == "complete":
                await model.complete(said(text))
            else:
                async for _ in model.stream(said(text)):
                    pass

    return lambda text: asyncio.run(main(text))


def assert_that_it_is_counted_and_stopped(
    program: Program, server: ProviderServer, ask: Ask
) -> None:
    program.meter(PLENTY, guards=True, joined=False)
    with atm.context(user="ann"):
        for text in ("one", "and another one"):
            ask(text)
    rows = assert_equals_the_report(program, server)
    assert [(row["user_id"], row["attempts"], row["source"]) for row in rows] == [
        ("ann", 1, "guard")
    ] * 2
    assert program.processor is not None
    program.processor.set_budgets([ONCE])
    with atm.context(user="bob"):
        ask("one")
        with pytest.raises(atm.TokenQuotaExceeded):
            ask("two")
    assert server.requests == 3


def test_each_call_is_one_row_and_none_is_sent_over_budget(
    blank: Program, server: ProviderServer, ask: Ask
) -> None:
    assert_that_it_is_counted_and_stopped(blank, server, ask)


def test_async_models_too(blank: Program, server: ProviderServer, ask_async: Ask) -> None:
    assert_that_it_is_counted_and_stopped(blank, server, ask_async)


def test_an_error_is_free(blank: Program, server: ProviderServer, ask: Ask) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with server.faulty(status=400), pytest.raises(lm15.ProviderError):
        ask("one")
    assert assert_each_is_free(blank, 1)[0]["attributes"]["error.type"] == "400"


def test_what_was_never_sent_is_free(blank: Program, closed_url: str) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    model = lm15.OpenAIChatLM(api_key="k", base_url=f"{closed_url}/v1")
    with pytest.raises(lm15.TransportError):
        model.complete(said("one"))
    assert_each_is_free(blank, 1)


def test_a_dropped_stream_is_charged(blank: Program, server: ProviderServer, model: Any) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with server.faulty(drop_stream_after=2), pytest.raises(lm15.TransportError):
        list(model.stream(said("one")))
    row = blank.row()
    assert (row["status"], row["estimated"]) == ("error", True)
    assert row["total_tokens"] > 0


def test_a_stream_that_is_left_is_charged_with_what_came(
    blank: Program, server: ProviderServer, model: Any
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    stream = model.stream(said("one"))
    next(iter(stream))
    stream.close()
    assert (blank.row()["status"], blank.row()["estimated"]) == ("cancelled", True)


def test_a_stream_that_is_dropped_is_charged_when_it_is_collected(
    blank: Program, server: ProviderServer, model: Any
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    stream = model.stream(said("one"))
    next(iter(stream))
    del stream
    gc.collect()
    assert blank.row()["estimated"] is True


def test_a_cancelled_call_is_charged(blank: Program, server: ProviderServer) -> None:
    blank.meter(PLENTY, guards=True, joined=False)

    async def main() -> None:
        async with StdlibAsyncTransport() as transport:
            model = lm15.AsyncOpenAIChatLM(
                api_key="k", base_url=server.openai_url, transport=transport
            )
            with server.faulty(delay_s=30):
                await cancelled_once_it_is_sent(model.complete(said("one")), server)

    run(main())
    row = blank.row()
    assert (row["status"], row["estimated"]) == ("cancelled", True)


def test_bytes_are_the_same_as_without(blank: Program, server: ProviderServer) -> None:
    body = b'{"model":"gpt-5.1","messages":[{"role":"user","content":"hi"}],"stream":true}'
    url = f"{server.openai_url}/chat/completions"
    asked = TransportRequest("POST", url, [("content-type", "application/json")], body)

    def answer() -> bytes:
        with StdlibTransport() as transport, transport.stream(asked) as response:
            return response.read()

    before = answer()
    blank.meter(PLENTY, guards=True, joined=False)
    after = answer()
    assert (len(before), before.count(b"data:")) == (len(after), after.count(b"data:"))
    assert blank.row()["source"] == "guard"


def test_other_requests_are_nobodys_business(blank: Program, server: ProviderServer) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    with StdlibTransport() as transport:
        for method in ("GET", "POST"):
            asked = TransportRequest(method, f"{server.openai_url}/models", [], b"")
            with transport.stream(asked) as response:
                response.read()
    assert not blank.path.exists()


def test_guards_off_again_leave_it_as_it_was(blank: Program) -> None:
    seams = (StdlibTransport, "stream"), (StdlibAsyncTransport, "_do_stream")
    before = [vars(kind)[name] for kind, name in seams]
    blank.meter(ONCE, guards=True, joined=False)
    assert all(vars(kind)[name] is not one for (kind, name), one in zip(seams, before, strict=True))
    assert blank.processor is not None
    blank.processor.retire()
    assert all(vars(kind)[name] is one for (kind, name), one in zip(seams, before, strict=True))
