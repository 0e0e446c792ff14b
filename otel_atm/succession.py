"""Succession: of processors on one tracer provider that write to one place, the last one counts.

A provider forgets no processor, so a notebook cell that is run again, or a library that adds one
where its application has, would have each call counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from opentelemetry.sdk.trace import Span

from otel_atm.ledger import Ledger
from otel_atm.trouble import logger


class Rival(Protocol):
    """What is asked of a processor."""

    ignores_spans: bool

    @property
    def database(self) -> Path | None:
        """The DuckDB file that it keeps."""

    @property
    def _ledger_name(self) -> str | Ledger[Any]:
        """Where it counts; see `otel_atm.ledgers.named_ledger`."""


_R = TypeVar("_R", bound=Rival)


def rivals(one: _R, among: Iterable[_R]) -> list[_R]:
    """The others that write to the same file or ledger, and still count."""
    return [
        other
        for other in among
        if other is not one and not other.ignores_spans and _share(one, other)
    ]


def in_succession(one: _R, span: Span) -> list[_R]:
    """It and its rivals on the provider of a span, in the order in which they were added.

    The SDK does not tell publicly which processors a provider has; where it tells otherwise, it is
    `one` alone.
    """
    every = getattr(getattr(span, "_span_processor", None), "_span_processors", ())
    there = [other for other in every if isinstance(other, type(one))]
    allies = {id(other) for other in (one, *rivals(one, there))}
    return [other for other in there if id(other) in allies] or [one]


def tell_of(elder: Rival, heir: Rival) -> None:
    """Say in the log who counts from now on."""
    same_file = elder.database is not None and elder.database == heir.database
    logger.warning(
        "otel-atm: two TokenSpanProcessors of one tracer provider write to %s. The one that was "
        "added last counts from now on, under its own budgets. Keep one: otel_atm.init() may be "
        "called again",
        heir.database if same_file else heir._ledger_name,
    )


def _share(one: Rival, other: Rival) -> bool:
    if one.database is not None and one.database == other.database:
        return True
    return one._ledger_name == other._ledger_name != "memory"
