"""What clients give tells exact usage: objects, dicts, and the last chunks of streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import anthropic
import boto3
import botocore.config
import cohere
import httpx
import ollama
import openai
import pytest
from google import genai
from google.genai import types
from mistralai.client import Mistral

import otel_atm as atm
from otel_atm.facade.native import read_native
from otel_atm.testing import ProviderServer, Tokens
from tests.e2e.conftest import spending
from tests.facade.conftest import Told

SAID: Any = [{"role": "user", "content": "How does compound interest work?"}]
GEMINI, COMMAND, NOVA = "gemini-2.5-flash", "command-a-03-2025", "amazon.nova-lite-v1:0"
CLAUDE = "claude-opus-4-8"
BLOCKS: Any = [{"role": "user", "content": [{"text": "How does compound interest work?"}]}]


class Clients:
    """One of each provider's."""

    def __init__(self, server: ProviderServer, stack: ExitStack) -> None:
        enter = stack.enter_context
        self.openai = enter(openai.OpenAI(api_key="k", base_url=server.openai_url))
        self.anthropic = enter(anthropic.Anthropic(api_key="k", base_url=server.anthropic_url))
        self.google = enter(
            genai.Client(
                api_key="k",
                http_options=types.HttpOptions(
                    base_url=server.gemini_url, httpx_async_client=httpx.AsyncClient()
                ),
            )
        )
        self.mistral = enter(Mistral(api_key="k", server_url=server.mistral_url))
        self.cohere = cohere.ClientV2(
            "k", base_url=server.cohere_url, httpx_client=enter(httpx.Client())
        )
        self.ollama = enter(ollama.Client(server.ollama_url))
        self.bedrock = boto3.client(
            "bedrock-runtime",
            endpoint_url=server.bedrock_url,
            region_name="eu-central-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer(spending) as server:
        yield server


@pytest.fixture(scope="module")
def clients(server: ProviderServer) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(server, stack)


def last_telling(chunks: Iterable[Any]) -> Any:
    """The last chunk of a stream that tells usage."""
    return [chunk for chunk in chunks if told(chunk)][-1]


def told(response: Any) -> bool:
    native = read_native(response)
    return native is not None and native.tokens is not None


def final_message(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model=CLAUDE, max_tokens=99, messages=SAID) as stream:
        return stream.get_final_message()


ANSWERS: dict[str, Callable[[Clients], Any]] = {
    "openai chat": lambda c: c.openai.chat.completions.create(model="gpt-5.1", messages=SAID),
    "openai chat, streamed": lambda c: last_telling(
        c.openai.chat.completions.create(
            model="gpt-5.1", messages=SAID, stream=True, stream_options={"include_usage": True}
        )
    ),
    "openai responses": lambda c: c.openai.responses.create(model="gpt-5.1", input="Hello"),
    "openai responses, streamed": lambda c: last_telling(
        c.openai.responses.create(model="gpt-5.1", input="Hello", stream=True)
    ),
    "openai embeddings": lambda c: c.openai.embeddings.create(
        model="text-embedding-3-small", input="Hello"
    ),
    "anthropic": lambda c: c.anthropic.messages.create(model=CLAUDE, max_tokens=99, messages=SAID),
    "anthropic, streamed": lambda c: final_message(c.anthropic),
    "google": lambda c: c.google.models.generate_content(model=GEMINI, contents="Hello"),
    "google, streamed": lambda c: last_telling(
        c.google.models.generate_content_stream(model=GEMINI, contents="Hello")
    ),
    "mistral": lambda c: c.mistral.chat.complete(model="mistral-large", messages=SAID),
    "mistral, streamed": lambda c: last_telling(
        c.mistral.chat.stream(model="mistral-large", messages=SAID)
    ),
    "cohere": lambda c: c.cohere.chat(model=COMMAND, messages=SAID),
    "cohere, streamed": lambda c: last_telling(c.cohere.chat_stream(model=COMMAND, messages=SAID)),
    "ollama": lambda c: c.ollama.chat("llama3.2", SAID),
    "ollama, streamed": lambda c: last_telling(c.ollama.chat("llama3.2", SAID, stream=True)),
    "bedrock": lambda c: c.bedrock.converse(modelId=NOVA, messages=BLOCKS),
    "bedrock, streamed": lambda c: last_telling(
        c.bedrock.converse_stream(modelId=NOVA, messages=BLOCKS)["stream"]
    ),
}
FORMS: dict[str, Callable[[Any], Any]] = {
    "object": lambda response: response,
    "dict": lambda response: (
        response.model_dump() if hasattr(response, "model_dump") else dict(response)
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("of", ANSWERS)
def test_tokens_are_what_the_provider_told(
    clients: Clients, server: ProviderServer, of: str, form: str
) -> None:
    response = ANSWERS[of](clients)
    native = read_native(FORMS[form](response))
    assert native is not None
    assert native.tokens is not None
    assert Tokens(*native.tokens) == server.reported[-1].tokens


def test_the_answer_of_a_client_makes_the_request_exact_too(
    told: Told, clients: Clients, server: ProviderServer
) -> None:
    with atm.context(session_id="sess-vip-99", username="alice@example.com"):
        atm.add_user_request("Draft a professional email.", model_id=GEMINI)
        response = clients.google.models.generate_content(model=GEMINI, contents="Draft …")
        atm.add_model_response(response, model_id=GEMINI)
    report = server.reported[-1]
    assert told.rows(
        "input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, estimated, calls"
    ) == [
        (
            report.input_tokens,
            report.output_tokens,
            report.cache_read_tokens,
            report.reasoning_tokens,
            False,
            1,
        )
    ]


def test_under_guards_a_call_that_is_told_of_too_is_counted_once(
    program: Callable[..., Told], server: ProviderServer
) -> None:
    told = program(guards=True, gateways={"127.0.0.1": "gcp.gemini"})
    transport = httpx.AsyncClient()
    options = types.HttpOptions(base_url=server.gemini_url, httpx_async_client=transport)
    with (
        genai.Client(api_key="k", http_options=options) as client,
        atm.context(session_id="sess-vip-99", username="alice@example.com"),
    ):
        prompt = "Draft a professional email response regarding refund query."
        atm.add_user_request(prompt, model_id=GEMINI)
        response = client.models.generate_content(model=GEMINI, contents=prompt)
        atm.add_model_response(response, model_id=GEMINI)
    report = server.reported[-1]
    total = report.input_tokens + report.output_tokens
    assert told.rows("source, calls, total_tokens, user_id, session_id") == [
        ("facade", 0, 0, "alice@example.com", "sess-vip-99"),
        ("guard", 1, total, "alice@example.com", "sess-vip-99"),
    ]
    assert told.used == {"plenty": total, "calls": 1}


def test_under_guards_calls_of_which_only_answers_are_told_are_counted_once(
    program: Callable[..., Told], server: ProviderServer
) -> None:
    told = program(guards=True, gateways={"127.0.0.1": "openai"})

    def work(number: int) -> None:
        with (
            openai.OpenAI(api_key="k", base_url=server.openai_url) as client,
            atm.context(username=f"user {number % 2}"),
        ):
            for _ in range(3):
                response = client.chat.completions.create(model="gpt-5.1", messages=SAID)
                atm.add_model_response(response, model_id=response.model)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert told.rows("source, calls") == [("guard", 1)] * 12


def test_under_guards_threads_of_one_payer_take_no_answers_of_each_other(
    program: Callable[..., Told], server: ProviderServer
) -> None:
    told = program(guards=True, gateways={"127.0.0.1": "openai"})
    all_asked = threading.Barrier(4)

    def work(_: int) -> None:
        with openai.OpenAI(api_key="k", base_url=server.openai_url) as client:
            atm.add_user_request(SAID, model_id="gpt-5.1", username="ann")
            all_asked.wait(30)
            response = client.chat.completions.create(model="gpt-5.1", messages=SAID)
            atm.add_model_response(response, model_id="gpt-5.1", username="ann")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(told.rows("source, calls, user_id")) == [
        *[("facade", 0, "ann")] * 4,
        *[("guard", 1, "ann")] * 4,
    ]


def test_an_object_of_anybody_that_has_usage_tells_it() -> None:
    usage = SimpleNamespace(prompt_token_count=5, candidates_token_count=7)
    native = read_native(SimpleNamespace(text="Hello", usage_metadata=usage))
    assert native is not None
    assert native.tokens == (5, 7, 0, 0, 0)


def test_a_message_of_langchain_tells_it() -> None:
    usage = {
        "input_tokens": 20,
        "output_tokens": 9,
        "total_tokens": 29,
        "input_token_details": {"cache_read": 4, "cache_creation": 3},
        "output_token_details": {"reasoning": 5},
    }
    message = SimpleNamespace(content="Hello", usage_metadata=usage)
    native = read_native(message)
    assert native is not None
    assert native.tokens == (20, 9, 4, 3, 5)
    assert native.provider is None


def test_what_bedrock_tells_beside_the_body_is_read() -> None:
    headers = {
        "x-amzn-bedrock-input-token-count": "12",
        "x-amzn-bedrock-output-token-count": "34",
    }
    native = read_native({"body": object(), "ResponseMetadata": {"HTTPHeaders": headers}})
    assert native is not None
    assert native.tokens == (12, 34, 0, 0, 0)


def test_an_answer_without_usage_is_counted_by_its_text_and_marked(told: Told) -> None:
    message = SimpleNamespace(role="assistant", content="word " * 40)
    choice = SimpleNamespace(message=message, finish_reason="stop")
    atm.add_model_response(SimpleNamespace(choices=[choice], usage=None), model_id="gpt-5.1")
    ((tokens, estimated),) = told.rows("output_tokens, estimated")
    assert 30 <= tokens <= 70
    assert estimated


def test_an_answer_that_says_nothing_is_charged_as_such_calls_are(told: Told) -> None:
    atm.add_model_response(object(), model_id="gpt-5.1")
    assert told.rows("output_tokens, estimated") == [(500, True)]
