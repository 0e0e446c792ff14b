"""The command line. Commands import what they need when they run, so that ``--help`` is fast."""

from __future__ import annotations

import os
import sys

import click

from otel_atm._version import __version__
from otel_atm.cli_budgets import budgets
from otel_atm.cli_common import Commands, as_json_option, echo_json
from otel_atm.cli_doctor import doctor
from otel_atm.cli_tokenizers import tokenizers
from otel_atm.errors import StoreError

_db = click.option(
    "--db",
    envvar="ATM_DB",
    show_envvar=True,
    default="tokens.duckdb",
    show_default=True,
    metavar="PATH",
    type=click.Path(dir_okay=False),
    help="The DuckDB file.",
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otel-atm", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Token metering and hard token budgets for LLM calls, the OpenTelemetry way."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):  # a terminal without a "─" still gets its report
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@main.command()
@click.option(
    "--db",
    default="demo.duckdb",
    show_default=True,
    metavar="PATH",
    type=click.Path(dir_okay=False),
    help="The DuckDB file; made anew. A file with rows of other programs is left alone.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    default=6.0,
    show_default=True,
    help="How long to take, so that it can be watched.",
)
@click.option("--fast", is_flag=True, help="Take no time: --seconds 0.")
def demo(db: str, seconds: float, fast: bool) -> None:
    """Watch several users spend tokens, and budgets refuse some of them.

    A real OpenAI client, instrumented, against a provider of our own on this machine: no key, no
    network, no cost.
    """
    from otel_atm.demo.program import run

    run(db, 0 if fast else seconds)


@main.command()
@_db
@as_json_option
def report(db: str, as_json: bool) -> None:
    """Say who spent how many tokens on what, and who was refused."""
    from otel_atm import report as reports

    found = reports.read(db)
    if as_json:
        echo_json(reports.as_json(found))
        return
    click.echo(reports.render(found, reports.terminal_width()))
    click.echo(reports.render_next(found), nl=False)


@main.command()
@_db
@as_json_option
def drain(db: str, as_json: bool) -> None:
    """Take what programs have spooled beside the DuckDB file into it.

    Programs do so by themselves every second; this is for what a killed one has left.
    """
    from otel_atm.store.drain import drain as take_in
    from otel_atm.store.drain import spooled_bytes
    from otel_atm.store.paths import StorePaths

    paths = StorePaths.of(db)
    waiting = spooled_bytes(paths)
    if not waiting and not paths.database.exists():
        raise StoreError(f"{db!r} does not exist, and nothing waits to be taken into it")
    if sys.stderr.isatty():
        click.echo(f"taking in up to {waiting / 1e6:,.1f} MB …", err=True)
    rows = take_in(paths)
    waiting = spooled_bytes(paths)
    if as_json:
        echo_json({"database": str(paths.database), "rows": rows, "waiting_bytes": waiting})
        return
    kept = f"; {waiting:,} bytes are still being written" if waiting else ""
    click.echo(f"{rows:,} row{'s' * (rows != 1)} taken into {db}{kept}")


main.add_command(budgets)
main.add_command(doctor)
main.add_command(tokenizers)


if __name__ == "__main__":
    main(prog_name="otel-atm")
