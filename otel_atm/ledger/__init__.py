"""Ledgers: what is held and what is spent, per budget, payer and window.

A ledger knows amounts, windows and a clock; it knows nothing of OpenTelemetry, models or people.
"""

from otel_atm.ledger.ledger import (
    NO_AMOUNTS,
    REQUESTS,
    Accounts,
    Amounts,
    Balance,
    Hold,
    Key,
    Ledger,
    Shortage,
    Summary,
    Total,
)
from otel_atm.ledger.memory import MemoryLedger

__all__ = [
    "NO_AMOUNTS",
    "REQUESTS",
    "Accounts",
    "Amounts",
    "Balance",
    "Hold",
    "Key",
    "Ledger",
    "MemoryLedger",
    "Shortage",
    "Summary",
    "Total",
]
