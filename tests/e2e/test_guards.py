"""Guards: calls are counted once and refused where they are sent, whatever makes spans of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    PLENTY,
    Program,
    assert_equals_the_report,
    run,
    tokens,
    told,
)
from tests.e2e.test_refusals import CLAUDE, OPENAI, read

ONCE = atm.Budget("1 request / month per user", name="once")


class Careful(SpanProcessor):
    """What an SDK may do one day: no processor's exception comes through."""

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        try:
            self._inner.on_start(span, parent_context)
        except Exception:  # noqa: BLE001 - that is the point
            return

    def on_end(self, span: ReadableSpan) -> None:
        self._inner.on_end(span)


MODES = ("spans and guards", "guards alone", "nothing sampled", "a careful SDK")


def meter(program: Program, mode: str, *budgets: atm.Budget) -> None:
    if mode == "nothing sampled":
        program.provider.sampler = ALWAYS_OFF
    program.meter(*budgets, guards=True, joined=mode in ("spans and guards", "nothing sampled"))
    if mode == "a careful SDK":
        assert program.processor is not None
        program.provider.add_span_processor(Careful(program.processor))


@pytest.fixture
def plain(openai_base: openai.OpenAI, server: ProviderServer) -> openai.OpenAI:
    """An OpenAI client of which nobody makes spans."""
    return openai_base.with_options()


CASES = [
    *[("oai", way) for way in OPENAI],
    *[("plain", way) for way in OPENAI],
    *[("claude", way) for way in CLAUDE],
    *[("native_claude", way) for way in CLAUDE],
]
every_case = pytest.mark.parametrize(("client", "way"), CASES, ids=lambda value: value)
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def case(request: pytest.FixtureRequest, client: str, way: str) -> Callable[[str], None]:
    """Asks a text of a client, in a way of its."""
    real, call = request.getfixturevalue(client), call_of(client, way)
    return lambda text: call(real, text)


def call_of(client: str, way: str) -> Callable[[Any, str], Any]:
    sync, _ = (CLAUDE if "claude" in client else OPENAI)[way]
    return sync  # type: ignore[no-any-return]


@every_mode
@every_case
def test_each_call_is_one_row_with_the_tokens_that_the_provider_told(
    blank: Program, server: ProviderServer, case: Callable[[str], None], mode: str
) -> None:
    meter(blank, mode, PLENTY)
    with atm.context(user="ann"):
        for text in ("one", "and another one"):
            case(text)
    rows = assert_equals_the_report(blank, server)
    assert [(row["user_id"], row["attempts"], row["decision"]) for row in rows] == [
        ("ann", 1, "allowed")
    ] * 2


@every_mode
@every_case
def test_what_is_over_budget_is_not_sent(
    blank: Program, server: ProviderServer, case: Callable[[str], None], mode: str
) -> None:
    meter(blank, mode, ONCE)
    with atm.context(user="ann"):
        case("one")
        with pytest.raises(atm.TokenQuotaExceeded) as refusal:
            case("two")
    with atm.context(user="bob"):
        case("three")
    assert (refusal.value.budget, refusal.value.scope) == ("once", {"user": "ann"})
    assert server.requests == 2
    assert [(row["user_id"], row["decision"], row["attempts"]) for row in blank.rows()] == [
        ("ann", "allowed", 1),
        ("ann", "refused", 0),
        ("bob", "allowed", 1),
    ]


@pytest.mark.parametrize("way", OPENAI)
def test_async_clients_too(blank: Program, server: ProviderServer, way: str) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    _, call = OPENAI[way]

    async def main() -> None:
        settings: Any = {"base_url": server.openai_url, "api_key": "k", "max_retries": 3}
        async with openai.AsyncOpenAI(**settings) as client:
            with atm.context(user="ann"):
                await call(client, "one")
                with pytest.raises(atm.TokenQuotaExceeded):
                    await call(client, "two")

    run(main())
    assert server.requests == 1
    allowed, refused = blank.rows()
    assert [tokens(allowed)] == [told(line) for line in server.reported]
    assert (refused["decision"], refused["source"]) == ("refused", "guard")


def chat(client: openai.OpenAI, text: str = "hi", **more: Any) -> Any:
    return client.chat.completions.create(
        model="gpt-5.1", messages=[{"role": "user", "content": text}], **more
    )


class TestAClient:
    @pytest.fixture
    def guarded(self, blank: Program) -> Program:
        return blank.meter(guards=True, joined=False)

    @pytest.fixture
    def client(self, server: ProviderServer) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=2) as client:
            yield client

    def test_that_retries_makes_one_row_of_its_attempts(
        self, guarded: Program, server: ProviderServer, client: openai.OpenAI
    ) -> None:
        with server.faulty(status=[500, 500], retry_after_s=0):
            chat(client)
        row = guarded.row()
        assert (row["attempts"], row["status"], row["estimated"]) == (3, "ok", False)
        assert guarded.charged() == (row["total_tokens"], 0)

    def test_that_gives_up_has_cost_nothing(
        self, guarded: Program, server: ProviderServer, client: openai.OpenAI
    ) -> None:
        with server.faulty(status=429, retry_after_s=0), pytest.raises(openai.RateLimitError):
            chat(client)
        row = guarded.row()
        assert (row["attempts"], row["status"], row["total_tokens"]) == (3, "error", 0)
        assert row["attributes"]["error.type"] == "429"
        assert guarded.charged() == (0, 0)

    def test_finds_an_error_of_its_own_kind_and_does_not_retry_it(
        self, blank: Program, server: ProviderServer, client: openai.OpenAI
    ) -> None:
        blank.meter(ONCE, guards=True, joined=False)
        chat(client)
        with pytest.raises(openai.OpenAIError) as refusal:
            chat(client)
        assert isinstance(refusal.value, atm.TokenQuotaExceeded)
        assert (server.requests, len(blank.rows())) == (1, 2)

    def test_that_closes_a_stream_early_is_charged_with_what_came(
        self, guarded: Program, client: openai.OpenAI
    ) -> None:
        with chat(client, stream=True) as stream:
            next(iter(stream))
        row = guarded.row()
        assert (row["status"], row["estimated"]) == ("cancelled", True)
        assert 0 < row["total_tokens"] < 1_000

    def test_that_drops_a_stream_is_charged_when_it_is_collected(
        self, guarded: Program, client: openai.OpenAI
    ) -> None:
        stream = chat(client, stream=True)
        next(iter(stream))
        del stream
        gc.collect()
        assert guarded.row()["estimated"] is True

    def test_gets_the_same_bytes_as_without(
        self, blank: Program, server: ProviderServer, client: openai.OpenAI
    ) -> None:
        def chunks() -> list[bytes]:
            with client.chat.completions.with_streaming_response.create(
                model="gpt-5.1", messages=[{"role": "user", "content": "hi"}], stream=True
            ) as response:
                return list(response.iter_bytes())

        before = b"".join(chunks())
        blank.meter(guards=True, joined=False)
        after = b"".join(chunks())
        assert len(before) == len(after)
        assert before.count(b"data:") == after.count(b"data:")


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_request_without_any_client_is_a_call_too(
    blank: Program, server: ProviderServer, library: Any
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    body = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{server.openai_url}/chat/completions"
    with library.Client() as client:
        assert client.post(url, json=body).status_code == 200
        with pytest.raises(atm.TokenQuotaExceeded):
            client.post(url, json=body)
    assert server.requests == 1
    assert [row["decision"] for row in blank.rows()] == ["allowed", "refused"]


def test_a_model_whose_name_has_a_slash_keeps_it(blank: Program, server: ProviderServer) -> None:
    blank.meter(guards=True, joined=False)
    name = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.amazon.nova-lite-v1%3A0"
    body = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    with httpx.Client() as client:
        client.post(f"{server.bedrock_url}/model/{name}/converse", json=body)
    assert blank.row()["model"] == "eu.amazon.nova-lite-v1:0"


def test_what_asks_no_model_passes_untouched(blank: Program, server: ProviderServer) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    with httpx.Client() as client:
        for path in ("/models", "/files"):
            client.post(f"{server.openai_url}{path}", json={"purpose": "x"})
            client.get(f"{server.openai_url}{path}")
    assert not blank.path.exists()


def test_50_calls_at_once_of_two_users_are_50_rows(blank: Program, server: ProviderServer) -> None:
    blank.meter(PLENTY, guards=True)

    async def call(client: openai.AsyncOpenAI, user: str) -> None:
        with atm.context(user=user):
            await client.chat.completions.create(
                model="gpt-5.1", messages=[{"role": "user", "content": user}]
            )

    async def main() -> None:
        settings: Any = {"base_url": server.openai_url, "api_key": "k", "max_retries": 0}
        async with openai.AsyncOpenAI(**settings) as client:
            await asyncio.gather(*[call(client, "ann" if n % 2 else "bob") for n in range(50)])

    run(main())
    assert [row["user_id"] for row in blank.rows("user_id = 'ann'")] == ["ann"] * 25
    assert len(assert_equals_the_report(blank, server, ordered=False)) == 50


def test_guards_that_go_leave_the_libraries_as_they_were(blank: Program) -> None:
    seams: list[tuple[Any, str]] = [
        (httpx.Client, "send"),
        (httpx.AsyncClient, "send"),
        (httpx2.Client, "send"),
        (openai._base_client.SyncAPIClient, "request"),
        (anthropic._base_client.AsyncAPIClient, "request"),
    ]
    before = [owner.__dict__[name] for owner, name in seams]
    blank.meter(guards=True, joined=False)
    assert all(
        owner.__dict__[name] is not one for (owner, name), one in zip(seams, before, strict=True)
    )
    assert blank.processor is not None
    blank.processor.retire()
    assert [owner.__dict__[name] for owner, name in seams] == before


@pytest.mark.parametrize("step", ["door.asked_at", "attempt.read_answer", "door.get_current_span"])
def test_a_bug_of_ours_never_reaches_the_application(
    blank: Program, server: ProviderServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    blank.meter(guards=True, joined=False)
    monkeypatch.setattr(f"otel_atm.guards.{step}", broken)
    blank.trouble = ["guard failed"]
    with openai.OpenAI(base_url=server.openai_url, api_key="k") as client:
        assert chat(client).choices
        read(chat(client, stream=True))
