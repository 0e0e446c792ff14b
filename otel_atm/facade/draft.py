"""Draft: what hooks see of a row, and may change before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from otel_atm.gate import Call, Kind, Plan
from otel_atm.price import usd
from otel_atm.scope import MORE_KEYS, MORE_TAGS, Scope, scope_of


@dataclass(slots=True)
class Draft:
    """A row on its way. Never what was said.

    A hook before the row may change who pays, the labels, `model_id` and, of what the facade was
    told, `token_count`; of calls that other doors have seen, amounts stay as they were counted.

    Attributes:
        event_type: "request" or "response", as the facade was told; "call" of all other doors.
        token_count: tokens of the request, of the response, or of the whole call.
        model_id: the model.
        provider: e.g. "openai".
        username, session_id, app_id: who pays.
        event_id: of the row; "" before it is admitted.
        source: of the row: the door.
        decision: of the row; "allowed" before it is decided.
        status: of the row.
        estimated: whether tokens are ours and not the provider's.
        cost_usd: None when no price is known, or nothing is written yet.
    """

    event_type: str
    token_count: int
    model_id: str | None = None
    provider: str | None = None
    username: str | None = None
    session_id: str | None = None
    app_id: str | None = None
    _additional_metadata_tags: list[str] = field(default_factory=list)
    _additional_metadata_config: dict[str, Any] = field(default_factory=dict)
    event_id: str = ""
    source: str = "facade"
    decision: str = "allowed"
    status: str = "ok"
    estimated: bool = False
    cost_usd: float | None = None

    @classmethod
    def of(cls, call: Call) -> Draft:
        """Of the row of a call as it is written."""
        outcome, kind = call.outcome, call.plan.kind
        draft = cls.asked("call", call.tokens[0] + call.tokens[1], kind)
        if call.source == "facade":
            answered = outcome.revision or not outcome.calls
            draft.event_type = "response" if answered else "request"
            draft.token_count = call.tokens[1 if answered else 0]
        draft.event_id, draft.source, draft.decision = call.id, call.source, outcome.decision
        draft.status, draft.estimated = outcome.status, outcome.estimated
        cost = call.cost
        draft.cost_usd = None if cost is None else usd(cost)
        return draft

    @classmethod
    def asked(cls, event_type: str, token_count: int, kind: Kind) -> Draft:
        """Of something that is not decided yet."""
        keys = dict(kind.scope.items())
        return cls(
            event_type,
            token_count,
            kind.model,
            kind.provider,
            keys.pop("user", None),
            keys.pop("session", None),
            keys.pop("app", None),
            list(kind.scope.tags),
            keys,
        )

    def scope(self) -> Scope:
        """Who pays, as it says now.

        Raises:
            ConfigurationError: that cannot be one who pays.
        """
        keys = dict(self._additional_metadata_config)
        who = {"user": self.username, "session": self.session_id, "app": self.app_id}
        who.update({key: keys.pop(key, None) for key in ("team", "env", "service")})
        return scope_of({**who, MORE_TAGS: self._additional_metadata_tags, MORE_KEYS: keys})

    def kind(self, plan: Plan) -> Kind:
        """The kind of the call, as it says now."""
        return Kind(self.scope(), self.provider, self.model_id, plan.kind.operation)
