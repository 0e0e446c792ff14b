"""The report: what a DuckDB file says, for a terminal and as JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from otel_atm.charts import queries
from otel_atm.charts.rows import Refusals, Totals, UserModel
from otel_atm.faces import connect

#: Lines of the table by user and model; the rest is summed in one line more.
MOST_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Report:
    """What the report says.

    Attributes:
        path: of the DuckDB file, as it was given.
        totals: of all calls.
        by_user_model: by team, user and model.
        refusals: by budget, team and user.
    """

    path: str
    totals: Totals
    by_user_model: list[UserModel]
    refusals: list[Refusals]


def read(path: str | os.PathLike[str]) -> Report:
    """Ask a store.

    Args:
        path: of the DuckDB file.

    Raises:
        StoreError: there is no such file, or it is not one of otel-atm.
    """
    with connect(path) as db:
        return Report(
            os.fspath(path), queries.totals(db), queries.by_user_model(db), queries.refusals(db)
        )


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs: JSON values under keys that stay. Times are ISO 8601 in UTC."""
    return {
        "database": str(Path(report.path).absolute()),
        "totals": _object(report.totals),
        "by_user_model": [_object(row) for row in report.by_user_model],
        "refusals": [_object(row) for row in report.refusals],
    }


def render(report: Report, width: int = 100) -> str:
    """The report for people: totals, users and models, refusals.

    Args:
        report: as of `read`.
        width: of the terminal, in columns.
    """
    totals = report.totals
    if totals.first_ts is None or totals.last_ts is None:
        return f"{_heading('No calls yet')}\n"
    parts = [
        _heading("Totals", _when(totals.first_ts, totals.last_ts)),
        _indented(_totals(totals)),
        _heading("By user and model"),
        _indented(_by_user_model(report.by_user_model, width - 2)),
    ]
    if report.refusals:
        parts += [
            _heading("Refused before sending"),
            _indented(_refusals(report.refusals, width - 2)),
        ]
    return "\n".join(parts)


def render_next(report: Report) -> str:
    """Where the rows are, and commands that look further into them."""
    path, database = shlex.quote(report.path), Path(report.path).absolute()
    query = f"import otel_atm; otel_atm.connect({report.path!r}).sql('from usage_1m').show()"
    commands = [
        ("this report again, also with --json", f"{_program('otel-atm')} report --db {path}"),
        ("any SQL you like", f"{_program('python')} -c {_double_quoted(query)}"),
    ]
    notebook = Path(__file__).parents[1] / "dashboards" / "overview.ipynb"
    if notebook.exists():
        jupyter = f"ATM_DB={shlex.quote(str(database))} {_program('jupyter')} lab"
        commands.append(("charts", f"{jupyter} {shlex.quote(_from_here(notebook))}"))
    lines = [f"  {database}", "", _heading("Next").rstrip("\n")]
    for purpose, command in commands:
        lines += [click.style(f"  # {purpose}", dim=True), f"  {command}"]
    return "\n".join([_heading("DuckDB file").rstrip("\n"), *lines, ""])


def terminal_width() -> int:
    """Columns of the terminal, at least 60 and at most 140; 100 where there is none."""
    return min(140, max(60, shutil.get_terminal_size((100, 24)).columns))


def _totals(totals: Totals) -> str:
    estimated = 100 * totals.estimated_tokens / max(1, totals.total_tokens)
    failed = f", {totals.failed:,} of them failed" if totals.failed else ""
    lines = [
        ("calls", f"{totals.calls:,} sent{failed}; {totals.refused:,} refused before sending"),
        (
            "tokens",
            f"{totals.total_tokens:,} = {totals.input_tokens:,} in + {totals.output_tokens:,} out",
        ),
        (
            "of these",
            f"{totals.cache_read_tokens:,} read from a cache, {totals.reasoning_tokens:,} "
            f"reasoning; {estimated:.1f} % estimated, the rest as reported by providers",
        ),
    ]
    return "\n".join(f"{name:<10}{text}" for name, text in lines)


def _by_user_model(rows: Sequence[UserModel], width: int) -> str:
    heaviest = sorted(rows, key=lambda row: (row.total_tokens, row.refused), reverse=True)
    shown = set(heaviest[:MOST_LINES])
    lines: list[list[Cell]] = without_repeats([_cells(row) for row in rows if row in shown], 2)
    rest = [row for row in rows if row not in shown]
    if rest:
        lines.append(_sum(f"{len(rest):,} lines more", rest))
    titles = ["team", "user", "model", "calls", "refused", "in", "cached", "out", "tokens"]
    return table(titles, lines, footer=_sum("all", rows), width=width)


def _cells(row: UserModel) -> list[Cell]:
    return [row.team, row.user_id, row.model, *_amounts([row])]


def _sum(name: str, rows: Sequence[UserModel]) -> list[Cell]:
    return [name, "", "", *_amounts(rows)]


def _amounts(rows: Sequence[UserModel]) -> list[Cell]:
    return [
        sum(row.calls for row in rows),
        sum(row.refused for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.cache_read_tokens for row in rows),
        sum(row.output_tokens for row in rows),
        sum(row.total_tokens for row in rows),
    ]


def _refusals(rows: Sequence[Refusals], width: int) -> str:
    lines: list[list[Cell]] = [
        [row.budget, row.team, row.user_id, row.refused, f"{row.last_ts:%H:%M:%S}"]
        for row in rows[:MOST_LINES]
    ]
    if len(rows) > MOST_LINES:
        rest = rows[MOST_LINES:]
        lines.append([f"{len(rest):,} lines more", "", "", sum(row.refused for row in rest), ""])
    titles = ["budget", "team", "user", "refused", "last (UTC)"]
    return table(titles, lines, width=width)


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


def _heading(text: str, beside: str = "") -> str:
    return click.style(text, bold=True) + (f"  {beside}" if beside else "")


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ") + "\n"


def _object(row: Totals | UserModel | Refusals) -> dict[str, Any]:
    return {
        key: f"{value.isoformat()}Z" if isinstance(value, datetime) else value
        for key, value in row._asdict().items()
    }


def _program(name: str) -> str:
    """How to start a program of this environment from this folder, be it activated or not."""
    here = Path(sys.executable).with_name(name)
    if not here.exists() or shutil.which(name) == str(here):
        return name
    return shlex.quote(_from_here(here))


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _double_quoted(text: str) -> str:
    for char in '\\"$`':
        text = text.replace(char, "\\" + char)
    return f'"{text}"'
