"""The command line. Commands import what they need when they run, so that ``--help`` is fast."""

from __future__ import annotations

import os
import sys

import click

from otel_atm._version import __version__
from otel_atm.cli_budgets import budgets
from otel_atm.cli_common import Commands, GivenPath, as_json_option, db_option, echo_json
from otel_atm.cli_doctor import doctor
from otel_atm.cli_store import compact, drain, export, forget, prune
from otel_atm.cli_tokenizers import tokenizers


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


def _number(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if value != value:
        raise click.BadParameter("nan: expected a number")
    return value


@main.command()
@click.option(
    "--db",
    default="demo.duckdb",
    show_default=True,
    metavar="PATH",
    type=GivenPath(dir_okay=False),
    help="The DuckDB file; made anew. A file with rows of other programs is left alone.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    callback=_number,
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
@db_option()
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


for command in (budgets, compact, doctor, drain, export, forget, prune, tokenizers):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="otel-atm")
