"""Runs what pages do, each in a process of its own.

``python -m tests.docs.run_page`` reads paths of pages, one a line, and answers each with a line of
JSON: ``[exit status, output]``. It has imported what is slow to import and forks for each page, so
that set-up and instrumentation are fresh and cheap. The blocks of a page share one namespace and
one folder: they read as one program.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.docs.pages import Step, steps

# What differs from run to run: ids, times, durations, ports, folders.
_VARYING: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?"), "<time>"),
    (re.compile(r"\b\d+ (?:d|h|min|s)\b(?: \d+ (?:h|min|s)\b)?"), "<duration>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<host>"),
    (re.compile(r"(?:/[\w.-]+)+/(?=tokens\.duckdb)"), "<folder>/"),
    (re.compile(r"\d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?: \d{4})?"), "<day>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<clock>"),
    (re.compile(r"─+"), "─"),
    (re.compile(r" {2,}"), "  "),
)


def alike(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run(todo: Iterable[Step], page: str) -> list[str]:
    """Run the steps in this folder; what is wrong with them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    problems: list[str] = []
    output = ""
    for step in todo:
        where = f"{page}:{step.line}"
        if step.kind == "output":
            if alike(step.text) != alike(output):
                problems.append(f"{where}: the page shows\n{step.text}\nbut it was\n{output}")
            continue
        if step.kind == "python":
            output, trouble = _run_python(step.text, where, namespace)
        else:
            output, trouble = _run_console(step.text)
        problems += [f"{where}: {each}" for each in trouble]
        problems += [
            f"{where}: expected {expected!r} in\n{output}"
            for expected in step.expect
            if alike(expected) not in alike(output)
        ]
    return problems


def _run_python(text: str, where: str, namespace: dict[str, Any]) -> tuple[str, list[str]]:
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            exec(compile(text, where, "exec"), namespace)
    except Exception:  # noqa: BLE001 - whatever a page raises is for its reader
        return printed.getvalue(), [traceback.format_exc()]
    return printed.getvalue(), []


def _run_console(text: str) -> tuple[str, list[str]]:
    """Commands after ``$``; what follows one, up to the next, is what it prints."""
    outputs, problems = [], []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        program, _, arguments = line.partition(" ")
        if program != "otel-atm":
            problems.append(f"{program!r} cannot be run from here")
            continue
        command = f"{sys.executable} -m otel_atm.cli {arguments}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        outputs.append(done.stdout)
        if done.returncode:
            problems.append(f"{line} ended with {done.returncode}: {done.stderr}")
        if shown.strip() and alike(shown) != alike(done.stdout):
            problems.append(f"{line} shows\n{shown}\nbut it was\n{done.stdout}")
    return "".join(outputs), problems


def _run_in_child(page: str) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            _run_here(page)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def _run_here(page: str) -> NoReturn:
    text = Path(page).read_text("utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        problems = run(steps(text), page)
        sys.stdout.write("\n".join(problems))
        os.chdir("/")
    sys.exit(bool(problems))  # as any program ends: what has to flush at exit does


#: What most pages import; none of it sets anything up.
_SLOW: Final = (
    "openai.resources.chat",
    "opentelemetry.instrumentation.genai.openai",
    "otel_atm.faces",
    "otel_atm.testing.provider",
    "duckdb",
)

if __name__ == "__main__":
    for slow in _SLOW:
        import_module(slow)
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(_run_in_child(line.strip()))}\n")
        sys.stdout.flush()
