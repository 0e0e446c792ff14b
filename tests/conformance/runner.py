"""Trials in processes of their own: what they say, and what they hang at."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.conformance.catalog import ROOT
from tests.conformance.environments import variables

#: Between two lines of a trial; imports count, and the machine may be a slow one.
PATIENCE_S: Final = 120.0


class Trial:
    """One probe in one mode.

    Args:
        probe: its name.
        mode: one of `MODES`.
        python: the interpreter to run it with.

    Attributes:
        results: way → what came of it.
        strays: rows that belong to no way.
        trouble: why there is less than there should be; empty if all went well.
    """

    def __init__(self, probe: str, mode: str, python: str | Path) -> None:
        self.probe, self.mode, self._python = probe, mode, python
        self.results: dict[str, dict[str, Any]] = {}
        self.strays = 0
        self.trouble = ""

    def run(self) -> Trial:
        """Try all ways; after one that hangs, the others in a new process."""
        left: list[str] | None = None
        hanging: set[str] = set()
        while True:
            with tempfile.TemporaryFile("w+") as errors:
                ways, at = self._try([] if left is None else left, errors)
                if at is None:
                    return self
                errors.seek(0)
                said = errors.read().strip()[-2000:]
            if at == "" or at in hanging:
                self.trouble = said or "it ended without a word"
                return self
            hanging.add(at)
            self.results[at] = {"way": at, "failed": {"ended": f"it hung or crashed: {said}"}}
            left = [way for way in ways if way not in hanging]

    def _try(self, only: list[str], errors: Any) -> tuple[list[str], str | None]:
        """All ways, and the one at which it came to no end; "" if it was at none."""
        ways: list[str] = []
        at: str | None = ""
        for line in self._lines(only, errors):
            if "ways" in line:
                ways = line["ways"]
            elif "begins" in line:
                at = line["begins"]
            elif "strays" in line:
                self.strays += line["strays"]
                at = None
            else:
                self.results[line["way"]] = line
        return ways, at

    def _lines(self, only: list[str], errors: Any) -> Iterator[dict[str, Any]]:
        """What it says, until it ends or says nothing for too long."""
        module = ["-m", "tests.conformance.trial", self.probe, self.mode, *only]
        with subprocess.Popen(
            [self._python, *module],
            cwd=ROOT,
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            assert process.stdout is not None
            while True:
                watch = threading.Timer(PATIENCE_S, process.kill)
                watch.start()
                line = process.stdout.readline()
                watch.cancel()
                if not line:
                    return
                yield json.loads(line)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        ways = {name: {**one} for name, one in self.results.items()}
        for one in ways.values():
            one.pop("way")
        return {"ways": ways, "strays": self.strays, "trouble": self.trouble}

    @property
    def failures(self) -> list[str]:
        """A line for each check that was not passed, and could have been."""
        found = [self.trouble] if self.trouble else []
        found += [f"{self.strays} rows that came late"] if self.strays else []
        return found + [
            f"{name}: {check}: {said}"
            for name, one in self.results.items()
            for check, said in one["failed"].items()
        ]
