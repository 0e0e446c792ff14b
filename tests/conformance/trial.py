"""One probe in one mode, in a process of its own: a JSON line when a way begins, and its result.

Run by `python -m tests.conformance` with the interpreter of the probe's environment.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

import otel_atm as atm
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ProviderServer
from tests.conformance.harness import PLENTY, Harness, spending

_HOME: Final = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)


class Careful(SpanProcessor):
    """What an SDK may do one day: no error of a processor reaches the application."""

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        _safely(self._inner.on_start, span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        _safely(self._inner.on_end, span)


def _safely(do: Callable[..., None], *args: Any) -> None:
    with suppress(Exception):  # the SDK would log it
        do(*args)


def make_provider(mode: str) -> TracerProvider:
    """The global provider, which some clients take without being told."""
    sampler = ALWAYS_OFF if mode == "unsampled" else ALWAYS_ON
    provider = TracerProvider(sampler, Resource({}), shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    return provider


def meter(mode: str, provider: TracerProvider, store: Path) -> atm.TokenSpanProcessor:
    """Meter a provider from now on."""
    processor = atm.TokenSpanProcessor([PLENTY], MemoryLedger(), store, guards=mode != "spans")
    if mode == "careful":
        provider.add_span_processor(Careful(processor))
    elif mode != "guards":
        provider.add_span_processor(processor)
    return processor


def stay_at_home() -> None:
    """Let nobody talk to another machine: emitters have been seen to."""

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        elif event == "socket.connect" and isinstance(args[1], tuple):
            host = args[1][0]
        else:
            return
        if host not in _HOME:
            sys.stderr.write(f"stopped: {event} {host}\n")
            raise OSError(f"{host}: probes talk to the loopback interface only")

    sys.addaudithook(audit)


def try_probe(name: str, mode: str, only: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    """Try the ways of a probe: those of `only`, all if it is empty."""
    module = f"tests.conformance.probes.{name}"
    with tempfile.TemporaryDirectory() as folder, ProviderServer(spending) as server:
        store = Path(folder) / "tokens.duckdb"
        provider = make_provider(mode)
        processor = None if mode == "late" else meter(mode, provider, store)
        probe = importlib.import_module(module)
        probe.instrument(provider)
        processor = processor or meter(mode, provider, store)
        harness = Harness(processor, provider, server, store)
        ways = probe.ways(server)
        say({"ways": [way for way in ways if not only or way in only]})
        for way, what in ways.items():
            if not only or way in only:
                say({"begins": way})
                harness.try_way(way, what)
        say({"begins": ""})
        for result in harness.results():
            say(result)
        processor.retire()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.trial")
    parser.add_argument("probe")
    parser.add_argument("mode")
    parser.add_argument("ways", nargs="*")
    given = parser.parse_args()
    stay_at_home()
    out, sys.stdout = sys.stdout, sys.stderr  # libraries that print do not spoil the lines
    try_probe(
        given.probe,
        given.mode,
        given.ways,
        lambda line: print(json.dumps(line), file=out, flush=True),
    )


if __name__ == "__main__":
    main()
