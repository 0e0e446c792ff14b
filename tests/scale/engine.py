"""A ClickHouse engine in a process of its own: its threads and its 500 MB stay out of ours.

``python -m tests.scale.engine FOLDER`` reads a JSON text of SQL from each line and answers with a
line of JSON: rows, or the error's text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class ClickHouse:
    """A database in a folder, asked in SQL."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scale.engine", folder],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a SELECT; whatever else may be run gives none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(sql), file=self._process.stdin, flush=True)
        rows, error = json.loads(self._process.stdout.readline())
        if error:
            raise RuntimeError(f"{error}\n{sql}")
        return rows  # type: ignore[no-any-return]

    def run(self, script: str) -> None:
        """Statements that end with a semicolon and a new line."""
        for statement in filter(None, map(str.strip, script.split(";\n"))):
            self.ask(statement)

    def close(self) -> None:
        self._process.communicate()


def main(folder: str) -> None:
    from chdb.session import Session

    session = Session(folder)
    # The answers of a server of today; integers as such, no matter how long.
    session.query("set output_format_json_quote_64bit_integers = 0")
    for line in sys.stdin:
        try:
            answer = str(session.query(json.loads(line), "JSONEachRow"))
            rows, error = [json.loads(row) for row in answer.splitlines()], ""
        except Exception as failed:  # noqa: BLE001 - told to whoever asked
            rows, error = [], str(failed) or repr(failed)
        sys.stdout.write(json.dumps([rows, error]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
