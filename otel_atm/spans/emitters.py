"""Emitters: how each convention says what a span is and what it used. New ones are rows.

``docs/reference/emitters.md`` shows the same table to users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_atm import semconv as sc


@dataclass(frozen=True, slots=True)
class Emitter:
    """One convention.

    Attributes:
        name: of the convention.
        kind: the attribute that says what a span is.
        operations: value of `kind` → the operation of a call. Other values are not calls: agents
            and workflows, whose usage is the sum of calls beneath them, and tools.
        scope: an instrumentation scope whose spans have no attributes when they start, so that
            `names` tells; None for a convention that does without.
        names: how the names of such spans begin → the operation.
        provider, model: attributes to look for, best first.
        input, output, cache_read, cache_write, reasoning: the same, for amounts of tokens.
    """

    name: str
    kind: str
    operations: Mapping[str, str]
    scope: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    provider: tuple[str, ...] = (sc.GEN_AI_PROVIDER_NAME, sc.GEN_AI_SYSTEM)
    model: tuple[str, ...] = (sc.GEN_AI_REQUEST_MODEL, sc.GEN_AI_RESPONSE_MODEL)
    input: tuple[str, ...] = sc.USAGE_INPUT
    output: tuple[str, ...] = sc.USAGE_OUTPUT
    cache_read: tuple[str, ...] = sc.USAGE_CACHE_READ
    cache_write: tuple[str, ...] = sc.USAGE_CACHE_WRITE
    reasoning: tuple[str, ...] = sc.USAGE_REASONING


_GEN_AI_OPERATIONS: Final = {operation: operation for operation in sorted(sc.CALL_OPERATIONS)}

GEN_AI: Final = Emitter(
    name="OpenTelemetry GenAI",
    kind=sc.GEN_AI_OPERATION_NAME,
    operations=_GEN_AI_OPERATIONS,
)
OPEN_INFERENCE: Final = Emitter(
    name="OpenInference",
    kind=sc.OI_SPAN_KIND,
    operations={"LLM": "chat", "EMBEDDING": "embeddings"},
    provider=(sc.OI_PROVIDER, sc.OI_SYSTEM),
    model=(sc.OI_MODEL, sc.OI_EMBEDDING_MODEL),
    input=(sc.OI_INPUT,),
    output=(sc.OI_OUTPUT,),
    cache_read=(sc.OI_CACHE_READ,),
    cache_write=(sc.OI_CACHE_WRITE,),
    reasoning=(sc.OI_REASONING,),
)
AGENT_FRAMEWORK: Final = Emitter(
    name="Microsoft agent-framework",
    kind=sc.GEN_AI_OPERATION_NAME,
    operations=_GEN_AI_OPERATIONS,
    scope="agent_framework",
    names={"chat ": "chat", "embeddings ": "embeddings"},
)

#: In the order in which they are asked.
EMITTERS: Final = (GEN_AI, OPEN_INFERENCE, AGENT_FRAMEWORK)

_BY_KIND: Final = {emitter.kind: emitter for emitter in reversed(EMITTERS)}
_BY_SCOPE: Final = {emitter.scope: emitter for emitter in EMITTERS if emitter.scope}
# (attribute, its convention, its operations): the loop of every span start
_KINDS: Final = tuple((kind, _BY_KIND[kind]) for kind in dict.fromkeys(e.kind for e in EMITTERS))


def recognise(
    attributes: Mapping[str, Any], scope: str | None, name: str
) -> tuple[Emitter, str] | None:
    """What a span with these attributes is: (convention, operation) of a call; None if it is none.

    Args:
        attributes: as they are; few emitters set all of them when a span starts.
        scope: the name of the span's instrumentation scope.
        name: of the span.
    """
    for key, emitter in _KINDS:
        kind = attributes.get(key)
        if kind is not None:
            operation = emitter.operations.get(kind)
            return (emitter, operation) if operation else None
    if scope in _BY_SCOPE:
        emitter = _BY_SCOPE[scope]
        for start, operation in emitter.names.items():
            if name.startswith(start):
                return emitter, operation
    return None
