"""Privacy: what is said to a model, or by it, comes out of us nowhere."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel, ValidationError, field_validator

import otel_atm as atm
from otel_atm.ledger import MemoryLedger
from otel_atm.store.store import Store
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import PLENTY, AppError, Program, fail_in_the_midst_of

#: In every text below; looked for everywhere.
MARK = "7f3a9c2e41"
REFUSING = atm.Budget("1 request / month where user=greedy", name="refusing")

GPT, OPUS = "gpt-5.1", "claude-opus-4-8"


def secret(place: str) -> str:
    return f"{place}-{MARK}"


def saying(text: str) -> dict[str, Any]:
    """A JSON schema that only this text satisfies: the server answers with it."""
    return {"type": "object", "properties": {"said": {"const": text}}, "required": ["said"]}


class Answer(BaseModel):
    said: str

    @field_validator("said")
    @classmethod
    def never(cls, said: str) -> str:
        raise ValueError(f"{said} and {secret('validation error')}")


def talk_to_openai(client: Any, server: ProviderServer) -> None:
    messages: list[Any] = [
        {"role": "system", "content": secret("system prompt")},
        {"role": "user", "content": secret("message")},
    ]
    said = {"name": "answer", "schema": saying(secret("response text")), "strict": True}
    answer = client.chat.completions.create(
        model=GPT,
        messages=messages,
        response_format={"type": "json_schema", "json_schema": said},
        user=secret("end user"),
        metadata={"note": secret("metadata")},
    )
    assert MARK in answer.choices[0].message.content
    function = {"name": "look", "parameters": saying(secret("tool arguments"))}
    with server.faulty(tool_rounds=1):
        tools = [{"type": "function", "function": function}]
        answer = client.chat.completions.create(model=GPT, messages=messages, tools=tools)
        (call,) = answer.choices[0].message.tool_calls
        assert MARK in call.function.arguments
        messages.append(answer.choices[0].message.model_dump(exclude_none=True))
        result = {"role": "tool", "tool_call_id": call.id, "content": secret("tool result")}
        client.chat.completions.create(model=GPT, messages=[*messages, result], tools=tools)
    for _ in client.responses.create(
        model=GPT, instructions=secret("instructions"), input=secret("input"), stream=True
    ):
        pass
    client.embeddings.create(model=GPT, input=[secret("embedded"), secret("embedded too")])
    with pytest.raises(ValidationError):
        client.chat.completions.parse(model=GPT, messages=messages, response_format=Answer)
    stream = client.chat.completions.create(model=GPT, messages=messages, stream=True)
    with pytest.raises(AppError):
        fail_in_the_midst_of(stream, secret("exception"))
    for status in (400, 429, 500):
        with (
            server.faulty(status=status, error_text=secret("error text")),
            pytest.raises(openai.APIStatusError, match=MARK),
        ):
            client.chat.completions.create(model=GPT, messages=messages)
    with server.faulty(malformed=True), pytest.raises(json.JSONDecodeError):
        client.chat.completions.create(model=GPT, messages=messages)


def talk_to_anthropic(client: Any, server: ProviderServer) -> None:
    asked: dict[str, Any] = {
        "model": OPUS,
        "max_tokens": 99,
        "system": secret("system prompt"),
        "metadata": {"user_id": secret("end user")},
    }
    messages: list[Any] = [{"role": "user", "content": secret("message")}]
    output = {"format": {"type": "json_schema", "schema": saying(secret("response text"))}}
    answer = client.messages.create(**asked, messages=messages, output_config=output)
    assert MARK in answer.content[0].text
    tool = {"name": "look", "input_schema": saying(secret("tool arguments"))}
    with server.faulty(tool_rounds=1):
        answer = client.messages.create(**asked, messages=messages, tools=[tool])
        (call,) = answer.content
        assert MARK in call.input["said"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": secret("tool result")}
        messages.append({"role": "assistant", "content": answer.to_dict()["content"]})
        messages.append({"role": "user", "content": [result]})
        with client.messages.stream(**asked, messages=messages, tools=[tool]) as stream:
            stream.get_final_message()
    manager = client.messages.stream(**asked, messages=messages)
    with pytest.raises(AppError):
        fail_in_the_midst_of(manager, secret("exception"))
    for status in (400, 429, 500):
        with (
            server.faulty(status=status, error_text=secret("error text")),
            pytest.raises(anthropic.APIStatusError, match=MARK),
        ):
            client.messages.create(**asked, messages=messages)


def refused(oai: Any, claude: Any) -> list[atm.TokenQuotaExceeded]:
    """Three calls of one greedy user, of which two are refused."""
    messages: list[Any] = [{"role": "user", "content": secret("message")}]
    errors = []
    with atm.context(user="greedy"):
        oai.chat.completions.create(model=GPT, messages=messages)
        with pytest.raises(atm.TokenQuotaExceeded) as refusal:
            oai.chat.completions.create(model=GPT, messages=messages)
        errors.append(refusal.value)
        with pytest.raises(atm.TokenQuotaExceeded) as refusal:
            claude.messages.create(model=OPUS, max_tokens=9, messages=messages)
        errors.append(refusal.value)
    return errors


def files_under(folder: Path) -> dict[str, bytes]:
    """Name → content; a segment may be drained away while we look."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def dump(program: Program) -> str:
    """Every row of every table of the file, as text."""
    with atm.connect(program.path) as db:
        names = db.sql(
            "select table_name from information_schema.tables where table_catalog = 'store'"
        ).fetchall()
        tables = {name: db.sql(f'from "{name}"').fetchall() for (name,) in names}
    assert {"usage_events", "usage_1m"} <= set(tables)
    return repr(tables)


def assert_clean(text: str | bytes) -> None:
    mark = MARK if isinstance(text, str) else MARK.encode()
    assert mark not in text


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, "otel_atm"):
        yield caplog


def ours(logs: pytest.LogCaptureFixture) -> str:
    """All that our loggers said, with tracebacks."""
    formatter = logging.Formatter()
    records = [record for record in logs.records if record.name.startswith("otel_atm")]
    return "\n".join([*map(formatter.format, records), *(repr(record.args) for record in records)])


class TestWhatIsSaid:
    """Everything below is of one long conversation, with content capture off and on."""

    @pytest.fixture(params=["off", "on"])
    def captured(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
        """Whether the instrumentations put what is said on their own spans."""
        if request.param == "on":
            variable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
            monkeypatch.setenv(variable, "span_only")
        return bool(request.param == "on")

    @pytest.fixture
    def talking(self, captured: bool, blank: Program, oai: Any, claude: Any) -> tuple[Any, Any]:
        """Both clients, metered; made after content capture was set."""
        blank.meter(PLENTY, REFUSING)
        if captured:
            traces = {"content_mode": "content"}
            telemetry = {"tracer_provider": blank.provider, "traces": traces}
            claude = claude.with_options(open_telemetry=telemetry)
        return oai, claude

    def test_comes_out_of_us_nowhere(
        self,
        captured: bool,
        blank: Program,
        server: ProviderServer,
        talking: tuple[Any, Any],
        watched: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        tmp_path: Path,
    ) -> None:
        oai, claude = talking
        with atm.context(user="ann", team="ml"):
            talk_to_openai(oai, server)
            talk_to_anthropic(claude, server)
        errors = refused(oai, claude)

        # No file: segments, the DuckDB file before and after, and the rows in it.
        written = files_under(tmp_path)
        assert blank.processor is not None
        assert blank.processor.force_flush()
        stored = files_under(tmp_path)
        assert GPT.encode() in b"".join(written.values())  # this is where it would stand
        assert b"greedy" in stored["tokens.duckdb"]
        for content in [*written, *written.values(), *stored, *stored.values()]:
            assert_clean(content)
        rows = dump(blank)
        assert OPUS in rows
        assert_clean(rows)

        # No log.
        assert_clean(ours(watched))
        assert_clean("".join(capfd.readouterr()))

        # No span attribute of ours, and nothing at all of a span that we end.
        told = [json.loads(span.to_json()) for span in blank.spans]
        assert (MARK in repr([span["attributes"] for span in told])) is captured
        for span in told:
            ours_alone = {k: v for k, v in span["attributes"].items() if k.startswith("atm.")}
            assert ours_alone
            assert_clean(repr(ours_alone))
        ended = [span for span in told if span["attributes"]["atm.decision"] == "refused"]
        assert len(ended) == 2
        assert_clean(repr(ended))

        # No metric attribute.
        metrics = repr(blank.metrics())
        assert "refusing" in metrics
        assert_clean(metrics)

        # No text of our error.
        for error in errors:
            assert_clean(f"{error} {error!r} {error.args} {vars(error)}")


class Broken(MemoryLedger):
    """A ledger with a bug whose message quotes what it was given."""

    def __init__(self, *methods: str) -> None:
        super().__init__()
        for method in methods:
            setattr(self, method, self._fail)

    def _fail(self, *_: object, **__: object) -> Any:
        raise RuntimeError(secret("bug"))


class BrokenStore(Store):
    """A store with a bug in what each call needs."""

    def append(self, call: object) -> None:
        raise RuntimeError(secret("bug"))


class BrokenGauge(Store):
    """A store with a bug in what the metrics read."""

    def spooled_bytes(self) -> int:
        raise RuntimeError(secret("bug"))


def chat(client: Any) -> None:
    client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "hello"}])


class TestABugOfOurs:
    """Neither stops the application nor says what it saw."""

    @pytest.fixture(autouse=True)
    def nothing_leaks(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> Iterator[None]:
        with caplog.at_level(logging.DEBUG):
            yield
        assert_clean(caplog.text)  # of all loggers: others log what we let through
        assert_clean("".join(capfd.readouterr()))

    @pytest.mark.parametrize(
        ("method", "doors"),
        [("admit", ["on_start"]), ("claim", ["on_start", "on_end"]), ("settle", ["on_end"])],
    )
    def test_in_the_ledger(
        self, blank: Program, server: ProviderServer, oai: Any, method: str, doors: list[str]
    ) -> None:
        blank.meter(PLENTY, ledger=Broken(method))
        blank.trouble = [f"{door} failed" for door in doors]
        chat(oai)
        chat(oai)
        assert server.requests == 2

    def test_in_the_ledger_at_the_end_of_the_program(self, blank: Program) -> None:
        blank.meter(PLENTY, ledger=Broken("settle"))
        blank.trouble = ["failed"]
        call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": GPT}
        span = blank.provider.get_tracer("app").start_span("chat", attributes=call)
        blank.provider.shutdown()  # writes off the call that is open
        span.end()

    def test_in_the_store(self, blank: Program, server: ProviderServer, oai: Any) -> None:
        blank.meter(PLENTY, store=BrokenStore(blank.path))
        blank.trouble = ["sink failed"]
        chat(oai)
        chat(oai)
        assert server.requests == 2
        assert sum(blank.charged()) > 0

    def test_in_what_the_metrics_read(
        self, blank: Program, server: ProviderServer, oai: Any
    ) -> None:
        blank.meter(PLENTY, store=BrokenGauge(blank.path))
        blank.trouble = ["failed"]
        chat(oai)
        assert "atm.calls" in blank.metrics()

    def test_in_the_drain(
        self,
        blank: Program,
        server: ProviderServer,
        oai: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(*_: object, **__: object) -> int:
            raise RuntimeError(secret("bug"))

        blank.meter(PLENTY)
        blank.trouble = ["drain failed"]
        with monkeypatch.context() as patch:
            patch.setattr("otel_atm.store.store.drain", broken)
            chat(oai)
            assert blank.processor is not None
            assert not blank.processor.force_flush()
        assert len(blank.rows()) == 1  # nothing was lost by it


def test_an_error_type_that_is_no_identifier_is_not_kept(blank: Program) -> None:
    blank.meter(PLENTY)
    tracer = blank.provider.get_tracer("app")
    for error_type in (secret("could not read"), f"{secret('a')} b", "x" * 999 + MARK, MARK + "\n"):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": GPT}
        tracer.start_span("chat", attributes={**attributes, "error.type": error_type}).end()
    rows = blank.rows()
    assert [row["attributes"] for row in rows] == [{"error.type": "_OTHER"}] * 4
    assert_clean(dump(blank))


def test_a_reader_does_not_quote_what_it_could_not_drain(
    program: Program, server: ProviderServer, oai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat(oai)
    assert len(program.rows()) == 1

    def broken(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device", secret("file"))

    monkeypatch.setattr("otel_atm.store.reader.drain", broken)
    program.trouble = ["without the newest events"]
    assert len(program.rows()) == 1
