"""Plan: all that is known of calls of one kind, worked out once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from otel_atm.gate.estimate import ENOUGH, Sizes
from otel_atm.gate.shape import Forbidden, Shape
from otel_atm.gate.totals import Labels
from otel_atm.ledger import Claim, Line
from otel_atm.price import Tokens
from otel_atm.scope import Scope
from otel_atm.semconv import ATM_DECISION, ATM_PREFIX, ATM_TAGS, EMBEDDINGS


class Kind(NamedTuple):
    """What makes two calls alike: the same payer, provider, model and operation."""

    scope: Scope
    provider: str | None
    model: str | None
    operation: str

    def value(self, name: str) -> str:
        """Of a budget's key: the payer's, or the call's own (provider, model); "" when absent."""
        if name == "model":
            return self.model or ""
        if name == "provider":
            return self.provider or ""
        value: str = self.scope.get(name, "")
        return value


class Plan:
    """What the gate needs for each call of a kind.

    Attributes:
        shape: what it shares with other payers' plans.
        lines: one for each budget that matches, without the trace's id for one per trace.
        claim: on them, for a call like the recent ones; None when no budget matches.
        claims: others, by what is asked of them; bounded by `Planner`.
        estimate: what a call like the recent ones uses.
        recent: what they used, oldest first; bounded by `Planner`.
        news: what those used that are not added up yet; see `otel_atm.gate.tally`.
        batch: how many of them are added up at once.
        flat: whether a sum of tokens costs what its parts cost.
        price: None when it is not known.
        total: the metrics of calls that were allowed.
        span_attributes: for the call's spans, but for its id.
        complete: whether provider and model are known.
        traced: whether a budget counts apart by trace.
        forbidden: None when calls may be let in.
    """

    __slots__ = (
        "batch",
        "claim",
        "claims",
        "complete",
        "estimate",
        "flat",
        "forbidden",
        "kind",
        "lines",
        "news",
        "price",
        "recent",
        "shape",
        "span_attributes",
        "total",
        "traced",
    )

    def __init__(
        self,
        kind: Kind,
        shape: Shape,
        lines: tuple[Line, ...],
        claim: Claim | None,
        forbidden: Forbidden | None,
    ) -> None:
        self.kind, self.shape, self.lines = kind, shape, lines
        self.claim, self.forbidden = claim, forbidden
        self.price, self.total, self.estimate = shape.price, shape.total, shape.estimate
        self.claims: dict[Hashable, tuple[Claim, Tokens]] = {}
        self.recent = Sizes()
        self.news: list[Tokens] = []
        self.batch = ENOUGH
        self.flat = shape.price is None or shape.price.rates is not None
        self.span_attributes = _span_attributes(kind.scope)
        self.complete = kind.provider is not None and kind.model is not None
        self.traced = False


def compatible(one: Kind, other: Kind) -> bool:
    """Whether two doors may tell of one call; what one does not say fits anything."""
    return alike(one.operation, other.operation) and same_model(one.model, other.model)


def alike(one: str, other: str) -> bool:
    """Whether two operations may be one: emitters have several words for what makes text."""
    return one == other or EMBEDDINGS not in (one, other)


def same_model(one: str | None, other: str | None) -> bool:
    """``openai/gpt-5.1`` and ``gpt-5.1-2025-11-13`` may be one model."""
    if one is None or other is None or one == other:
        return True
    short, long = sorted((one.rpartition("/")[2], other.rpartition("/")[2]), key=len)
    rest = long[len(short) :]
    return long.startswith(short) and (not rest or (rest[0] in "-@:" and rest[1:2].isdigit()))


def labels_of(kind: Kind, decision: str) -> Labels:
    """The metric labels of calls of this kind."""
    get = kind.scope.get
    return Labels(kind.provider, kind.model, get("app"), get("env"), get("team"), decision)


def _span_attributes(scope: Scope) -> dict[str, Any]:
    attributes: dict[str, Any] = {ATM_PREFIX + key: value for key, value in scope.items()}
    if scope.tags:
        attributes[ATM_TAGS] = scope.tags
    attributes[ATM_DECISION] = "allowed"  # last: a custom key of this name must not replace it
    return attributes
