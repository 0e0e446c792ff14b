"""Programs that know nothing of this project, under ``opentelemetry-instrument``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.installed import ROOT, install_entry_points

#: Runs the program, with the address of a provider as its argument and these variables.
Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]

_NOTHING = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}


def instrumented(folder: Path, text: str, **variables: str) -> Run:
    """Runs a program in a folder of its own, in which it finds this project as if installed.

    Args:
        folder: where it runs.
        text: of the program.
        variables: of each run, unless it says otherwise; nothing is exported by default.
    """
    install_entry_points(folder / "site" / "otel_atm-0.dist-info")
    program = folder / "program.py"
    program.write_text(text, "utf-8")
    command = Path(sys.executable).with_name("opentelemetry-instrument")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    path = os.pathsep.join([str(folder / "site"), str(ROOT), *sys.path[1:]])
    always = {**kept, "PYTHONPATH": path, **_NOTHING, **variables}

    def run(url: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, sys.executable, program, url],
            env={**always, **more},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
