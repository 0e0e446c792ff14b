"""The gate: budgets, calls and a ledger; in come calls, out come rows."""

from otel_atm.gate.call import NO_TOKENS, PLAIN, Call, Ending, Outcome, Tokens
from otel_atm.gate.gate import Gate, Sink
from otel_atm.gate.plan import Kind, Plan
from otel_atm.gate.totals import Labels, Totals

__all__ = [
    "NO_TOKENS",
    "PLAIN",
    "Call",
    "Ending",
    "Gate",
    "Kind",
    "Labels",
    "Outcome",
    "Plan",
    "Sink",
    "Tokens",
    "Totals",
]
