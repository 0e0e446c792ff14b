"""The demo's program: everything wired, run, checked and reported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING

import click

from otel_atm import report
from otel_atm.demo.cast import APP, BUDGETS, CAST
from otel_atm.demo.fresh import make_room
from otel_atm.errors import AtmError
from otel_atm.handle import Handle, init

if TYPE_CHECKING:
    import openai

    from otel_atm.demo.agent import Step
    from otel_atm.testing import ProviderServer


def run(db: str, seconds: float) -> None:
    """Run the demo and report.

    Args:
        db: path of the DuckDB file, which is made anew.
        seconds: that it takes about, if every task is done; 0: as fast as it can.

    Raises:
        StoreError: the file holds rows of other programs.
        AtmError: the extra ``demo`` is missing, or the file disagrees with the provider.
    """
    _check_extra()
    make_room(db)
    from otel_atm.demo.provider import provider
    from otel_atm.demo.show import Show

    width = report.terminal_width()
    show = Show(width)
    planned = sum(task.calls for person in CAST for task in person.tasks)
    with provider() as server, _metered(db) as handle, _client(server) as client:
        show.opening(server.openai_url, db)
        for step in _in_turns(client):
            show.step(step)
            time.sleep(seconds / planned)
        handle.force_flush()
        click.echo()
        found = report.read(db)
        click.echo(report.render(found, width))
        _check(found, server, show.overshoot())
    click.echo(report.render_next(found), nl=False)


def _in_turns(client: openai.OpenAI) -> Iterator[Step]:
    """Let each agent take a step in turn, each in a context of its own, like tasks of a server."""
    from otel_atm.demo.agent import work

    agents = [(copy_context(), work(client, person)) for person in CAST]
    while agents:
        for agent in list(agents):
            own, steps = agent
            step = own.run(next, steps, None)
            if step is None:
                agents.remove(agent)
            else:
                yield step


@contextmanager
def _metered(db: str) -> Iterator[Handle]:
    """The client library instrumented, and otel-atm in its tracer provider: the usual two lines.

    Everything is given, so that nothing the environment names is read: the demo sends no telemetry.
    """
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    from opentelemetry.trace import NoOpTracer

    tracer_provider = TracerProvider(
        sampler=ALWAYS_ON, resource=Resource({"service.name": APP}), shutdown_on_exit=False
    )
    if isinstance(tracer_provider.get_tracer(APP), NoOpTracer):
        raise AtmError("OTEL_SDK_DISABLED is set: without spans there is nothing to see")
    with ExitStack() as at_end:
        handle = init(
            tracer_provider,
            BUDGETS,
            ledger="memory",
            store=db,
            meter_provider=MeterProvider(shutdown_on_exit=False),
        )
        at_end.callback(handle.shutdown)
        instrumentor = OpenAIInstrumentor()
        instrumentor.instrument(tracer_provider=tracer_provider)
        at_end.callback(instrumentor.uninstrument)
        yield handle


def _client(server: ProviderServer) -> openai.OpenAI:
    import openai

    return openai.OpenAI(
        base_url=server.openai_url,
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),  # no proxy before the loopback
    )


def _check(found: report.Report, server: ProviderServer, overshoot: int) -> None:
    """Compare what the provider saw with what the file holds, and say so.

    Raises:
        AtmError: they differ.
    """
    told, totals = server.total_told(), found.totals
    click.secho("Checked against the provider", bold=True)
    equal = [
        _compare("requests", server.requests, totals.calls, f"{totals.refused} refused sent none"),
        _compare("tokens", told.input + told.output, totals.total_tokens),
    ]
    if overshoot > 0:
        click.echo(
            f"  A call that was let through is never cut short: budgets were passed by at most "
            f"{overshoot} tokens,\n  and nothing was sent after that."
        )
    click.echo()
    if not all(equal):
        raise AtmError("the file disagrees with the provider: please report this as a bug")


def _compare(what: str, counted: int, kept: int, more: str = "") -> bool:
    equal = counted == kept
    verdict = click.style("equal" if equal else "NOT EQUAL", fg="green" if equal else "red")
    click.echo(
        f"  the provider counted {counted:,} {what}; the file holds {kept:,} {what}: {verdict}"
        + (f"; {more}" if more else "")
    )
    return equal


def _check_extra() -> None:
    for module in ("openai", "opentelemetry.instrumentation.genai.openai", "uvicorn"):
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise AtmError(
                f"the demo needs {error.name}, which is not installed: pip install 'otel-atm[demo]'"
            ) from error
