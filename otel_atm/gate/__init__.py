"""The gate: budgets, calls and a ledger; in come calls, out come rows."""

from otel_atm.gate.admission import Admission
from otel_atm.gate.aggregate import Aggregate
from otel_atm.gate.alerts import Alert
from otel_atm.gate.call import NO_TOKENS, Call
from otel_atm.gate.gate import Gate
from otel_atm.gate.outcome import PLAIN, Ending, Outcome
from otel_atm.gate.plan import Kind, Plan, compatible
from otel_atm.gate.recent import Telling
from otel_atm.gate.refusal import Decision
from otel_atm.gate.settlement import Sink
from otel_atm.gate.status import BudgetStatus
from otel_atm.gate.totals import Labels, Total, Totals
from otel_atm.price import Tokens

__all__ = [
    "NO_TOKENS",
    "PLAIN",
    "Admission",
    "Aggregate",
    "Alert",
    "BudgetStatus",
    "Call",
    "Decision",
    "Ending",
    "Gate",
    "Kind",
    "Labels",
    "Outcome",
    "Plan",
    "Sink",
    "Telling",
    "Tokens",
    "Total",
    "Totals",
    "compatible",
]
