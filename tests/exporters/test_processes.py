"""Processes that export: killed, forked, and under ``opentelemetry-instrument``."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.exporters.conftest import events, query
from tests.exporters.writer import BATCH
from tests.installed import ROOT, install_entry_points
from tests.no_code import Run, instrumented


@pytest.mark.parametrize("round_", range(2))
def test_what_was_exported_survives_a_kill_exactly_once(path: Path, round_: int) -> None:
    command = [sys.executable, "-m", "tests.exporters.writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [next(writer.stdout) for _ in range(random.Random(round_).randint(5, 60))]
        writer.kill()
        said += list(writer.stdout)
    taken = {kind: int(number) for kind, number in map(str.split, said)}
    spans = query(
        path,
        "select input_tokens as number, count(*) as rows, count(distinct event_id) as ids "
        "from usage_events group by 1 order by 1",
    )
    assert [row["number"] for row in spans][: taken["spans"]] == [*range(1, taken["spans"] + 1)]
    whole = spans[: taken["spans"]]
    assert {(row["rows"], row["ids"]) for row in whole} == {(BATCH, BATCH)}
    (exports,) = query(path, "select sum(value)::int as n, count(*) as points from metric_points")
    assert exports["n"] == exports["points"] in (taken["metrics"], taken["metrics"] + 1)


FORKING = """
import os, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
import otel_atm as atm
from tests.conftest import CHAT, USED

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(atm.DuckDBSpanExporter(sys.argv[1])))
meters = MeterProvider([PeriodicExportingMetricReader(atm.DuckDBMetricExporter(sys.argv[1]))])
counter = meters.get_meter("meter").create_counter("calls")

def call():
    tracers.get_tracer("openai").start_span("chat", attributes={**CHAT, **USED}).end()
    counter.add(1, {"pid": str(os.getpid())})

call()
tracers.force_flush()
meters.force_flush()
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        for _ in range(10):
            call()
        tracers.shutdown()
        meters.shutdown()
        os._exit(0)
    children.append(child)
call()
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_forked_workers_keep_their_own(path: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FORKING, "utf-8")
    done = subprocess.run(
        [sys.executable, program, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[0, 0, 0, 0]\n"), done.stderr
    assert len(events(path)) == 42
    counted = query(
        path,
        "select attributes.pid::varchar as pid, count(distinct writer) as writers, "
        "sum(value)::int as calls from metric_points where name = 'calls' group by 1 order by 3",
    )
    assert [row["calls"] for row in counted][1:] == [10] * 4


PROGRAM = """
import sys
import openai
from opentelemetry import trace

client = openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0)
for _ in range(2):
    answer = client.chat.completions.create(
        model="gpt-5.1", messages=[{"role": "user", "content": "a secret"}]
    )
    print(answer.usage.prompt_tokens, answer.usage.completion_tokens)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs it with the exporters of this project."""
    return instrumented(
        tmp_path,
        PROGRAM,
        OTEL_TRACES_EXPORTER="atm_duckdb",
        OTEL_METRICS_EXPORTER="atm_duckdb",
        OTEL_SERVICE_NAME="shop",
    )


@pytest.mark.parametrize(
    "variables",
    [{}, {"ATM_DB": "tokens.duckdb"}],
    ids=["exporters alone", "beside a processor"],
)
def test_no_code_keeps_each_call_once(run: Run, path: Path, variables: dict[str, str]) -> None:
    with ProviderServer() as server:
        done = run(server.openai_url, **variables)
    assert done.returncode == 0, done.stderr
    assert "otel-atm" not in done.stderr
    used = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    rows = events(path)
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == used
    assert {(row["service"], row["model"], row["status"]) for row in rows} == {
        ("shop", "gpt-5.1", "ok")
    }
    usage = query(
        path, "select sum(calls) as calls, bool_and(in_events) as seen from metric_usage_1m"
    )
    assert usage == [{"calls": 2, "seen": True}]
    assert "a secret" not in str(query(path, "from metric_points")) + str(rows)


def test_variables_name_another_file(run: Run, tmp_path: Path) -> None:
    with ProviderServer() as server:
        done = run(
            server.openai_url,
            ATM_DB="other.duckdb",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otel_atm",
        )
    assert done.returncode == 0, done.stderr
    assert {row["source"] for row in events(tmp_path / "other.duckdb")} == {"span"}


def test_init_takes_them_from_the_environment_too(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from otel_atm.environment import exporters

    place = tmp_path / "site"
    install_entry_points(place / "otel_atm-0.dist-info")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("ATM_DB", str(path))
    (exporter,) = exporters("traces", {"OTEL_TRACES_EXPORTER": "atm_duckdb"})
    assert isinstance(exporter, atm.DuckDBSpanExporter)
