"""Quotas for agents of Microsoft's agent-framework: a chat middleware, and the stores it counts in.

::

    from otel_atm.guards.agent_framework import InMemoryQuotaStore, TokenGuardMiddleware

    guard = TokenGuardMiddleware(
        on_usage=print, quota_store=InMemoryQuotaStore(), quota_tokens=10_000
    )
    await agent.run("Hello!", middleware=[guard])

Nothing else of otel-atm imports agent-framework.
"""

try:
    import agent_framework as _agent_framework  # noqa: F401
except ImportError as error:
    raise ImportError(
        "otel_atm.guards.agent_framework needs agent-framework: "
        "pip install 'otel-atm[agent-framework]'"
    ) from error

from otel_atm.guards.agent_framework.errors import QuotaExceededError
from otel_atm.guards.agent_framework.ledger_store import LedgerQuotaStore
from otel_atm.guards.agent_framework.memory_store import InMemoryQuotaStore
from otel_atm.guards.agent_framework.middleware import TokenGuardMiddleware
from otel_atm.guards.agent_framework.periods import day_key, month_key, week_key
from otel_atm.guards.agent_framework.requests import default_user_id_getter
from otel_atm.guards.agent_framework.stores import Full, HoldingQuotaStore, QuotaStore
from otel_atm.guards.agent_framework.tellers import UsageCallback

__all__ = [
    "Full",
    "HoldingQuotaStore",
    "InMemoryQuotaStore",
    "LedgerQuotaStore",
    "QuotaExceededError",
    "QuotaStore",
    "TokenGuardMiddleware",
    "UsageCallback",
    "day_key",
    "default_user_id_getter",
    "month_key",
    "week_key",
]
