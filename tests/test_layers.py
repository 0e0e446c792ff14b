"""The layers: imports go down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_atm

ROOT = Path(otel_atm.__file__).parent

LAYERS = (
    # L0: values, and what anybody may use
    (
        "_version semconv errors usage scope budget budget_fields budget_file budget_text "
        "budget_watch window event cache config_file executors late matching price price_file "
        "price_list pricing tokenizers toml_lines trouble types watch"
    ),
    "ledger",
    "gate",
    # L3: adapters; rooms that do not know each other
    "spans store metrics guards",
    "charts",
    # L5: the composition root and the faces
    (
        "config coverage environment exporters facade faces handle housekeeping instrumentor "
        "ledgers succession variables cli cli_budgets cli_common cli_doctor cli_store "
        "cli_tokenizers report demo __init__ __main__"
    ),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()}
ADAPTERS = 3
#: Stands apart: imports anything, and nobody under the faces imports it.
APART = "testing"


class _Imports(ast.NodeVisitor):
    """Full names that a module imports when it runs, wherever it does so."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        if not ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports here are absolute"
        self.found += [f"{node.module}.{alias.name}" for alias in node.names]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> list[str]:
    """What it imports: modules of ours, and names of others."""
    finder = _Imports()
    finder.visit(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return [_module_of(name) for name in finder.found]


def _module_of(name: str) -> str:
    """``otel_atm.budget.Budget`` is of ``otel_atm.budget``."""
    while name not in MODULES and name.startswith("otel_atm."):
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    """``otel_atm.spans.sdk`` is in ``spans``; ``otel_atm`` itself in ``__init__``."""
    return ([*module.split("."), "__init__"])[1]


def edges() -> Iterator[tuple[str, str]]:
    """(module, module of ours that it imports)."""
    for module in MODULES:
        for imported in imports_of(module):
            if imported in MODULES:
                yield module, imported


def test_every_room_has_its_layer() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms - {APART} == set(LEVEL), "a new room: where does it belong?"


def test_imports_go_down_only() -> None:
    upward = [
        f"{module} → {imported}"
        for module, imported in edges()
        if APART not in (room_of(module), room_of(imported))
        and LEVEL[room_of(imported)] > LEVEL[room_of(module)]
    ]
    assert upward == []


def test_rooms_of_adapters_do_not_import_each_other() -> None:
    across = [
        f"{module} → {imported}"
        for module, imported in edges()
        if LEVEL.get(room_of(module)) == LEVEL.get(room_of(imported)) == ADAPTERS
        and room_of(module) != room_of(imported)
    ]
    assert across == []


def test_nobody_under_the_faces_imports_the_testing_tools() -> None:
    faces = len(LAYERS) - 1
    users = [
        f"{module} → {imported}"
        for module, imported in edges()
        if room_of(imported) == APART
        and room_of(module) != APART
        and LEVEL[room_of(module)] < faces
    ]
    assert users == []


@pytest.mark.parametrize("foreign", ["opentelemetry", "duckdb"])
def test_only_adapters_and_what_stands_on_them_import_sdks_and_drivers(foreign: str) -> None:
    users = [
        module
        for module in MODULES
        if LEVEL.get(room_of(module), ADAPTERS) < ADAPTERS
        and any(imported.split(".")[0] == foreign for imported in imports_of(module))
    ]
    assert users == []


def test_no_import_goes_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, imported in edges():
        if module != imported:
            graph[module].add(imported)
    while leaves := [module for module, imported in graph.items() if not imported]:
        for leaf in leaves:
            del graph[leaf]
        for imported in graph.values():
            imported.difference_update(leaves)
    assert graph == {}


def test_this_reads_imports_as_python_does() -> None:
    finder = _Imports()
    finder.visit(
        ast.parse(
            "from typing import TYPE_CHECKING\n"
            "import typing as t\n"
            "if TYPE_CHECKING:\n    import duckdb\n"
            "if t.TYPE_CHECKING:\n    import duckdb\n"
            "def later():\n    from otel_atm.budget import Budget, read_budgets\n"
        )
    )
    assert finder.found == [
        "typing.TYPE_CHECKING",
        "typing",
        "otel_atm.budget.Budget",
        "otel_atm.budget.read_budgets",
    ]
    assert [_module_of(name) for name in finder.found[2:]] == ["otel_atm.budget"] * 2
