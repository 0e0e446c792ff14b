"""The harness itself, in this interpreter: the plain client, and ways that fail on purpose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.conformance import catalog, page
from tests.conformance.harness import Harness, Way, spending
from tests.conformance.runner import Trial
from tests.conformance.trial import meter

ASKING = {"model": "gpt-5.1", "messages": [{"role": "user", "content": ""}]}


@pytest.fixture
def server() -> Any:
    with ProviderServer(spending) as running:
        yield running


def judged(mode: str, folder: Path, server: ProviderServer, way: Way) -> dict[str, Any]:
    """What the harness says of a way that is metered as a mode says."""
    provider, store = TracerProvider(shutdown_on_exit=False), folder / "tokens.duckdb"
    processor = meter(mode, provider, store)
    try:
        harness = Harness(processor, provider, server, store)
        harness.try_way("way", way)
        found, strays = harness.results()
    finally:
        processor.retire()
    assert strays == {"strays": 0}
    return found


def asking(server: ProviderServer, times: int = 1) -> Callable[[str], None]:
    """Chats over plain HTTP."""

    def run(text: str) -> None:
        messages = [{"role": "user", "content": text}]
        with httpx.Client() as client:
            for _ in range(times):
                url = f"{server.openai_url}/chat/completions"
                client.post(url, json=ASKING | {"messages": messages}).raise_for_status()

    return run


def test_all_ways_of_the_plain_client_pass_in_this_interpreter() -> None:
    trial = Trial("plain_openai", "doors", sys.executable).run()
    assert trial.failures == []
    assert len(trial.results) == 32
    refused = [one["refused"].values() for one in trial.results.values()]
    assert {tuple(one["raised"]) for both in refused for one in both} == {("TokenQuotaExceeded",)}


def test_a_way_that_is_guarded_passes(tmp_path: Path, server: ProviderServer) -> None:
    found = judged("guards", tmp_path, server, Way(asking(server)))
    assert found["failed"] == {}
    assert (found["requests"], found["rows"], found["attempts"]) == (2, 2, 2)


def test_a_way_that_nobody_sees_is_neither_counted_nor_stopped(
    tmp_path: Path, server: ProviderServer
) -> None:
    found = judged("spans", tmp_path, server, Way(asking(server)))
    assert set(found["failed"]) == {"counted", "tokens", "blocked", "refused once", "seen"}
    assert found["failed"]["counted"] == "0 rows, 0 attempts for 2 calls"


def test_a_way_that_sends_more_than_it_says_is_seen(tmp_path: Path, server: ProviderServer) -> None:
    found = judged("guards", tmp_path, server, Way(asking(server, times=2)))
    assert found["failed"]["counted"] == "4 requests instead of 2"
    assert "TokenQuotaExceeded" in found["failed"]["fits"]


def test_a_reason_turns_a_failure_into_what_cannot_be(
    tmp_path: Path, server: ProviderServer
) -> None:
    way = Way(asking(server), told=False, cannot={"tokens": "it says so"})
    found = judged("guards", tmp_path, server, way)
    assert (found["failed"], found["cannot"]) == ({}, {"tokens": "it says so"})


def test_a_way_that_swallows_the_refusal_is_seen(tmp_path: Path, server: ProviderServer) -> None:
    def run(text: str) -> None:
        try:
            asking(server)(text)
        except atm.TokenQuotaExceeded:
            return

    found = judged("guards", tmp_path, server, Way(run))
    assert set(found["failed"]) == {"seen"}


def test_a_way_that_ends_its_process_is_named_and_the_others_are_tried(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        """#!/bin/sh
        if [ "$5" ]; then  # ways are named: the second process
            echo '{"ways": ["good"]}'
            echo '{"way": "good", "failed": {}}'
            echo '{"strays": 0}'
        else
            echo '{"ways": ["bad", "good"]}'
            echo '{"begins": "bad"}'
            echo oh >&2
            exit 1
        fi
        """
    )
    python.chmod(0o755)
    trial = Trial("any", "doors", python).run()
    assert trial.failures == ["bad: ended: it hung or crashed: oh"]
    assert list(trial.results) == ["bad", "good"]


@pytest.mark.parametrize("env", sorted({probe.env for probe in catalog.probes().values()}))
def test_an_environment_is_locked(env: str) -> None:
    lines = catalog.lock_file(env).read_text().splitlines()
    assert [line for line in lines if "==" not in line] == []
    assert not any(line.lower().startswith(("otel-atm", "otel_atm")) for line in lines)


@pytest.mark.parametrize("probe", catalog.probes().values(), ids=lambda probe: probe.name)
def test_a_probe_is_on_the_page_with_its_versions(probe: catalog.Probe) -> None:
    written = page.PAGE.read_text()
    assert f"`{probe.name}`" in written
    assert f"- {probe.title}: {probe.versions}; " in written


def test_the_page_is_what_the_results_make() -> None:
    assert page.PAGE.read_text() == page.text(page.kept())
