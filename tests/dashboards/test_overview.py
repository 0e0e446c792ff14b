"""The notebook runs on the demo's file, draws its figures, and is committed empty and in pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
import pytest
from click.testing import CliRunner

import otel_atm
from otel_atm.cli import main
from tests.charts.conftest import make_file

ROOT = Path(otel_atm.__file__).parents[1]
NOTEBOOK = ROOT / "dashboards" / "overview.ipynb"
TEXT = NOTEBOOK.with_suffix(".py")
FIGURE = "application/vnd.plotly.v1+json"

TITLES = [
    "",
    "Tokens over time, by model",
    "Tokens by user and model",
    "Refused before sending, by user and budget",
    "What the tokens are",
    "Duration of calls: median to 95th percentile",
]


def execute(db: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run the notebook as Jupyter does, beside itself; return its outputs."""
    monkeypatch.setenv("ATM_DB", str(db))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=place).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures_in(outputs: list[Any]) -> list[Any]:
    return [output.data[FIGURE] for output in outputs if FIGURE in output.get("data", {})]


def test_it_draws_the_demos_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "demo.duckdb"
    assert CliRunner().invoke(main, ["demo", "--fast", "--db", str(db)]).exit_code == 0
    outputs = execute(db, monkeypatch)
    figures = figures_in(outputs)
    titles = [figure["layout"]["title"].get("text", "") for figure in figures]
    assert [title.partition(" (")[0] for title in titles] == TITLES
    assert all(figure["data"] for figure in figures)
    for figure in figures:
        assert figure["config"]["showSendToCloud"] is False
        assert figure["config"]["displaylogo"] is False
    assert str(db) in outputs[0].text
    assert "compare suppliers" in outputs[-1].data["text/plain"]


def test_it_draws_an_empty_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = figures_in(execute(make_file(tmp_path / "empty.duckdb"), monkeypatch))
    notes = [figure["layout"].get("annotations", [{}])[0].get("text") for figure in figures]
    assert notes[1:] == [
        "No calls yet",
        "No calls yet",
        "No call was refused",
        "No calls yet",
        "No call that ended well says how long it took",
    ]


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_notebook_and_text_say_the_same() -> None:
    """If this fails: ``jupytext --sync dashboards/overview.ipynb``."""

    def cells(path: Path) -> list[tuple[str, str]]:
        return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]

    assert cells(NOTEBOOK) == cells(TEXT)
