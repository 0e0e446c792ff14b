"""Examine: all rules, over an environment or over this process."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import util
from time import time

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_atm.coverage import process, rules
from otel_atm.coverage.diagnosis import Diagnosis, Finding
from otel_atm.coverage.files import files
from otel_atm.coverage.loaded import environment, packages
from otel_atm.coverage.scene import Scene, has_native_spans, installed
from otel_atm.coverage.settings import settings
from otel_atm.guards.install import seams
from otel_atm.ledgers import sqlite_file
from otel_atm.store.paths import StorePaths
from otel_atm.store.store import Store


def examine_environment(*, guards: bool) -> Scene:
    """What is installed here, as if all of it was in use.

    Args:
        guards: whether its programs turn guards on.
    """
    environ = environment()
    return Scene(
        versions=installed(),
        guardable=packages(seams()),
        environ=environ,
        guards=guards,
        sampler_wrapped=util.find_spec("otel_atm.spans.sampler") is not None,
        native_spans=has_native_spans(environ),
    )


def examine_process(
    processor: SpanProcessor,
    provider: TracerProvider | None,
    store: Store | None,
    ledger: object,
    *,
    guards: bool,
) -> Diagnosis:
    """This process, as it is set up.

    Args:
        processor: that is to see its spans.
        provider: that it is on; None: it is on none.
        store: that keeps rows; None: nothing is kept.
        ledger: as `init` takes it.
        guards: whether guards are on.
    """
    scene = process.this_process(guards=guards, provider=provider)
    paths = store.paths if store is not None else None
    named = sqlite_file(ledger) if isinstance(ledger, str) else None
    beside = paths.ledger if paths is not None and ledger == "auto" else None
    found = [
        *judge(scene),
        *process.set_up(processor, provider, guards=guards),
        *files(paths, StorePaths.of(named).database if named else beside, time()),
    ]
    return Diagnosis(guards, tuple(found))


def judge(scene: Scene) -> Iterator[Finding]:
    """All that the tables and the environment say of it."""
    yield from rules.clients(scene)
    yield from rules.instrumentations(scene)
    yield from settings(scene)
    yield from rules.beside(scene)
