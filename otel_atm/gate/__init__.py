"""The gate: budgets, calls and a ledger; in come calls, out come rows."""

from otel_atm.gate.call import NO_TOKENS, Call, Tokens
from otel_atm.gate.gate import Gate, Sink
from otel_atm.gate.plan import Kind, Plan
from otel_atm.gate.totals import Total, Totals

__all__ = ["NO_TOKENS", "Call", "Gate", "Kind", "Plan", "Sink", "Tokens", "Total", "Totals"]
