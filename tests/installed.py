"""Entry points of this project, for programs that find it by its folder alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

import otel_atm

ROOT = Path(otel_atm.__file__).parents[1]


def install_entry_points(place: Path) -> None:
    """As an installation of this project has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: otel-atm\nVersion: 0\n", "utf-8")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (place / "entry_points.txt").write_text("\n".join(lines), "utf-8")
