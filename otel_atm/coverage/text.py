"""The diagnosis as text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

import click

from otel_atm.charts.table import columns_of, printable
from otel_atm.coverage.diagnosis import Diagnosis, Finding, State

_TITLES: Final = {
    "client": "Clients",
    "instrumentation": "Instrumentations",
    "setting": "Settings",
    "process": "This process",
    "file": "Files",
}
_COLOURS: Final[dict[State, str]] = {
    "enforced": "green",
    "fine": "green",
    "metered": "yellow",
    "unseen": "red",
    "broken": "red",
}
_SUMMARIES: Final[dict[State, str]] = {
    "enforced": "Every call that is over budget is stopped before it is sent.",
    "fine": "Every call that is over budget is stopped before it is sent.",
    "metered": "Some calls are counted, and not stopped when they are over budget.",
    "unseen": "Some calls are not seen: neither counted nor stopped.",
    "broken": "Something that is needed cannot be used.",
}
#: Columns of a name; a longer one has a line of its own.
_WIDEST_NAME: Final = 26
_STATE: Final = 11  # columns of a state


def render(diagnosis: Diagnosis, width: int) -> str:
    """For people, with the codes of a terminal, which `click.echo` drops elsewhere.

    Args:
        diagnosis: of `otel_atm.doctor`.
        width: of the terminal, in columns.
    """
    guards = "on" if diagnosis.guards else "off"
    lines = [click.style(f"With guards {guards}", bold=True)]
    for part, title in _TITLES.items():
        found = [finding for finding in diagnosis.findings if finding.part == part]
        if found:
            lines += ["", click.style(title, bold=True), *_section(found, width)]
    lines += _beside(diagnosis, width)
    if not any(finding.part == "client" for finding in diagnosis.findings):
        lines += ["", "No client that calls models is installed here."]
    else:
        lines += ["", click.style(_SUMMARIES[diagnosis.state], fg=_COLOURS[diagnosis.state])]
    return "\n".join(lines) + "\n"


def _section(found: Iterable[Finding], width: int) -> list[str]:
    return [line for finding in found for line in _lines(finding, width)]


def _lines(finding: Finding, width: int) -> list[str]:
    """Its state, its name, and why; what to do stands below why."""
    name = printable(f"{finding.name} {finding.version or ''}".strip())
    state = click.style(f"  {finding.state:<{_STATE - 2}}", fg=_COLOURS[finding.state])
    indent = " " * (_STATE + _WIDEST_NAME + 1)
    said = _wrapped(finding.why, width - len(indent))
    if finding.do:
        said += _wrapped(f"→ {finding.do}", width - len(indent))
    space = _WIDEST_NAME + 1 - columns_of(name)
    if space < 1:
        return [state + name, *(indent + line for line in said)]
    return [state + name + " " * space + said[0], *(indent + line for line in said[1:])]


def _beside(diagnosis: Diagnosis, width: int) -> list[str]:
    names = [finding.name for finding in diagnosis.findings if finding.part == "beside"]
    if not names:
        return []
    text = f"{'; '.join(names)}. Budget such calls with otel_atm.admit."
    title = click.style("Not seen where a program uses them itself", bold=True)
    return ["", title, *(f"  {line}" for line in _wrapped(text, width - 2))]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(printable(text), max(24, width), break_long_words=False) or [""]
