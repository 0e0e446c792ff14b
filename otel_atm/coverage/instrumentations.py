"""Instrumentations: who makes spans of calls, and what their spans are good for alone.

The states are those without guards, of *all* that one reports: of two kinds of calls, the worse.
Recorded in November 2026; ``docs/reference/emitters.md`` says more of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:  # the start-up check needs no more of it
    from otel_atm.coverage.diagnosis import State

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Instrumentation(NamedTuple):
    """A package that makes spans of calls.

    Attributes:
        name: of the distribution.
        switch: ``module:Class`` of its instrumentor, or a module that is loaded when it is on.
        state: without guards.
        why: it is no better; "" for an enforced one.
        clients: whose calls it reports; empty for one of a framework.
        broken_from: client → the major version from which on it makes no spans of it.
        scopes: its instrumentation scopes; what `otel_atm.spans.emitters` says of them is true of
            it, and a test holds it against `state` and `why`.
    """

    name: str
    switch: str
    state: State
    why: str = ""
    clients: tuple[str, ...] = ()
    broken_from: Mapping[str, int] = _NOTHING
    scopes: tuple[str, ...] = ()


_OTEL: Final = "opentelemetry.instrumentation"
_OI: Final = "openinference.instrumentation"
_SWALLOWS: Final = "passes over refusals"
_NO_EMBEDDINGS: Final = "makes no spans of embeddings that say that they are calls"
_OLDER: Final = "its spans follow an older convention, and do not say that they are calls"
_UNTESTED: Final = "has not been tested: its spans are counted where they follow a convention"

_OPEN_INFERENCE: Final[tuple[tuple[str, str, tuple[str, ...], State, str], ...]] = (
    ("openai", "OpenAIInstrumentor", ("openai",), "metered", _SWALLOWS),
    ("anthropic", "AnthropicInstrumentor", ("anthropic",), "metered", _SWALLOWS),
    ("langchain", "LangChainInstrumentor", (), "metered", _SWALLOWS),
    ("openai-agents", "OpenAIAgentsInstrumentor", (), "metered", _SWALLOWS),
    ("groq", "GroqInstrumentor", ("groq",), "unseen", "says nothing of what streams use"),
    ("mistralai", "MistralAIInstrumentor", ("mistralai",), "unseen", _NO_EMBEDDINGS),
    ("llama-index", "LlamaIndexInstrumentor", (), "unseen", "says nothing of what embeddings use"),
    ("haystack", "HaystackInstrumentor", (), "unseen", _NO_EMBEDDINGS),
    ("crewai", "CrewAIInstrumentor", (), "unseen", "makes spans of agents, and none of calls"),
    ("dspy", "DSPyInstrumentor", ("dspy",), "metered", _SWALLOWS),
    ("smolagents", "SmolagentsInstrumentor", (), "enforced", ""),
)


def _otel(
    module: str,
    instrumentor: str,
    state: State,
    why: str = "",
    *,
    clients: tuple[str, ...] = (),
    broken_from: Mapping[str, int] = _NOTHING,
    scope: str = "",
) -> Instrumentation:
    """One whose distribution and scope are called like its module, as OpenTelemetry's are.

    Args:
        module: below ``opentelemetry.instrumentation``.
        instrumentor: the class in it.
        state: as of `Instrumentation`; so are the next three.
        why: see there.
        clients: see there.
        broken_from: see there.
        scope: if it is not called like that.
    """
    return Instrumentation(
        f"opentelemetry-instrumentation-{module.replace('.', '-').replace('_', '-')}",
        f"{_OTEL}.{module}:{instrumentor}",
        state,
        why,
        clients,
        broken_from,
        (f"{_OTEL}.{scope or module}",),
    )


INSTRUMENTATIONS: Final = (
    _otel(
        "genai.openai",
        "OpenAIInstrumentor",
        "enforced",
        clients=("openai",),
    ),
    _otel(
        "genai.anthropic",
        "AnthropicInstrumentor",
        "enforced",
        clients=("anthropic",),
    ),
    _otel(
        "genai.langchain",
        "LangChainInstrumentor",
        "metered",
        _SWALLOWS,
    ),
    _otel(
        "genai.openai_agents",
        "OpenAIAgentsInstrumentor",
        "unseen",
        "makes spans of agents, and none of calls",
    ),
    _otel(
        "google_genai",
        "GoogleGenAiSdkInstrumentor",
        "metered",
        "makes one span of several requests where functions are called automatically",
        clients=("google-genai",),
        broken_from={"google-genai": 3},
    ),
    _otel(
        "openai_v2",
        "OpenAIInstrumentor",
        "unseen",
        "makes no spans of responses and of chat.completions.parse",
        clients=("openai",),
        broken_from={"openai": 3},
    ),
    _otel(  # Traceloop's, as the next two
        "openai",
        "OpenAIInstrumentor",
        "unseen",
        "makes no spans of streamed responses",
        clients=("openai",),
        scope="openai.v1",
    ),
    _otel(
        "anthropic",
        "AnthropicInstrumentor",
        "metered",
        "makes the spans of messages.parse after the call",
        clients=("anthropic",),
    ),
    _otel(
        "langchain",
        "LangchainInstrumentor",
        "metered",
        _SWALLOWS,
    ),
    *(
        Instrumentation(
            f"openinference-instrumentation-{name}",
            f"{_OI}.{name.replace('-', '_')}:{instrumentor}",
            state,
            why,
            clients=clients,
            scopes=(f"{_OI}.{name.replace('-', '_')}",),
        )
        for name, instrumentor, clients, state, why in _OPEN_INFERENCE
    ),
    Instrumentation(
        "openlit",
        "openlit.instrumentation.openai:OpenAIInstrumentor",
        "unseen",
        "makes no spans of responses.parse, messages.parse and beta.messages",
        clients=("openai", "anthropic"),
        scopes=("openlit.instrumentation.openai", "openlit.instrumentation.anthropic"),
    ),
    Instrumentation(
        "logfire",
        "logfire._internal.integrations.llm_providers.llm_provider",
        "metered",
        _SWALLOWS,
        clients=("openai", "anthropic"),
        scopes=("logfire.openai", "logfire.anthropic"),
    ),
    Instrumentation(
        "pydantic-ai-slim",
        "pydantic_ai.models.instrumented",
        "enforced",
        scopes=("pydantic-ai",),
    ),
    Instrumentation(
        "agent-framework-core",
        "agent_framework.observability",
        "enforced",
        scopes=("agent_framework",),
    ),
    Instrumentation(
        "langfuse",
        "langfuse.openai",
        "unseen",
        "marks its spans in a way of its own",
        clients=("openai",),
        scopes=("langfuse-sdk",),
    ),
    _otel(  # Traceloop's, as the next three
        "groq",
        "GroqInstrumentor",
        "enforced",
        clients=("groq",),
    ),
    _otel(
        "llamaindex",
        "LlamaIndexInstrumentor",
        "unseen",
        _OLDER,
    ),
    _otel(
        "cohere",
        "CohereInstrumentor",
        "enforced",
        clients=("cohere",),
    ),
    _otel(
        "ollama",
        "OllamaInstrumentor",
        "unseen",
        _NO_EMBEDDINGS,
        clients=("ollama",),
    ),
    *(
        _otel(module, instrumentor, "metered", _UNTESTED, clients=(client,))
        for module, instrumentor, client in (
            ("mistralai", "MistralAiInstrumentor", "mistralai"),
            ("together", "TogetherAiInstrumentor", "together"),
            ("botocore", "BotocoreInstrumentor", "boto3"),
            ("bedrock", "BedrockInstrumentor", "boto3"),
            ("vertexai", "VertexAIInstrumentor", "google-cloud-aiplatform"),
        )
    ),
)

#: The spans that the Anthropic client makes by itself, from 2 on; `ANTHROPIC_OPEN_TELEMETRY=false`
#: turns them off.
NATIVE_ANTHROPIC: Final = Instrumentation(
    "anthropic (spans of its own)",
    "anthropic._tracing",
    "metered",
    _SWALLOWS,
    clients=("anthropic",),
    scopes=("com.anthropic.sdk.python",),
)
