"""Bedrock through boto3: counted and refused at the client, whatever mode its retries have."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import boto3
import botocore.client as botocore
import botocore.config as config
import botocore.exceptions as errors
import botocore.stub as stub
import pytest

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    PLENTY,
    Program,
    assert_each_is_free,
    assert_equals_the_report,
)

ONCE = atm.Budget("1 request / month per user", name="once")
NOVA, CLAUDE = "amazon.nova-lite-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"
Client: TypeAlias = Any
Make: TypeAlias = Callable[..., Client]


def client_of(url: str, **settings: Any) -> Client:
    settings = {"retries": {"total_max_attempts": 1}, **settings}
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=config.Config(**settings),
    )


def said(text: str) -> dict[str, Any]:
    return {"modelId": NOVA, "messages": [{"role": "user", "content": [{"text": text}]}]}


def invoked(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": messages}
    return {"modelId": CLAUDE, "body": json.dumps(body)}


def converse(client: Client, text: str) -> str:
    answer = client.converse(**said(text))
    return answer["output"]["message"]["content"][0]["text"]  # type: ignore[no-any-return]


def converse_stream(client: Client, text: str) -> str:
    events = client.converse_stream(**said(text))["stream"]
    deltas = [each["contentBlockDelta"]["delta"] for each in events if "contentBlockDelta" in each]
    return "".join(delta["text"] for delta in deltas)


def invoke_model(client: Client, text: str) -> str:
    answer = json.loads(client.invoke_model(**invoked(text))["body"].read())
    return answer["content"][0]["text"]  # type: ignore[no-any-return]


def invoke_stream(client: Client, text: str) -> str:
    chunks = client.invoke_model_with_response_stream(**invoked(text))["body"]
    events = [json.loads(each["chunk"]["bytes"]) for each in chunks]
    return "".join(each["delta"].get("text", "") for each in events if "delta" in each)


WAYS = (converse, converse_stream, invoke_model, invoke_stream)
#: What Python says of a connection that its owner has dropped.
unclosed = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
every_mode = pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])


@pytest.fixture
def guarded(blank: Program) -> Program:
    return blank.meter(guards=True, joined=False)


@pytest.fixture
def client(server: ProviderServer) -> Client:
    return client_of(server.bedrock_url)


@every_way
def test_each_call_is_one_row_with_the_tokens_that_the_provider_told(
    guarded: Program, server: ProviderServer, client: Client, way: Callable[[Client, str], str]
) -> None:
    with atm.context(user="ann"):
        for text in ("one", "and another one"):
            assert way(client, text)
    rows = assert_equals_the_report(guarded, server)
    assert [(row["user_id"], row["provider"], row["attempts"]) for row in rows] == [
        ("ann", "aws.bedrock", 1)
    ] * 2


@every_way
@every_mode
def test_what_is_over_budget_is_not_sent(
    blank: Program, server: ProviderServer, way: Callable[[Client, str], str], mode: str
) -> None:
    blank.meter(ONCE, guards=True, joined=False)
    client = client_of(server.bedrock_url, retries={"total_max_attempts": 4, "mode": mode})
    with atm.context(user="ann"):
        way(client, "one")
        with pytest.raises(errors.BotoCoreError) as refusal:
            way(client, "two")
    assert isinstance(refusal.value, atm.TokenQuotaExceeded)
    assert refusal.value.scope == {"user": "ann"}
    assert server.requests == 1
    assert [(row["decision"], row["attempts"]) for row in blank.rows()] == [
        ("allowed", 1),
        ("refused", 0),
    ]


@every_mode
def test_retries_are_attempts_of_one_call(
    guarded: Program, server: ProviderServer, mode: str
) -> None:
    client = client_of(server.bedrock_url, retries={"total_max_attempts": 3, "mode": mode})
    with server.faulty(status=[503], retry_after_s=0):
        converse(client, "one")
    row = guarded.row()
    assert (row["attempts"], row["status"], row["estimated"]) == (2, "ok", False)
    assert guarded.charged() == (row["total_tokens"], 0)


def test_what_the_provider_refuses_is_free(
    guarded: Program, server: ProviderServer, client: Client
) -> None:
    with server.faulty(status=429), pytest.raises(errors.ClientError):
        converse(client, "one")
    (row,) = assert_each_is_free(guarded, 1)
    assert (row["attributes"]["error.type"], row["attempts"]) == ("429", 1)


def test_a_connection_that_is_refused_is_free(guarded: Program, closed_url: str) -> None:
    with pytest.raises(errors.EndpointConnectionError):
        converse(client_of(closed_url), "one")
    assert_each_is_free(guarded, 1)


def test_what_botocore_does_not_send_is_free(guarded: Program, client: Client) -> None:
    with pytest.raises(errors.ParamValidationError):
        client.converse(modelId=NOVA, messages="hi")
    with stub.Stubber(client) as stubbed:
        stubbed.add_response(
            "converse",
            {
                "output": {"message": {"role": "assistant", "content": []}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
                "metrics": {"latencyMs": 1},
            },
        )
        client.converse(**said("hi"))
    assert [(row["attempts"], row["total_tokens"]) for row in guarded.rows()] == [(0, 0)] * 2
    assert guarded.charged() == (0, 0)


def test_a_time_out_is_charged_at_the_estimate(guarded: Program, server: ProviderServer) -> None:
    client = client_of(server.bedrock_url, read_timeout=0.2)
    with server.faulty(delay_s=30), pytest.raises(errors.ReadTimeoutError):
        converse(client, "one")
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("error", True)
    assert guarded.charged() == (row["total_tokens"], 0)


class TestAStream:
    @pytest.fixture(params=["converse", "invoke"])
    def stream(self, request: pytest.FixtureRequest, guarded: Program, client: Client) -> Any:
        if request.param == "converse":
            return client.converse_stream(**said("hi"))["stream"]
        return client.invoke_model_with_response_stream(**invoked("hi"))["body"]

    def test_that_is_closed_early_is_charged_with_what_came(
        self, guarded: Program, stream: Any
    ) -> None:
        events = iter(stream)
        for _ in range(5):
            next(events)
        stream.close()
        row = guarded.row()
        assert (row["status"], row["estimated"]) == ("cancelled", True)
        assert 0 < row["total_tokens"] < 500

    def test_that_is_read_in_two_goes_is_read_once(
        self, guarded: Program, server: ProviderServer, stream: Any
    ) -> None:
        for _ in stream:
            break
        for _ in stream:
            pass
        assert_equals_the_report(guarded, server)


@unclosed
def test_a_dropped_stream_is_charged_when_it_is_collected(guarded: Program, client: Client) -> None:
    stream = client.converse_stream(**said("hi"))["stream"]
    next(iter(stream))
    del stream
    gc.collect()
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("cancelled", True)


def test_a_stream_that_breaks_is_charged_with_what_came(
    guarded: Program, server: ProviderServer, client: Client
) -> None:
    with server.faulty(drop_stream_after=3), pytest.raises(Exception, match="ended prematurely"):
        converse_stream(client, "hi")
    row = guarded.row()
    assert (row["status"], row["estimated"]) == ("error", True)


def in_pieces(body: Any) -> bytes:
    return b"".join(body.iter_chunks(7))


def exactly(body: Any) -> bytes:
    return body.read(int(body._content_length))  # type: ignore[no-any-return]


def into_a_buffer(body: Any) -> bytes:
    buffer, read = bytearray(10_000), 0
    while size := body.readinto(memoryview(buffer)[read:]):
        read += size
    return bytes(buffer[:read])


def in_a_block(body: Any) -> bytes:
    with body as raw:
        return raw.read()  # type: ignore[no-any-return]


READINGS: tuple[Callable[[Any], bytes], ...] = (
    *(lambda body: body.read(), in_pieces, exactly, into_a_buffer, in_a_block),
    *(lambda body: b"".join(body), lambda body: b"".join(body.readlines())),
    lambda body: b"\n".join(body.iter_lines()),
)


@pytest.mark.parametrize("reading", READINGS)
def test_a_body_is_the_same_however_it_is_read(
    blank: Program, server: ProviderServer, client: Client, reading: Callable[[Any], bytes]
) -> None:
    def text() -> Any:
        return {**json.loads(reading(client.invoke_model(**invoked("hi"))["body"])), "id": None}

    before = text()
    server.reset()
    blank.meter(guards=True, joined=False)
    assert text() == before
    assert_equals_the_report(blank, server)


@unclosed
def test_a_body_that_nobody_reads_is_charged_with_what_its_headers_say(
    guarded: Program, server: ProviderServer, client: Client
) -> None:
    client.invoke_model(**invoked("hi"))
    gc.collect()
    row, (line,) = guarded.row(), server.reported
    assert (row["status"], row["estimated"]) == ("cancelled", True)
    assert row["output_tokens"] == line.output_tokens


def test_a_picture_is_no_text(guarded: Program, client: Client) -> None:
    picture = {"image": {"format": "png", "source": {"bytes": bytes(range(256)) * 1_000}}}
    messages = [{"role": "user", "content": [{"text": "hi"}, picture]}]
    stream = client.converse_stream(modelId=NOVA, messages=messages)["stream"]
    next(iter(stream))
    stream.close()
    assert 1_000 < guarded.row()["input_tokens"] < 1_100


def test_what_asks_no_model_passes_untouched(guarded: Program, client: Client) -> None:
    with pytest.raises(errors.ClientError):
        client.apply_guardrail(
            guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[]
        )
    assert not guarded.path.exists()


def test_50_calls_at_once_of_two_users_are_50_rows(
    guarded: Program, server: ProviderServer
) -> None:
    client = client_of(server.bedrock_url, max_pool_connections=8)

    def call(number: int) -> None:
        with atm.context(user="ann" if number % 2 else "bob"):
            WAYS[number % 4](client, "hi")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(50)))
    assert len(guarded.rows("user_id = 'ann'")) == 25
    assert len(assert_equals_the_report(guarded, server, ordered=False)) == 50


def test_clients_are_left_as_they_were(blank: Program) -> None:
    before = botocore.BaseClient.__dict__["_make_api_call"]
    blank.meter(PLENTY, guards=True, joined=False)
    assert botocore.BaseClient.__dict__["_make_api_call"] is not before
    assert blank.processor is not None
    blank.processor.retire()
    assert botocore.BaseClient.__dict__["_make_api_call"] is before


@pytest.mark.parametrize("step", ["_asked", "read"])
@every_way
def test_a_bug_of_ours_never_reaches_the_application(
    blank: Program,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    way: Callable[[Client, str], str],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    blank.meter(guards=True, joined=False)
    blank.trouble = ["guard failed"]
    monkeypatch.setattr(f"otel_atm.guards.botocore_net.{step}", broken)
    assert way(client, "hi")
    if step == "read":
        assert blank.row()["estimated"] is True
        assert blank.charged()[1] == 0
