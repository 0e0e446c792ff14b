"""Virtual environments: made from a lock when they are first asked for, kept under its hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.conformance.catalog import ROOT, lock_file

HOME: Final = ROOT / ".conformance"
#: Of the environment variables of whoever runs this; the others turn things on and off.
_KEPT: Final = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_FILE", "TEMP", "TMP", "TMPDIR")
#: Nobody phones home, and what they would look up is looked up in a file.
_QUIET: Final = {
    "ANONYMIZED_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "TRACELOOP_TELEMETRY": "false",
    "TRACELOOP_TRACE_CONTENT": "false",
}


def python_of(env: str) -> Path:
    """The interpreter of an environment, which is made if it is not there."""
    digest = hashlib.sha256(lock_file(env).read_bytes()).hexdigest()[:12]
    folder = HOME / f"{env}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # The lock is whole: there is nothing to resolve, and nothing that could be added.
        install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        subprocess.run([python, *install, "-r", lock_file(env)], check=True)
        ready.touch()
    return python


def variables() -> dict[str, str]:
    """The environment variables of a trial."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **_QUIET, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
