"""The page: what was seen of each emitter, from what its trials said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.conformance.catalog import HERE, ROOT, Probe

PAGE: Final = ROOT / "docs" / "conformance.md"
_RESULTS: Final = HERE / "results"

Results = Mapping[str, Mapping[str, Any]]


def keep(probe: Probe, trials: Results) -> None:
    """Keep what the trials of a probe said, mode for mode; modes that were not run stay."""
    file = _RESULTS / f"{probe.name}.json"
    before = json.loads(file.read_text())["modes"] if file.exists() else {}
    found = {"versions": probe.versions, "modes": {**before, **trials}}
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def kept() -> dict[str, Any]:
    """Probe → what was kept of it."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(_RESULTS.glob("*.json"))}


def write() -> None:
    """Write the page anew."""
    PAGE.write_text(text(kept()))


def text(results: Mapping[str, Any]) -> str:
    """The page."""
    return "# Conformance\n"
