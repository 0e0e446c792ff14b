"""The report as text: totals, users and models, refusals."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import fsum
from typing import Final

import click

from otel_atm.charts.rows import Refusals, Totals, UserModel
from otel_atm.charts.table import Cell, money, table, without_repeats
from otel_atm.report.reading import Report

#: Lines of a table at most; the rest is summed in one line more.
MOST_LINES: Final = 40


def render(report: Report, width: int = 100) -> str:
    """The report for people, with the codes of a terminal, which `click.echo` drops elsewhere.

    Args:
        report: as of `read`.
        width: of the terminal, in columns.
    """
    totals = report.totals
    if totals.first_ts is None or totals.last_ts is None:
        return click.style("No calls yet", bold=True) + "\n"
    sections = [
        ("Totals", _totals(totals, _when(totals.first_ts, totals.last_ts))),
        ("By user and model", _by_user_model(report.by_user_model, width - 2)),
    ]
    if report.refusals:
        sections.append(("Refused before sending", _refusals(report.refusals, width - 2)))
    return "\n".join(
        f"{click.style(title, bold=True)}\n{textwrap.indent(text, '  ')}\n"
        for title, text in sections
    )


def terminal_width() -> int:
    """Columns of the terminal, at least 60 and at most 140; 100 where there is none."""
    return min(140, max(60, shutil.get_terminal_size((100, 24)).columns))


def _totals(totals: Totals, when: str) -> str:
    failed = f", {totals.failed:,} of them failed" if totals.failed else ""
    estimated = 100 * totals.estimated_tokens / max(1, totals.total_tokens)
    lines = {
        "when": when,
        "calls": f"{totals.calls:,} sent{failed}; {totals.refused:,} refused before sending",
        "tokens": (
            f"{totals.total_tokens:,} = {totals.input_tokens:,} in + {totals.output_tokens:,} out"
        ),
        "of these": (
            f"{totals.cache_read_tokens:,} read from a cache, "
            f"{totals.reasoning_tokens:,} reasoning; {estimated:.1f} % estimated"
        ),
        "cost": _cost(totals),
    }
    return "\n".join(f"{name:<10}{text}" for name, text in lines.items())


def _cost(totals: Totals) -> str:
    if totals.cost_usd is None:
        return "not known: no price is known of these models"
    unpriced = f"{totals.unpriced_tokens:,} tokens of models whose price is not known"
    return f"{money(totals.cost_usd)} USD" + (f"; {unpriced}" if totals.unpriced_tokens else "")


def _by_user_model(rows: Sequence[UserModel], width: int) -> str:
    heaviest = sorted(rows, key=lambda row: (row.total_tokens, row.refused), reverse=True)
    shown = set(heaviest[:MOST_LINES])
    cells = [[row.team, row.user_id, row.model, *_amounts([row])] for row in rows if row in shown]
    lines = without_repeats(cells, 2)
    rest = [row for row in rows if row not in shown]
    if rest:
        lines.append([f"{len(rest):,} more", "", "", *_amounts(rest)])
    titles = ["team", "user", "model", "calls", "refused", "in", "cached", "out", "tokens", "USD"]
    return table(titles, lines, footer=["all", "", "", *_amounts(rows)], width=width)


def _amounts(rows: Sequence[UserModel]) -> list[Cell]:
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return [
        sum(row.calls for row in rows),
        sum(row.refused for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.cache_read_tokens for row in rows),
        sum(row.output_tokens for row in rows),
        sum(row.total_tokens for row in rows),
        fsum(costs) if costs else None,
    ]


def _refusals(rows: Sequence[Refusals], width: int) -> str:
    lines: list[list[Cell]] = [
        [row.budget, row.team, row.user_id, row.refused, f"{row.last_ts:%d %b %H:%M:%S}"]
        for row in rows[:MOST_LINES]
    ]
    rest = rows[MOST_LINES:]
    if rest:
        lines.append([f"{len(rest):,} more", "", "", sum(row.refused for row in rest), ""])
    return table(["budget", "team", "user", "refused", "last, UTC"], lines, width=width)


def _when(first: datetime, last: datetime) -> str:
    if first.date() == last.date():
        return f"{first:%d %b %Y, %H:%M:%S} to {last:%H:%M:%S} UTC ({_length(last - first)})"
    return f"{first:%d %b %Y, %H:%M} to {last:%d %b %Y, %H:%M} UTC ({_length(last - first)})"


def _length(span: timedelta) -> str:
    seconds = span.total_seconds()
    for size, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
