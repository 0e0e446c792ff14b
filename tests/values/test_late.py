"""Late imports: a fork in the midst of one leaves a child that can import the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import otel_atm

ROOT = Path(otel_atm.__file__).parents[1]
FORKING = """
import os, sys, threading
from otel_atm.late import late_import

sys.path.insert(0, sys.argv[1])
begun = threading.Event()

def import_it():
    with late_import():
        with late_import():
            begun.set()
            import slow

thread = threading.Thread(target=import_it)
thread.start()
begun.wait()
for _ in range(2):  # in turn: the parent can fork again
    child = os.fork()
    if not child:
        with late_import():
            import slow
        os._exit(slow.ANSWER)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
thread.join()
"""


def test_a_fork_waits_for_them(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.5)\nANSWER = 42\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
