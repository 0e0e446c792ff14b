"""Ledgers: what is held and spent under each budget by each payer."""

from otel_atm.ledger.ledger import (
    MONEY,
    REQUESTS,
    Amounts,
    Balance,
    Claim,
    Crossing,
    Hold,
    Key,
    Ledger,
    Line,
    LooseHold,
    Shortage,
    Summary,
    payer_keys,
)
from otel_atm.ledger.memory import MemoryLedger

__all__ = [
    "MONEY",
    "REQUESTS",
    "Amounts",
    "Balance",
    "Claim",
    "Crossing",
    "Hold",
    "Key",
    "Ledger",
    "Line",
    "LooseHold",
    "MemoryLedger",
    "Shortage",
    "Summary",
    "payer_keys",
]
