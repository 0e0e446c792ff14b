"""A process of `test_sqlite_processes`: threads that make calls until they are refused.

What it says it spent is the truth: a line for each call, in one `write`, after it was let in.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path

from otel_atm.budget import Budget
from otel_atm.ledger import Key, Line, Shortage
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore


def main() -> None:
    orders = json.loads(sys.argv[1])
    ledger = LeasedLedger(
        SqliteStore(orders["ledger"]), timeout_s=orders.get("timeout_s", 0.05), note=complain
    )
    budget = Budget(orders["budget"], on_error=orders.get("on_error", "allow"))
    truth = os.open(orders["truth"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ledger.use([budget])
    say("ready")
    sys.stdin.readline()

    def calls() -> None:
        refused = 0
        sizes = orders["sizes"]
        while refused < orders.get("patience", 1):
            size = random.choice(sizes)
            claim = ledger.claim([Line(Key(budget, ()), 0, size, exact=True)])
            hold = ledger.admit(claim, time.time_ns())
            if isinstance(hold, Shortage):
                refused += 1
                time.sleep(orders.get("pause_s", 0.0))
                continue
            refused = 0
            os.write(truth, f"{size}\n".encode())
            if orders.get("work_s"):
                time.sleep(orders["work_s"])
            ledger.settle(hold, (size, 0, 0, 1, 0))

    threads = [threading.Thread(target=calls) for _ in range(orders["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if orders.get("stay"):
        sys.stdin.readline()
    if not orders.get("abrupt"):
        ledger.close()
    say(json.dumps({"unbacked": ledger.unbacked}))
    os._exit(0)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(word: str, error: BaseException) -> None:
    sys.stderr.write(f"{word}: {error}\n")


def spent(truth: Path) -> int:
    """What all processes say they have spent."""
    return sum(map(int, truth.read_text().split()))


if __name__ == "__main__":
    main()
