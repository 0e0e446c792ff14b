"""Guards under the clients of Google, Cohere, Ollama and Mistral: one row a call, or none sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import cohere
import httpx
import ollama
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from mistralai.client import Mistral

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    PLENTY,
    Program,
    assert_each_is_free,
    assert_equals_the_report,
    run,
    tokens,
    told,
)

ONCE = atm.Budget("1 request / month per user", name="once")
GEMINI, COMMAND, LLAMA, MISTRAL = (
    "gemini-2.5-flash",
    "command-a-03-2025",
    "llama3.2",
    "mistral-large",
)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


class Way(NamedTuple):
    """A way to call a client, and the same for its async one, which is read to its end."""

    call: Callable[[Any, str], Any]
    acall: Callable[[Any, str], Any]


def stream(call: Callable[[Any, str], Any]) -> Callable[[Any, str], None]:
    def read(client: Any, text: str) -> None:
        for _ in call(client, text):
            pass

    return read


def astream(call: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    async def read(client: Any, text: str) -> None:
        answer = call(client, text)
        async for _ in answer if hasattr(answer, "__aiter__") else await answer:
            pass

    return read


def both(call: Callable[[Any, str], Any]) -> Way:
    return Way(call, call)


def streamed(call: Callable[[Any, str], Any]) -> Way:
    return Way(stream(call), astream(call))


_GOOGLE = {
    "generate": both(lambda c, text: c.models.generate_content(model=GEMINI, contents=text)),
    "stream": streamed(
        lambda c, text: c.models.generate_content_stream(model=GEMINI, contents=text)
    ),
    "chat": both(lambda c, text: c.chats.create(model=GEMINI).send_message(text)),
    "embed": both(
        lambda c, text: c.models.embed_content(model="gemini-embedding-2", contents=[text])
    ),
}
_MISTRAL = {
    "chat": Way(
        lambda c, text: c.chat.complete(model=MISTRAL, messages=said(text)),
        lambda c, text: c.chat.complete_async(model=MISTRAL, messages=said(text)),
    ),
    "stream": Way(
        stream(lambda c, text: c.chat.stream(model=MISTRAL, messages=said(text))),
        astream(lambda c, text: c.chat.stream_async(model=MISTRAL, messages=said(text))),
    ),
    "embed": Way(
        lambda c, text: c.embeddings.create(model="mistral-embed", inputs=[text]),
        lambda c, text: c.embeddings.create_async(model="mistral-embed", inputs=[text]),
    ),
}
WAYS: dict[str, dict[str, Way]] = {
    "google": _GOOGLE,
    "vertex": _GOOGLE,
    "mistral": _MISTRAL,
    "cohere": {
        "chat": both(lambda c, text: c.chat(model=COMMAND, messages=said(text))),
        "stream": streamed(lambda c, text: c.chat_stream(model=COMMAND, messages=said(text))),
        "embed": both(
            lambda c, text: c.embed(
                model="embed-v4.0",
                texts=[text],
                input_type="search_document",
                embedding_types=["float"],
            )
        ),
    },
    "cohere1": {
        "chat": both(lambda c, text: c.chat(model=COMMAND, message=text)),
        "stream": streamed(lambda c, text: c.chat_stream(model=COMMAND, message=text)),
        # in batches it works in threads of its own, which know nothing of the context
        "embed": both(lambda c, text: c.embed(model="embed-v4.0", texts=[text], batching=False)),
    },
    "ollama": {
        "chat": both(lambda c, text: c.chat(LLAMA, said(text))),
        "stream": streamed(lambda c, text: c.chat(LLAMA, said(text), stream=True)),
        "generate": both(lambda c, text: c.generate(LLAMA, text)),
        "streamed generate": streamed(lambda c, text: c.generate(LLAMA, text, stream=True)),
        "embed": both(lambda c, text: c.embed("nomic-embed-text", [text])),
    },
}
CASES = [(client, way) for client, ways in WAYS.items() for way in ways]
every_case = pytest.mark.parametrize(("client", "way"), CASES, ids=lambda value: value)
STREAMS = [case for case in CASES if "stream" in case[1]]


def google(server: ProviderServer, transport: httpx.AsyncClient, **more: Any) -> genai.Client:
    """One of the Gemini API. Its async half uses aiohttp where that is installed, if not told."""
    options = types.HttpOptions(base_url=server.gemini_url, httpx_async_client=transport, **more)
    return genai.Client(api_key="k", http_options=options)


def vertex(server: ProviderServer, transport: httpx.AsyncClient) -> genai.Client:
    options = types.HttpOptions(base_url=server.gemini_url, httpx_async_client=transport)
    return genai.Client(
        vertexai=True,
        project="acme",
        location="europe-west4",
        credentials=Credentials("t"),
        http_options=options,
    )


@pytest.fixture(scope="session")
def clients(running_server: ProviderServer) -> Iterator[dict[str, Any]]:
    """One of each kind."""
    server = running_server
    unused = httpx.AsyncClient()
    one, two = google(server, unused), vertex(server, unused)
    with (
        httpx.Client() as transport,
        Mistral(api_key="k", server_url=server.mistral_url) as mistral,
        ollama.Client(server.ollama_url) as llama,
    ):
        yield {
            "google": one,
            "vertex": two,
            "cohere": cohere.ClientV2("k", base_url=server.cohere_url, httpx_client=transport),
            "cohere1": cohere.Client("k", base_url=server.cohere_url, httpx_client=transport),
            "ollama": llama,
            "mistral": mistral,
        }
    one.close()
    two.close()


@asynccontextmanager
async def async_client(kind: str, server: ProviderServer) -> AsyncIterator[Any]:
    """The async one of a kind."""
    async with httpx.AsyncClient() as transport:
        if kind in ("google", "vertex"):
            with (google if kind == "google" else vertex)(server, transport) as made:
                yield made.aio
        elif kind == "mistral":
            async with Mistral(api_key="k", server_url=server.mistral_url) as client:
                yield client
        elif kind == "ollama":
            async with ollama.AsyncClient(server.ollama_url) as client:
                yield client
        else:
            made_of = cohere.AsyncClientV2 if kind == "cohere" else cohere.AsyncClient
            yield made_of(api_key="k", base_url=server.cohere_url, httpx_client=transport)


@pytest.fixture
def ask(clients: dict[str, Any], client: str, way: str) -> Callable[[str], None]:
    """Asks a text of a client, in a way of its."""
    return lambda text: WAYS[client][way].call(clients[client], text)


@every_case
def test_each_call_is_one_row_with_the_tokens_that_the_provider_told(
    blank: Program, server: ProviderServer, ask: Callable[[str], None]
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with atm.context(user="ann"):
        for text in ("one", "and another one"):
            ask(text)
    rows = assert_equals_the_report(blank, server)
    assert [(row["user_id"], row["attempts"], row["decision"]) for row in rows] == [
        ("ann", 1, "allowed")
    ] * 2


@every_case
def test_what_is_over_budget_is_not_sent_and_nobody_wraps_or_retries_the_refusal(
    blank: Program, server: ProviderServer, ask: Callable[[str], None]
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    with atm.context(user="ann"):
        ask("one")
        with pytest.raises(atm.TokenQuotaExceeded) as refusal:
            ask("two")
    assert (refusal.value.budget, refusal.value.scope) == ("once", {"user": "ann"})
    assert server.requests == 1
    assert [(row["decision"], row["attempts"]) for row in blank.rows()] == [
        ("allowed", 1),
        ("refused", 0),
    ]


@every_case
def test_async_clients_too(blank: Program, server: ProviderServer, client: str, way: str) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    call = WAYS[client][way].acall

    async def main() -> None:
        async with async_client(client, server) as real:
            with atm.context(user="ann"):
                await call(real, "one")
                with pytest.raises(atm.TokenQuotaExceeded):
                    await call(real, "two")

    run(main())
    assert server.requests == 1
    allowed, refused = blank.rows()
    assert [tokens(allowed)] == [told(line) for line in server.reported]
    assert (refused["decision"], refused["source"]) == ("refused", "guard")


@pytest.mark.parametrize(("client", "way"), STREAMS)
def test_a_dropped_stream_is_charged(
    blank: Program, server: ProviderServer, ask: Callable[[str], None]
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with server.faulty(drop_stream_after=2), pytest.raises(Exception, match=r"incomplete|closed"):
        ask("one")
    row = blank.row()
    assert (row["status"], row["estimated"]) == ("error", True)
    assert row["total_tokens"] > 0


@pytest.mark.parametrize(("client", "way"), STREAMS)
def test_an_answer_without_usage_is_estimated(
    blank: Program, server: ProviderServer, ask: Callable[[str], None]
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with server.faulty(no_usage=True):
        ask("one")
    row = blank.row()
    assert (row["status"], row["estimated"]) == ("ok", True)
    assert row["output_tokens"] > 0


@every_case
def test_an_error_is_free(
    blank: Program, server: ProviderServer, ask: Callable[[str], None]
) -> None:
    blank.meter(PLENTY, guards=True, joined=False)
    with server.faulty(status=400), pytest.raises(Exception, match=r"400|invalid"):
        ask("one")
    row = assert_each_is_free(blank, 1)[0]
    assert row["attributes"]["error.type"] == "400"


class TestGoogle:
    @pytest.fixture
    def client(self, clients: dict[str, Any]) -> genai.Client:
        found: genai.Client = clients["google"]
        return found

    @pytest.mark.parametrize("rounds", [1, 3])
    def test_automatic_function_calling_is_a_row_for_each_of_its_requests(
        self, blank: Program, server: ProviderServer, client: genai.Client, rounds: int
    ) -> None:
        blank.meter(PLENTY, guards=True, joined=False)
        with server.faulty(tool_rounds=rounds):
            answer = client.chats.create(model=GEMINI, config={"tools": [weather]}).send_message(
                "what is the weather like?"
            )
        assert answer.text
        assert server.requests == rounds + 1
        assert len(assert_equals_the_report(blank, server)) == rounds + 1

    def test_automatic_function_calling_of_the_async_client_too(
        self, blank: Program, server: ProviderServer
    ) -> None:
        blank.meter(PLENTY, guards=True, joined=False)

        async def main() -> None:
            async with async_client("google", server) as client:
                chat = client.chats.create(model=GEMINI, config={"tools": [weather]})
                await chat.send_message("what is the weather like?")
                async for _ in await chat.send_message_stream("and there?"):
                    pass

        with server.faulty(tool_rounds=2):
            run(main())
        assert server.requests == 4  # the second message finds two results in its chat
        assert len(assert_equals_the_report(blank, server)) == 4

    def test_a_refusal_in_the_midst_of_function_calling_ends_it(
        self, blank: Program, server: ProviderServer, client: genai.Client
    ) -> None:
        blank.meter("2 requests / month", guards=True, joined=False)
        with server.faulty(tool_rounds=3), pytest.raises(atm.TokenQuotaExceeded):
            client.chats.create(model=GEMINI, config={"tools": [weather]}).send_message("hi")
        assert server.requests == 2
        assert [row["decision"] for row in blank.rows()] == ["allowed", "allowed", "refused"]

    def test_a_refusal_is_not_retried_by_a_client_that_retries(
        self, blank: Program, server: ProviderServer
    ) -> None:
        blank.meter(ONCE, guards=True, joined=False)
        retry = types.HttpRetryOptions(attempts=4)
        with google(server, httpx.AsyncClient(), retry_options=retry) as client:
            ask = WAYS["google"]["generate"].call
            ask(client, "one")
            with pytest.raises(atm.TokenQuotaExceeded):
                ask(client, "two")
        assert (server.requests, len(blank.rows())) == (1, 2)

    def test_tokens_are_counted_without_a_row(
        self, blank: Program, server: ProviderServer, client: genai.Client
    ) -> None:
        blank.meter(ONCE, guards=True, joined=False)
        assert client.models.count_tokens(model=GEMINI, contents="hello you").total_tokens == 3
        assert server.requests == 0
        assert not blank.path.exists()

    def test_a_stream_that_is_a_list_counts_too(
        self, blank: Program, server: ProviderServer
    ) -> None:
        blank.meter(PLENTY, guards=True, joined=False)
        url = f"{server.gemini_url}/v1beta/models/{GEMINI}:streamGenerateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        with httpx.stream("POST", url, json=body) as answer:
            chunks = list(answer.iter_bytes(7))
        assert len(chunks) > 4
        assert_equals_the_report(blank, server)

    def test_the_model_of_an_embedding_is_the_one_of_its_path(
        self, blank: Program, server: ProviderServer
    ) -> None:
        blank.meter(PLENTY, guards=True, joined=False)
        url = f"{server.gemini_url}/v1beta/models/gemini-embedding-2:embedContent"
        content = {"parts": [{"text": "hello"}]}
        httpx.post(url, json={"model": "models/gemini-embedding-2", "content": content})
        assert_equals_the_report(blank, server)

    def test_a_stream_that_is_left_is_charged_with_what_came(
        self, blank: Program, server: ProviderServer, client: genai.Client
    ) -> None:
        blank.meter(PLENTY, guards=True, joined=False)
        answer = client.models.generate_content_stream(model=GEMINI, contents="hi")
        next(iter(answer))
        del answer
        gc.collect()
        row = blank.row()
        assert (row["status"], row["estimated"]) == ("cancelled", True)
        assert row["input_tokens"] == 102


class TestMistral:
    def test_a_stream_is_seen_though_its_spans_make_a_copy_of_it(
        self, blank: Program, server: ProviderServer
    ) -> None:
        from mistralai.extra.observability.telemetry import configure_telemetry

        blank.meter(PLENTY, guards=True, joined=False)
        ways = WAYS["mistral"]["stream"]

        async def main() -> None:
            async with Mistral(api_key="k", server_url=server.mistral_url) as client:
                configure_telemetry(client, blank.provider)
                await ways.acall(client, "two")

        with Mistral(api_key="k", server_url=server.mistral_url) as client:
            configure_telemetry(client, blank.provider)
            ways.call(client, "one")
            run(main())
            answer = client.chat.stream(model=MISTRAL, messages=said("three"))
            with answer as events:
                next(iter(events))
        *whole, left = blank.rows()
        assert [tokens(row) for row in whole] == [told(line) for line in server.reported[:2]]
        assert [row["status"] for row in whole] == ["ok", "ok"]
        assert (left["status"], left["estimated"]) == ("cancelled", True)
        assert blank.spans

    def test_a_refusal_is_not_retried_by_a_client_that_retries_lost_connections(
        self, blank: Program, server: ProviderServer
    ) -> None:
        from mistralai.client.utils import BackoffStrategy, RetryConfig

        backoff = RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, 60_000), True)
        blank.meter(ONCE, guards=True, joined=False)
        settings: Any = {"api_key": "k", "server_url": server.mistral_url, "retry_config": backoff}

        async def main(client: Mistral) -> None:
            with pytest.raises(atm.TokenQuotaExceeded):
                await WAYS["mistral"]["chat"].acall(client, "three")

        with Mistral(**settings) as client:
            WAYS["mistral"]["chat"].call(client, "one")
            with pytest.raises(atm.TokenQuotaExceeded):
                WAYS["mistral"]["chat"].call(client, "two")
            asyncio.run(main(client))
        assert (server.requests, len(blank.rows())) == (1, 3)
