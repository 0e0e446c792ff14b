"""What all commands have in common, and `otel-atm drain`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import otel_atm
from otel_atm.store.points import put_points
from tests.cli.conftest import Run

DIES = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from otel_atm import TokenSpanProcessor

provider = TracerProvider()
provider.add_span_processor(TokenSpanProcessor(store=sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with provider.get_tracer("openai").start_as_current_span(
        "chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    ) as span:
        span.set_attribute("gen_ai.usage.input_tokens", 11)
os._exit(0)
"""
POINT = (
    b'{"time_ns":1767225600000000000,"name":"queue","kind":"gauge","value":1.5,"attributes":{},'
    b'"resource":{},"series":"s","writer":"w"}\n'
)


INTERRUPTED = """
import os, signal, threading
import click, duckdb
from otel_atm.cli_common import Commands

@click.group(cls=Commands)
def main(): ...

@main.command()
def long():
    # whoever runs the tests in the background may have it ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    # a thread of its own would keep DuckDB from seeing the signal, now and then
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("select sum(range) from range(1_000_000_000_000)").fetchall()

main(["long"])
"""


def spool_calls(path: Path, calls: int) -> None:
    """Leave the rows of some calls beside a file, as a process that is killed does."""
    python("-c", DIES, str(path), str(calls))


def set_aside(folder: Path, calls: int) -> Path:
    """The rows of some calls as a file that could not be read."""
    spool_calls(folder / "tokens.duckdb", calls)
    (segment,) = (folder / "tokens.duckdb.spool").iterdir()
    return segment.rename(segment.with_name(f"{segment.name}.bad"))


def python(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(otel_atm.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_there_for_all_and_each(run: Run) -> None:
    assert run("--help").exit_code == 0
    for command in ("demo", "drain", "report"):
        assert command in run("-h").stdout
        assert run(command, "--help").exit_code == 0


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("--version").stdout == f"otel-atm {otel_atm.__version__}\n"


def test_it_runs_as_a_module_too() -> None:
    python("-m", "otel_atm", "--version")


def test_ctrl_c_in_the_midst_of_a_query_ends_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "\nAborted!\n")


def test_help_imports_neither_the_sdk_nor_duckdb() -> None:
    code = (
        "import sys; from otel_atm.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'duckdb', 'openai', 'opentelemetry.sdk', 'plotly', 'starlette'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    python("-c", code)


def test_drain_says_how_many_rows_it_took(run: Run, tmp_path: Path) -> None:
    spool_calls(tmp_path / "tokens.duckdb", 3)
    assert run("drain").stdout == "3 rows taken into tokens.duckdb\n"
    assert run("drain").stdout == "0 rows taken into tokens.duckdb\n"
    assert json.loads(run("report", "--json").stdout)["totals"]["calls"] == 3


def test_drain_says_it_in_json_too(run: Run, tmp_path: Path) -> None:
    spool_calls(tmp_path / "tokens.duckdb", 1)
    assert json.loads(run("drain", "--json").stdout) == {
        "database": str(tmp_path / "tokens.duckdb"),
        "rows": 1,
        "waiting_bytes": 0,
        "aside": 0,
    }


def test_drain_takes_in_metrics_that_wait_alone(run: Run, tmp_path: Path) -> None:
    put_points(tmp_path / "tokens.duckdb.spool", POINT)
    assert run("drain").exit_code == 0
    with otel_atm.connect("tokens.duckdb") as db:
        assert db.sql("select name, value from metric_points").fetchall() == [("queue", 1.5)]


class TestRetry:
    """`otel-atm drain --retry`."""

    def test_takes_in_what_was_kept_aside(self, run: Run, tmp_path: Path) -> None:
        bad = set_aside(tmp_path, 2)
        assert run("drain").stdout == (
            "0 rows taken into tokens.duckdb; 1 file could not be read, kept aside\n"
        )
        assert run("drain", "--retry").stdout == "2 rows taken into tokens.duckdb\n"
        assert run("drain", "--retry").stdout == "0 rows taken into tokens.duckdb\n"
        assert not bad.exists()
        assert json.loads(run("report", "--json").stdout)["totals"]["calls"] == 2

    def test_says_what_still_cannot_be_read(self, run: Run, tmp_path: Path) -> None:
        bad = set_aside(tmp_path, 2)
        bad.write_bytes(bad.read_bytes().replace(b",null,0]", b"?,null,0]"))
        assert json.loads(run("drain", "--retry", "--json").stdout) == {
            "database": str(tmp_path / "tokens.duckdb"),
            "rows": 0,
            "waiting_bytes": 0,
            "aside": 1,
        }
        assert bad.exists()

    def test_without_a_store_is_an_error(self, run: Run, tmp_path: Path) -> None:
        assert run("drain", "--retry").exit_code == 1
        assert not list(tmp_path.iterdir())


def test_drain_without_a_store_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("drain")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: 'tokens.duckdb' does not exist, and nothing waits to be taken into it\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_operating_system_has_no_traceback(run: Run, tmp_path: Path) -> None:
    spool_calls(tmp_path / "tokens.duckdb", 1)
    (tmp_path / "tokens.duckdb.lock").mkdir()
    result = run("drain")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "tokens.duckdb.lock" in result.stderr
