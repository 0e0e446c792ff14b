"""OpenTelemetry-native token metering and hard token budgets for LLM calls.

::

    import otel_atm as atm

    atm.init(budgets=["500 tokens / minute per user"])
    with atm.context(user="ann"):
        ...  # calls of any instrumented client: counted, attributed, refused when used up

Importing this package costs next to nothing; what stands on the SDK or on DuckDB is loaded when it
is first asked for.
"""

from typing import TYPE_CHECKING, Any

from otel_atm._version import __version__
from otel_atm.budget import Budget
from otel_atm.errors import (
    AtmError,
    BudgetError,
    ConfigurationError,
    StoreError,
    TokenQuotaExceeded,
)
from otel_atm.event import UsageEvent
from otel_atm.scope import Scope, context
from otel_atm.usage import Usage

if TYPE_CHECKING:
    from otel_atm.coverage.diagnosis import Diagnosis, Finding
    from otel_atm.executors import carrying
    from otel_atm.exporters import DuckDBMetricExporter, DuckDBSpanExporter
    from otel_atm.facade.draft import Draft
    from otel_atm.facade.hooks import hook
    from otel_atm.facade.limits import limits
    from otel_atm.facade.quota import AlertLevel, Quota
    from otel_atm.facade.telling import add_model_response, add_user_request
    from otel_atm.faces import TokenSpanProcessor, connect
    from otel_atm.gate import Admission, Alert, BudgetStatus, Decision
    from otel_atm.handle import Handle, admit, advice, doctor, init
    from otel_atm.instrumentor import OtelAtmInstrumentor
    from otel_atm.store.reader import Reader
    from otel_atm.store.store import Store

__all__ = [
    "Admission",
    "Alert",
    "AlertLevel",
    "AtmError",
    "Budget",
    "BudgetError",
    "BudgetStatus",
    "ConfigurationError",
    "Decision",
    "Diagnosis",
    "Draft",
    "DuckDBMetricExporter",
    "DuckDBSpanExporter",
    "Finding",
    "Handle",
    "OtelAtmInstrumentor",
    "Quota",
    "Reader",
    "Scope",
    "Store",
    "StoreError",
    "TokenQuotaExceeded",
    "TokenSpanProcessor",
    "Usage",
    "UsageEvent",
    "__version__",
    "add_model_response",
    "add_user_request",
    "admit",
    "advice",
    "carrying",
    "connect",
    "context",
    "doctor",
    "hook",
    "init",
    "limits",
]

_LAZY = {
    "Admission": "otel_atm.gate",
    "Alert": "otel_atm.gate",
    "AlertLevel": "otel_atm.facade.quota",
    "BudgetStatus": "otel_atm.gate",
    "Decision": "otel_atm.gate",
    "Diagnosis": "otel_atm.coverage.diagnosis",
    "Draft": "otel_atm.facade.draft",
    "DuckDBMetricExporter": "otel_atm.exporters",
    "DuckDBSpanExporter": "otel_atm.exporters",
    "Finding": "otel_atm.coverage.diagnosis",
    "Handle": "otel_atm.handle",
    "OtelAtmInstrumentor": "otel_atm.instrumentor",
    "Quota": "otel_atm.facade.quota",
    "Reader": "otel_atm.store.reader",
    "Store": "otel_atm.store.store",
    "TokenSpanProcessor": "otel_atm.faces",
    "add_model_response": "otel_atm.facade.telling",
    "add_user_request": "otel_atm.facade.telling",
    "admit": "otel_atm.handle",
    "advice": "otel_atm.handle",
    "carrying": "otel_atm.executors",
    "connect": "otel_atm.faces",
    "doctor": "otel_atm.handle",
    "hook": "otel_atm.facade.hooks",
    "init": "otel_atm.handle",
    "limits": "otel_atm.facade.limits",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'otel_atm' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
