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
        scope: how the instrumentation scopes begin whose spans have no attributes when they start,
            so that `names` tells; None for a convention that does without.
        names: how the names of such spans begin → the operation.
        late: whether such a span starts when its call is over: it is never refused.
        provider, model: attributes to look for, best first.
        input, output, cache_read, cache_write, reasoning: the same, for amounts of tokens.
        providers: its names of providers, in small letters → those of the others; one that is not
            among them stays, in small letters. Empty: it says them as the others do.
        cache_apart: whether `input` leaves out what was read from the cache and written to it.
    """

    name: str
    kind: str
    operations: Mapping[str, str]
    scope: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    late: bool = False
    provider: tuple[str, ...] = (sc.GEN_AI_PROVIDER_NAME, sc.GEN_AI_SYSTEM)
    model: tuple[str, ...] = (sc.GEN_AI_REQUEST_MODEL, sc.GEN_AI_RESPONSE_MODEL)
    input: tuple[str, ...] = sc.USAGE_INPUT
    output: tuple[str, ...] = sc.USAGE_OUTPUT
    cache_read: tuple[str, ...] = sc.USAGE_CACHE_READ
    cache_write: tuple[str, ...] = sc.USAGE_CACHE_WRITE
    reasoning: tuple[str, ...] = sc.USAGE_REASONING
    providers: Mapping[str, str] = field(default_factory=dict)
    cache_apart: bool = False
    given: str = field(init=False)  # where most spans of a call have what it used
    made: str = field(init=False)
    rare: frozenset[str] = field(init=False)  # what most spans of a call have none of at their end

    def __post_init__(self) -> None:
        rare = self.cache_read + self.cache_write + self.reasoning
        endings = (sc.ERROR_TYPE, sc.GEN_AI_TIME_TO_FIRST_CHUNK)
        object.__setattr__(self, "given", self.input[0])
        object.__setattr__(self, "made", self.output[0])
        object.__setattr__(self, "rare", frozenset(rare + endings))


class Recognised:
    """What a span is: a call, told in the words of `emitter`. Made once, compared by identity.

    Attributes:
        operation: of the call, as ``gen_ai.operation.name`` has it.
    """

    __slots__ = ("emitter", "operation")

    def __init__(self, emitter: Emitter, operation: str) -> None:
        self.emitter, self.operation = emitter, operation


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

OPENLIT_ANTHROPIC: Final = Emitter(
    name="OpenLIT, Anthropic",
    kind=sc.GEN_AI_OPERATION_NAME,
    operations=_GEN_AI_OPERATIONS,
    scope="openlit.instrumentation.anthropic",
    names={"chat ": "chat"},
    cache_apart=True,
)
OPENLIT: Final = Emitter(
    name="OpenLIT",
    kind=sc.GEN_AI_OPERATION_NAME,
    operations=_GEN_AI_OPERATIONS,
    scope="openlit.instrumentation.",
    names={"chat ": "chat", "embeddings ": "embeddings"},
)

#: Traceloop's of OpenAI: its scope, and the name of its spans of responses.
_OPENLLMETRY_OPENAI: Final = "opentelemetry.instrumentation.openai.v1"
_OPENLLMETRY_RESPONSE: Final = "openai.response"
_OPENLLMETRY_PROVIDERS: Final = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistralai": "mistral_ai",
    "togetherai": "together_ai",
    "vertexai": "gcp.vertex_ai",
}
OPENLLMETRY: Final = Emitter(
    name="OpenLLMetry, older",
    kind=sc.LLM_REQUEST_TYPE,
    operations={"chat": "chat", "completion": "text_completion", "embedding": "embeddings"},
    provider=(sc.GEN_AI_SYSTEM,),
    input=sc.USAGE_INPUT[::-1],
    output=sc.USAGE_OUTPUT[::-1],
    providers=_OPENLLMETRY_PROVIDERS,
)
OPENLLMETRY_RESPONSES: Final = Emitter(
    name="OpenLLMetry, OpenAI's responses",
    kind=sc.LLM_TOTAL,  # all that such a span has that other spans have not
    operations={},
    scope=_OPENLLMETRY_OPENAI,
    names={_OPENLLMETRY_RESPONSE: "chat"},
    late=True,
    providers=_OPENLLMETRY_PROVIDERS,
)

#: In the order in which they are asked.
EMITTERS: Final = (
    GEN_AI,
    OPEN_INFERENCE,
    AGENT_FRAMEWORK,
    OPENLIT_ANTHROPIC,
    OPENLIT,
    OPENLLMETRY,
    OPENLLMETRY_RESPONSES,
)

#: How the scopes of instrumentations begin that are built on opentelemetry-util-genai: they say
#: `gen_ai.request.stream` once the answer has begun, and finish reasons once it is whole.
UTIL_GENAI: Final = "opentelemetry.instrumentation.genai."

#: Instrumentation scopes, by how they begin, that catch what `on_start` raises, log it and send the
#: call: anthropic/_tracing.py, openinference/instrumentation/*/_request.py,
#: langchain_core/callbacks/manager.py, logfire/_internal/main.py.
SWALLOWERS: Final = (
    "com.anthropic.sdk",
    "logfire",
    "mistralai_sdk_tracer",
    "openinference.instrumentation",
    "opentelemetry.instrumentation.genai.langchain",
    "opentelemetry.instrumentation.langchain",
)


def are_siblings(one: str, other: str) -> bool:
    """Whether spans of two instrumentation scopes, neither above the other, may be of one call.

    Where nothing but the context links them: a client that makes its own spans under an
    instrumentation whose spans are not current (Traceloop's, OpenInference's streams), and
    OpenInference's spans of a framework and of its client.
    """
    return any(scope.startswith("com.anthropic.sdk") for scope in (one, other)) or (
        one.startswith(_OPEN_INFERENCE) and other.startswith(_OPEN_INFERENCE)
    )


_OPEN_INFERENCE: Final = "openinference.instrumentation."


#: Among those that begin like these, the ones that do not.
_RAISERS: Final = (
    "openinference.instrumentation.haystack",
    "openinference.instrumentation.smolagents",
)


def swallows(scope: str) -> bool:
    """Whether an instrumentation scope passes over a refusal."""
    return scope.startswith(SWALLOWERS) and not scope.startswith(_RAISERS)


#: Instrumentation scopes, by how they begin, whose calls go through clients that have guards.
FOLLOWED: Final = (
    "agent_framework",
    "com.anthropic.sdk",
    "litellm",
    "logfire",
    "mistralai_sdk_tracer",
    "openinference.instrumentation.",
    "openlit.instrumentation.",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.cohere",
    "opentelemetry.instrumentation.genai.",
    "opentelemetry.instrumentation.google_genai",
    "opentelemetry.instrumentation.groq",
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.ollama",
    "opentelemetry.instrumentation.openai",
    "pydantic-ai",
)


#: How instrumentation scopes begin that make spans of calls that are over → how the names begin
#: of these spans.
LATE: Final = {
    "litellm": "",
    "logfire": "",
    _OPENLLMETRY_OPENAI: _OPENLLMETRY_RESPONSE,
}


def is_late(scope: str, name: str) -> bool:
    """Whether a span of this scope and name may be made after the call that it tells of."""
    return any(scope.startswith(start) and name.startswith(of) for start, of in LATE.items())


def is_followed(scope: str) -> bool:
    """Whether a guard may be expected to see the calls of an instrumentation scope."""
    return scope.startswith(FOLLOWED)


#: The attributes that say what a span is: one that has none of them is no call, but for those of
#: the scopes whose spans tell by their names.
KINDS: Final = frozenset(emitter.kind for emitter in EMITTERS)

# (attribute, its value → what the span is), for the loop of every span start
_BY_KIND: Final = tuple(
    (emitter.kind, {kind: Recognised(emitter, op) for kind, op in emitter.operations.items()})
    for emitter in EMITTERS
    if emitter.scope is None
)


class _Named(dict[str, tuple[tuple[str, Recognised], ...]]):
    """Instrumentation scope → (how a name begins, what the span is), each found once.

    Args:
        late: of which emitters.
    """

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        self._late = late

    def __missing__(self, scope: str) -> tuple[tuple[str, Recognised], ...]:
        for emitter in EMITTERS:
            if (
                emitter.late is self._late
                and emitter.scope is not None
                and scope.startswith(emitter.scope)
            ):
                names = tuple(
                    (start, Recognised(emitter, op)) for start, op in emitter.names.items()
                )
                break
        else:
            names = ()
        if len(self) < _MOST_SCOPES:
            self[scope] = names
        return names


_MOST_SCOPES: Final = 4_096
#: Of spans that tell by their names what they are: when they start, and only at their end.
NAMED: Final = _Named(late=False)
_LATE_NAMED: Final = _Named(late=True)


def recognise_sum(attributes: Mapping[str, Any]) -> Recognised | None:
    """What a span is whose usage is the sum of calls; None if it tells the usage of another."""
    for emitter in EMITTERS:
        kind = attributes.get(emitter.kind)
        if isinstance(kind, str) and kind != sc.FETCH_RESPONSE:
            return Recognised(emitter, kind.lower())
    return None


def recognise(attributes: Mapping[str, Any], scope: str, name: str) -> Recognised | None:
    """What a span with these attributes is; None if it is no call.

    Args:
        attributes: as they are; few emitters set all of them when a span starts.
        scope: the name of the span's instrumentation scope.
        name: of the span.
    """
    for key, calls in _BY_KIND:
        kind = attributes.get(key)
        if kind is not None:
            known = calls.get(kind) if isinstance(kind, str) else None
            return known and (_named(scope, name) or known)
    return _named(scope, name)


def _named(scope: str, name: str) -> Recognised | None:
    for start, recognised in NAMED[scope] or _LATE_NAMED[scope]:
        if name.startswith(start):
            return recognised
    return None
