"""`otel-atm demo`: what it shows is true, and it harms nobody's file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import time_ns
from typing import NamedTuple

import duckdb
import pytest
from click.testing import CliRunner, Result
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm
from otel_atm import Reader, handle
from otel_atm.charts.table import columns_of
from otel_atm.cli import main
from otel_atm.demo import provider as stand_in
from otel_atm.demo.agent import _FOUND, _INSTRUCTIONS
from otel_atm.demo.cast import BUDGETS, CAST
from otel_atm.pricing import Prices, usd
from otel_atm.testing import ProviderServer, Tokens
from tests.charts.conftest import FILL, ROLL_UP, make_file
from tests.cli.conftest import Run


class Demo(NamedTuple):
    result: Result
    path: Path
    requests: int
    told: Tokens
    db: Reader


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """One run, and what the provider saw of it."""
    folder = tmp_path_factory.mktemp("demo")
    path = folder / "demo.duckdb"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        server = stand_in.provider()
        patch.setattr(stand_in, "provider", lambda: server)
        result = CliRunner().invoke(main, ["demo", "--fast"])
    assert result.exception is None, result.output
    return Demo(result, path, server.requests, server.total_told(), otel_atm.connect(path))


def test_it_ends_well_and_says_nothing_on_stderr(demo: Demo) -> None:
    assert (demo.result.exit_code, demo.result.stderr) == (0, "")


def test_requests_that_reached_the_provider_are_the_calls_that_were_let_through(
    demo: Demo,
) -> None:
    decisions = demo.db.sql(
        "select decision, sum(calls)::int from usage_events group by all order by all"
    ).fetchall()
    assert decisions == [("allowed", demo.requests), ("refused", 4)]


def test_the_file_holds_what_the_provider_told(demo: Demo) -> None:
    (sums,) = demo.db.sql(
        "select sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), "
        "sum(cache_write_tokens), sum(reasoning_tokens), count(*) filter (estimated) "
        "from usage_events"
    ).fetchall()
    told = demo.told
    assert sums == (told.input, told.output, told.cache_read, 0, told.reasoning, 0)
    assert min(told.cache_read, told.reasoning) > 0


def test_what_it_cost_is_the_price_of_what_the_provider_told(demo: Demo) -> None:
    rows = demo.db.sql(
        "select provider, model, sum(input_tokens)::bigint, sum(output_tokens)::bigint, "
        "sum(cache_read_tokens)::bigint, sum(reasoning_tokens)::bigint, sum(cost_usd), "
        "min(price_version) from usage_events group by all"
    ).fetchall()
    prices, now_ns = Prices(), time_ns()
    for provider, model, given, made, read, reasoning, cost, version in rows:
        price = prices.find(provider, model, now_ns)
        assert price is not None
        wanted = usd(price.cost((given, made, read, 0, reasoning), now_ns))
        assert (cost, version) == (pytest.approx(wanted), price.version)
    total = sum(cost for *_, cost, _ in rows)
    assert f"  cost      {total:.4f} USD\n" in demo.result.stdout


def test_a_user_and_a_team_run_out_and_the_others_go_on(demo: Demo) -> None:
    refused = demo.db.sql(
        "select budget, team, user_id, calls, total_tokens from usage_events "
        "where decision = 'refused' order by ts"
    ).fetchall()
    of_user, of_team = BUDGETS
    ann = (of_user, "research", "ann", 1, 0)
    dan = (of_team, "support", "dan", 1, 0)
    assert refused == [ann, dan, ann, dan]
    ((last_allowed,),) = demo.db.sql(
        "select arg_max(user_id, ts) from usage_events where decision = 'allowed'"
    ).fetchall()
    assert last_allowed == "eve"


def test_all_people_models_and_kinds_of_calls_take_part(demo: Demo) -> None:
    (found,) = demo.db.sql(
        "select count(distinct user_id), count(distinct team), count(distinct model), "
        "count(distinct app), count(ttft_us) > 0 from usage_events"
    ).fetchall()
    assert found == (len(CAST), 3, 3, 1, True)


def test_it_shows_each_step_the_refusals_and_the_check(demo: Demo) -> None:
    shown = demo.result.stdout
    assert shown.count("REFUSED  nothing was sent") == 4
    assert "user='ann' asked for 1000 tokens, 0 of 3000 left " in shown
    tokens = demo.told.input + demo.told.output
    for counted, what in ((demo.requests, "requests"), (tokens, "tokens")):
        line = f"the provider counted {counted:,} {what}; the file holds {counted:,} {what}: equal"
        assert line in shown
    assert "passed by at most 53 tokens" in shown


def test_it_fits_100_columns_but_for_commands_and_paths(demo: Demo) -> None:
    shown, _, after = demo.result.stdout.partition("\nDuckDB file\n")
    assert after
    assert [
        line
        for line in shown.splitlines()
        if columns_of(line) > 100 and not line.startswith("  file  ")
    ] == []


def test_the_report_from_the_file_is_the_demos(demo: Demo, run: Run) -> None:
    os.chdir(demo.path.parent)
    again = run("report", "--db", "demo.duckdb").stdout
    report, _, following = again.partition("\nDuckDB file\n")
    assert report.startswith("Totals\n")
    assert report.rstrip() in demo.result.stdout
    assert demo.result.stdout.endswith(following)


def test_nothing_that_was_said_is_in_the_file(demo: Demo) -> None:
    stored = demo.path.read_bytes()
    for text in (_INSTRUCTIONS[:40], _FOUND[:40], "Please compare"):
        assert text.encode() not in stored


def test_it_leaves_the_process_as_it_was(demo: Demo) -> None:
    assert not OpenAIInstrumentor().is_instrumented_by_opentelemetry
    assert handle._handle is None


def test_the_next_run_starts_with_a_fresh_file(demo: Demo, run: Run) -> None:
    assert run("demo", "--fast").exit_code == 0
    first = json.loads(run("report", "--json", "--db", "demo.duckdb").stdout)
    assert run("demo", "--fast").exit_code == 0
    second = json.loads(run("report", "--json", "--db", "demo.duckdb").stdout)
    assert first["by_user_model"] == second["by_user_model"]
    assert first["totals"]["first_ts"] < second["totals"]["first_ts"]


def test_what_the_environment_says_of_networks_does_not_matter(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_TRACES_SAMPLER": "always_off",
        "ATM_DB": "precious.duckdb",
    }.items():
        monkeypatch.setenv(name, value)
    assert run("demo", "--fast").exit_code == 0
    assert not Path("precious.duckdb").exists()


def test_without_spans_it_says_why_there_is_nothing_to_see(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    result = run("demo", "--fast")
    assert result.exit_code == 1
    assert "OTEL_SDK_DISABLED is set" in result.stderr


def unchanged(run: Run, path: Path, reason: str) -> None:
    before = path.read_bytes()
    result = run("demo", "--fast", "--db", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"stays as it is: {reason}" in result.stderr
    assert path.read_bytes() == before


def test_a_file_with_rows_of_others_is_left_alone(run: Run, tmp_path: Path) -> None:
    unchanged(
        run,
        make_file(tmp_path / "mine.duckdb", FILL, ROLL_UP),
        "it holds 7 rows of other programs; name another: --db",
    )


def test_a_file_with_tables_of_others_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = make_file(tmp_path / "mine.duckdb", "create table mine as select 1 as one")
    unchanged(run, path, "it has other tables")


def test_a_file_of_another_kind_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("dear diary")
    unchanged(run, path, "it is no file of a demo")
    with duckdb.connect(tmp_path / "mine.duckdb") as connection:
        connection.execute("create table mine as select 1 as one")
    unchanged(run, tmp_path / "mine.duckdb", "it is no file of a demo")


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    result = run("demo", "--fast")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the demo needs openai, which is not installed: pip install 'otel-atm[demo]'\n"
    )


def test_a_file_that_disagrees_with_the_provider_is_said_and_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Miscounting(ProviderServer):
        @property
        def requests(self) -> int:
            return super().requests + 1

    monkeypatch.setattr(stand_in, "ProviderServer", Miscounting)
    result = run("demo", "--fast")
    assert result.exit_code == 1
    assert "NOT EQUAL" in result.stdout
    assert result.stderr.startswith("Error: the file disagrees with the provider")


def test_seconds_are_a_number(run: Run) -> None:
    ran = run("demo", "--seconds", "nan")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "nan: expected a number" in ran.stderr
