"""The warning of the start: once, and only of what is in use."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from otel_atm.coverage import startup
from otel_atm.coverage.instrumentations import INSTRUMENTATIONS, Instrumentation
from otel_atm.coverage.startup import not_enforced

SWALLOWING = next(
    each for each in INSTRUMENTATIONS if each.name == "openinference-instrumentation-langchain"
)


def turn_on(each: Instrumentation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its instrumentor looks once it is on."""
    module, _, name = each.switch.partition(":")
    loaded = ModuleType(module)
    on = SimpleNamespace(_is_instrumented_by_opentelemetry=True)
    setattr(loaded, name, type(name, (), {"_instance": on}))
    monkeypatch.setitem(sys.modules, module, loaded)


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process load clients."""
    monkeypatch.delitem(sys.modules, "anthropic._tracing", raising=False)
    monkeypatch.setattr(startup, "_said", False)


def said(*, guards: bool, environ: dict[str, str] | None = None) -> list[str]:
    return list(not_enforced(guards=guards, environ=environ or {}))


def test_an_instrumentation_that_passes_over_refusals_is_told_where_guards_are_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(guards=False) == []
    turn_on(SWALLOWING, monkeypatch)
    assert said(guards=False) == [
        "openinference-instrumentation-langchain passes over refusals, and guards are off"
    ]
    assert said(guards=True) == []


def test_a_client_without_guard_is_told_with_guards_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "vertexai.generative_models", ModuleType("vertexai.generative_models")
    )
    expected = ["google-cloud-aiplatform sends with grpcio, on which there is no guard"]
    assert said(guards=True) == said(guards=False) == expected


def test_a_whole_cloud_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", ModuleType("boto3"))
    assert said(guards=True) == []


def test_spans_of_the_anthropic_client_are_told_where_nobody_elses_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in startup._OUTER:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "anthropic._tracing", ModuleType("anthropic._tracing"))
    assert len(said(guards=False)) == 1
    assert said(guards=True) == []
    assert said(guards=False, environ={"ANTHROPIC_OPEN_TELEMETRY": "false"}) == []
    monkeypatch.setitem(sys.modules, startup._OUTER[0], ModuleType(startup._OUTER[0]))
    assert said(guards=False) == []


def test_it_is_said_once_and_only_where_there_are_budgets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turn_on(SWALLOWING, monkeypatch)
    startup.warn_if_not_enforced(guards=False, budgets=False)
    startup.warn_if_not_enforced(guards=True, budgets=True)
    assert caplog.messages == []
    for _ in range(2):
        startup.warn_if_not_enforced(guards=False, budgets=True)
    (message,) = caplog.messages
    assert message == (
        "otel-atm: budgets do not stop all calls here: openinference-instrumentation-langchain "
        "passes over refusals, and guards are off. Run `otel-atm doctor`"
    )


def test_a_fault_of_its_own_stays_inside(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(startup, "is_loaded", None)
    startup.warn_if_not_enforced(guards=False, budgets=True)
    startup.warn_if_not_enforced(guards=False, budgets=True)
    assert caplog.messages == ["otel-atm: the start-up check failed: TypeError"]


PROGRAM = """
import logging, sys
logging.basicConfig(format="%(message)s")
{imports}
import otel_atm as atm
from otel_atm import handle  # and all that stands under it
before = set(sys.modules)
from otel_atm.coverage.startup import not_enforced
list(not_enforced(guards=False, environ={{}}))
assert set(sys.modules) == before, set(sys.modules) - before
for _ in range(2):
    atm.TokenSpanProcessor(["5 tokens / day"], "memory", guards={guards})
"""

GENAI = "from opentelemetry.instrumentation.genai.{0} import {1}Instrumentor as {1}"


@pytest.mark.parametrize(
    ("imports", "guards", "lines"),
    [
        (f"import openai\n{GENAI.format('openai', 'OpenAI')}\nOpenAI().instrument()", True, 0),
        (f"import openai\n{GENAI.format('openai', 'OpenAI')}\nOpenAI().instrument()", False, 0),
        (f"import anthropic\n{GENAI.format('anthropic', 'Anthropic')}", False, 0),
        ("import anthropic", True, 0),
        ("import anthropic", False, 1),
        ("", False, 0),
    ],
)
def test_a_real_program_is_warned_or_not(imports: str, guards: bool, lines: int) -> None:
    program = PROGRAM.format(imports=imports, guards=guards)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    warned = [line for line in ran.stderr.splitlines() if "otel-atm" in line]
    assert len(warned) == lines, ran.stderr
