"""Gateways and thread pools: who is billed for calls at hosts, and in threads, of one's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

import otel_atm as atm
from otel_atm.guards import Hosts, recognise
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import Program, assert_equals_the_report

HELLO: Any = [{"role": "user", "content": "hello"}]


def call(url: str) -> None:
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="gpt-5.1", messages=HELLO)


def test_a_host_that_nobody_knows_is_openais_by_what_is_asked_there(
    blank: Program, server: ProviderServer
) -> None:
    blank.meter(guards=True, joined=False)
    call(server.openai_url)
    assert blank.row()["provider"] == "openai"


@pytest.mark.parametrize(
    "path", ["/llm/chat/completions", "/acme/v1/chat/completions", "/openai/v1/messages"]
)
def test_a_gateway_may_put_a_path_before_that_of_the_api(path: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    assert recognise("POST", "llm.acme.dev", path, body) is not None
    hosts = Hosts({"llm.acme.dev": "acme"})
    assert recognise("POST", "llm.acme.dev", path, b"\x1f\x8b", hosts) is not None
    assert recognise("POST", "llm.acme.dev", path, b"\x1f\x8b") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "with its port"])
def test_a_gateway_has_the_provider_that_it_is_given(
    blank: Program, server: ProviderServer, host: str
) -> None:
    if host != "127.0.0.1":
        host = httpx.URL(server.openai_url).netloc.decode()
    blank.meter(guards=True, joined=False, gateways={host: "azure.ai.openai"})
    call(server.openai_url)
    assert blank.row()["provider"] == "azure.ai.openai"


def test_gateways_can_be_changed_while_calls_are_made(
    blank: Program, server: ProviderServer
) -> None:
    blank.meter(guards=True, joined=False)
    call(server.openai_url)
    processor = blank.processor
    assert processor is not None
    settings = processor._assembly.settings
    processor.configure(replace(settings, gateways=(("127.0.0.1", "acme"),)))
    call(server.openai_url)
    assert [row["provider"] for row in blank.rows()] == ["openai", "acme"]


@pytest.mark.parametrize(
    ("gateways", "quoted"),
    [
        ("llm.acme.dev", "gateways='llm.acme.dev'"),
        ({"https://llm.acme.dev": "openai"}, "'https://llm.acme.dev'"),
        ({"llm.acme.dev": ""}, "'llm.acme.dev' needs the name of a provider"),
        ({"llm.acme.dev": None}, "'llm.acme.dev' needs the name of a provider"),
        ({7: "openai"}, "not 7"),
    ],
)
def test_a_gateway_that_cannot_be_one_is_an_error(gateways: Any, quoted: str) -> None:
    with pytest.raises(atm.ConfigurationError) as error:
        atm.TokenSpanProcessor(gateways=gateways)
    assert quoted in str(error.value)


@pytest.mark.parametrize("name", ["guards", "include_usage"])
def test_a_switch_is_true_or_false(name: str) -> None:
    with pytest.raises(atm.ConfigurationError, match=f"{name}='on': expected True or False"):
        atm.TokenSpanProcessor(**{name: "on"})  # type: ignore[arg-type]


def test_calls_in_a_pool_are_their_submitters(blank: Program, server: ProviderServer) -> None:
    blank.meter(guards=True, joined=False)
    url = server.openai_url
    with atm.carrying(ThreadPoolExecutor(4)) as pool:
        for user in ("ann", "bob") * 8:
            with atm.context(user=user):
                pool.submit(call, url)
    rows = assert_equals_the_report(blank, server, ordered=False)
    assert sorted(row["user_id"] for row in rows) == ["ann"] * 8 + ["bob"] * 8
