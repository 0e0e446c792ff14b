"""What to run next: commands that work when they are copied, from this folder and environment."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

import click

from otel_atm.report.reading import Report


def render_next(report: Report) -> str:
    """Where the rows are, and commands that look further into them; ends with a line break."""
    database = Path(report.path).absolute()
    lines = [click.style("DuckDB file", bold=True), f"  {database}", ""]
    lines.append(click.style("Next", bold=True))
    for purpose, command in commands(report.path).items():
        lines += [click.style(f"  # {purpose}", dim=True), indent(command, "  ")]
    return "\n".join(lines) + "\n"


def commands(path: str) -> dict[str, str]:
    """Purposes and commands for the DuckDB file `path`."""
    query = (
        f"import otel_atm; otel_atm.connect({path!r}).sql(\n"
        "    'select user_id, model, sum(total_tokens) from usage_1m group by all').show()"
    )
    found = {
        "this report again; --json for programs": (
            f"{_program('otel-atm')} report --db {shlex.quote(path)}"
        ),
        "any SQL, also while programs write": f"{_program('python')} -c {_double_quoted(query)}",
    }
    return found | _charts(path)


def _charts(path: str) -> dict[str, str]:
    """The notebook, where it is there: in a checkout, not in an installed wheel."""
    root = Path(__file__).parents[2]
    notebook = root / "dashboards" / "overview.ipynb"
    if not notebook.exists():
        return {}
    purpose = "charts"
    if find_spec("jupyterlab") is None:
        extra = shlex.quote(f"{_from_here(root)}[dashboards]")
        purpose += f", after: {_program('pip')} install --editable {extra}"
    database = shlex.quote(str(Path(path).absolute()))
    jupyter = f"{_program('jupyter')} lab {shlex.quote(_from_here(notebook))}"
    return {purpose: f"ATM_DB={database} {jupyter}"}


def _program(name: str) -> str:
    """How to start a program of this environment, whether it is activated or not."""
    program = Path(sys.executable).with_name(name)
    if not program.exists() or shutil.which(name) == str(program):
        return name
    return shlex.quote(_from_here(program))


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _double_quoted(text: str) -> str:
    for char in '\\"$`':
        text = text.replace(char, "\\" + char)
    return f'"{text}"'
