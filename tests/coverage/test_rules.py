"""What becomes of the calls of each client, with guards and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from otel_atm.coverage.diagnosis import Diagnosis, Finding
from otel_atm.coverage.examine import judge
from otel_atm.coverage.instrumentations import INSTRUMENTATIONS, Instrumentation
from otel_atm.coverage.scene import Scene

GUARDABLE = frozenset(("httpx", "httpx2", "openai", "anthropic"))

GENAI = "opentelemetry-instrumentation-genai-openai"
GENAI_ANTHROPIC = "opentelemetry-instrumentation-genai-anthropic"
TRACELOOP = "opentelemetry-instrumentation-openai"
V2 = "opentelemetry-instrumentation-openai-v2"
OPEN_INFERENCE = "openinference-instrumentation-openai"
GOOGLE = "opentelemetry-instrumentation-google-genai"
VERTEX = "opentelemetry-instrumentation-vertexai"


def scene(
    versions: Mapping[str, str], *, environ: Mapping[str, str] | None = None, **more: Any
) -> Scene:
    return Scene(versions, more.pop("guardable", GUARDABLE), environ or {}, **more)


def found(scene: Scene) -> dict[str, Finding]:
    return {finding.name: finding for finding in judge(scene)}


def states(versions: Mapping[str, str], name: str, **more: Any) -> tuple[str, str]:
    """Of one finding: with guards, without."""
    with_guards = found(scene(versions, guards=True, **more))[name].state
    return with_guards, found(scene(versions, guards=False, **more))[name].state


@pytest.mark.parametrize(
    ("versions", "name", "expected"),
    [
        ({"openai": "3.1"}, "openai", ("enforced", "unseen")),
        ({"openai": "3.1", GENAI: "1"}, "openai", ("enforced", "enforced")),
        ({"openai": "3.1", GENAI: "1"}, GENAI, ("enforced", "enforced")),
        ({"openai": "3.1", OPEN_INFERENCE: "1"}, "openai", ("enforced", "metered")),
        ({"openai": "3.1", OPEN_INFERENCE: "1"}, OPEN_INFERENCE, ("enforced", "metered")),
        ({"openai": "3.1", GENAI: "1", OPEN_INFERENCE: "1"}, "openai", ("enforced", "metered")),
        ({"openai": "3.1", TRACELOOP: "0.62"}, "openai", ("enforced", "unseen")),
        ({"openai": "0.28"}, "openai", ("unseen", "unseen")),
        ({"openai": "?"}, "openai", ("enforced", "unseen")),
        ({"google-cloud-aiplatform": "1"}, "google-cloud-aiplatform", ("unseen", "unseen")),
        (
            {"google-cloud-aiplatform": "1", VERTEX: "1"},
            "google-cloud-aiplatform",
            ("metered", "metered"),
        ),
        ({"google-cloud-aiplatform": "1", VERTEX: "1"}, VERTEX, ("metered", "metered")),
        ({"google-genai": "3.4"}, "google-genai", ("enforced", "unseen")),
        ({"google-genai": "3.4", "aiohttp": "3"}, "google-genai", ("unseen", "unseen")),
        ({"google-genai": "2.34", GOOGLE: "1"}, "google-genai", ("enforced", "metered")),
        ({"together": "1.5"}, "together", ("unseen", "unseen")),
        ({"together": "3.1"}, "together", ("enforced", "unseen")),
        ({"azure-ai-inference": "1.0b9"}, "azure-ai-inference", ("unseen", "unseen")),
        ({"boto3": "1.40"}, "boto3", ("unseen", "unseen")),
        ({"openai": "3", "langchain-openai": "1"}, "langchain-openai", ("enforced", "unseen")),
        ({"transformers": "5"}, "transformers", ("fine", "fine")),
    ],
)
def test_a_state(versions: dict[str, str], name: str, expected: tuple[str, str]) -> None:
    assert states(versions, name) == expected


@pytest.mark.parametrize(
    ("instrumentation", "client", "last"), [(V2, "openai", "2.9"), (GOOGLE, "google-genai", "2.9")]
)
def test_an_instrumentation_that_makes_no_spans_of_a_new_client_is_named(
    instrumentation: str, client: str, last: str
) -> None:
    old, new = {instrumentation: "1", client: last}, {instrumentation: "1", client: "3.4"}
    said = found(scene(new, guards=False))[client]
    assert said.state == "unseen"
    assert said.why == f"{instrumentation} makes no spans of {client} 3"
    assert said.do == "turn guards on: init(guards=True)"
    assert said.why not in found(scene(old, guards=False))[client].why
    assert states(new, instrumentation) == ("enforced", "unseen")


def test_a_client_is_guarded_once_guards_know_its_transport() -> None:
    known = GUARDABLE | {"botocore", "aiohttp"}
    assert states({"boto3": "1.40"}, "boto3", guardable=known) == ("enforced", "unseen")
    versions = {"google-genai": "3.4", "aiohttp": "3"}
    assert states(versions, "google-genai", guardable=known) == ("enforced", "unseen")
    assert "aiohttp" not in found(scene(versions, guardable=known))


def test_spans_of_the_anthropic_client_alone_pass_over_refusals() -> None:
    native, alone = "anthropic (spans of its own)", {"anthropic": "2.12"}
    outer = alone | {GENAI_ANTHROPIC: "1"}
    assert states(alone, "anthropic", native_spans=True) == ("enforced", "metered")
    assert states(alone, native, native_spans=True) == ("enforced", "metered")
    assert states(outer, "anthropic", native_spans=True) == ("enforced", "enforced")
    assert states(outer, native, native_spans=True) == ("enforced", "enforced")


def test_an_instrumentation_without_its_client_and_a_framework_without_one_say_nothing() -> None:
    assert found(scene({GENAI: "1", "langchain-openai": "1", OPEN_INFERENCE: "1"})) == {}


def test_an_instrumentation_of_a_framework_is_seen_to_by_guards() -> None:
    name = "openinference-instrumentation-langchain"
    assert states({name: "1"}, name) == ("enforced", "metered")
    assert found(scene({name: "1"}))[name].why == "passes over refusals; guards see to it"


def test_a_version_that_was_not_tested_is_said() -> None:
    assert found(scene({"openai": "3.9"}))["openai"].why.endswith("with httpx2")
    assert found(scene({"openai": "9.0"}))["openai"].why.endswith(
        "; tested with 2 and 3, not with 9"
    )
    assert found(scene({"perplexityai": "1.7"}))["perplexityai"].why.endswith(
        "; not tested with this client"
    )


def test_what_to_do_where_no_guard_helps_is_another_client_or_admit() -> None:
    for guards in (True, False):
        said = found(scene({"google-cloud-aiplatform": "1"}, guards=guards))
        assert said["google-cloud-aiplatform"].do == (
            "budget its calls with otel_atm.admit, "
            "or use google-genai, which speaks to Vertex AI, too"
        )


def test_other_ways_to_send_are_told_and_decide_nothing() -> None:
    there = scene(
        {"openai": "3.1", "requests": "2", "grpcio": "1", "websockets": "15", "httpx": "1"}
    )
    beside = [each for each in judge(there) if each.part == "beside"]
    assert [each.name for each in beside] == [
        "requests",
        "grpcio",
        "websockets",
        "openai: batches, Realtime over websockets",
    ]
    assert {each.counts for each in beside} == {False}
    assert Diagnosis(True, tuple(judge(there))).state == "enforced"


def test_in_a_process_only_what_is_loaded_and_on_decides() -> None:
    def active(each: Instrumentation) -> bool:
        return each.name == GENAI

    versions = {"openai": "3.1", "cohere": "7", GENAI: "1", OPEN_INFERENCE: "1"}
    assert {GENAI, OPEN_INFERENCE} <= {each.name for each in INSTRUMENTATIONS}
    here = scene(versions, guards=False, loaded=lambda name: name == "openai", active=active)
    said = found(here)
    assert (said["openai"].state, said["openai"].loaded) == ("enforced", True)
    assert (said["cohere"].loaded, said["cohere"].counts) == (False, False)
    assert (said[OPEN_INFERENCE].loaded, said[OPEN_INFERENCE].counts) == (False, False)
    assert Diagnosis(False, tuple(judge(here))).state == "enforced"


def test_a_client_that_cannot_be_guarded_in_its_version_is_told() -> None:
    here = scene(
        {"openai": "3.1"}, guardable=GUARDABLE - {"httpx2"}, unguardable=frozenset(("httpx2",))
    )
    assert found(here)["openai"].state == "unseen"
    assert "cannot be guarded in this version" in found(here)["openai"].why


# Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, {"OTEL_SDK_DISABLED": ("fine", "unseen")}),
        ({"OTEL_SDK_DISABLED": "false"}, {}),
        (
            {"OTEL_TRACES_SAMPLER": "always_off"},
            {"OTEL_TRACES_SAMPLER=always_off": ("fine", "unseen")},
        ),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, {}),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
            {"OTEL_TRACES_SAMPLER=traceidratio": ("fine", "unseen")},
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, {}),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, {}),
        (
            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "8"},
            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("fine", "fine")},
        ),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "128"}, {}),
    ],
)
def test_a_setting_that_takes_spans_away_is_told(
    environ: dict[str, str], expected: dict[str, tuple[str, str]]
) -> None:
    on, off = (found(scene({}, environ=environ, guards=guards)) for guards in (True, False))
    assert {name: (on[name].state, off[name].state) for name in on} == expected
    assert on.keys() == off.keys()


def test_a_sampler_that_is_wrapped_takes_nothing_away() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "always_off"}
    said = found(scene({}, environ=environ, guards=False, sampler_wrapped=True))
    assert said["OTEL_TRACES_SAMPLER=always_off"].state == "fine"


def test_a_process_has_a_sampler_and_its_variable_does_not_matter() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "always_off"}
    assert found(scene({}, environ=environ, guards=False, loaded=lambda _: False)) == {}


def test_two_instrumentations_of_one_client_are_told() -> None:
    said = found(scene({"openai": "3.1", GENAI: "1", OPEN_INFERENCE: "1"}))
    assert said["openai, 2 times"].why == (
        f"{GENAI}, {OPEN_INFERENCE} all make spans of its calls; each call is counted once"
    )
