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
        swallows: whether it passes over refusals, so that a call is sent all the same.
        broken_from: client → the major version from which on it makes no spans of it.
        scopes: its instrumentation scopes, as far as they matter to `swallows`.
    """

    name: str
    switch: str
    state: State
    why: str = ""
    clients: tuple[str, ...] = ()
    swallows: bool = False
    broken_from: Mapping[str, int] = _NOTHING
    scopes: tuple[str, ...] = ()


_OTEL: Final = "opentelemetry.instrumentation"
_OI: Final = "openinference.instrumentation"
_SWALLOWS: Final = "passes over refusals"
_LATE: Final = "says only after a call that it was one"
_UNTESTED: Final = "has not been tested: its spans are counted where they follow a convention"

INSTRUMENTATIONS: Final = (
    Instrumentation(
        "opentelemetry-instrumentation-genai-openai",
        f"{_OTEL}.genai.openai:OpenAIInstrumentor",
        "enforced",
        clients=("openai",),
        scopes=(f"{_OTEL}.genai.openai",),
    ),
    Instrumentation(
        "opentelemetry-instrumentation-genai-anthropic",
        f"{_OTEL}.genai.anthropic:AnthropicInstrumentor",
        "enforced",
        clients=("anthropic",),
        scopes=(f"{_OTEL}.genai.anthropic",),
    ),
    Instrumentation(
        "opentelemetry-instrumentation-genai-langchain",
        f"{_OTEL}.genai.langchain:LangChainInstrumentor",
        "metered",
        _SWALLOWS,
        swallows=True,
        scopes=(f"{_OTEL}.genai.langchain",),
    ),
    Instrumentation(
        "opentelemetry-instrumentation-genai-openai-agents",
        f"{_OTEL}.genai.openai_agents:OpenAIAgentsInstrumentor",
        "unseen",
        "makes spans of agents, and none of calls",
    ),
    Instrumentation(
        "opentelemetry-instrumentation-google-genai",
        f"{_OTEL}.google_genai:GoogleGenAiSdkInstrumentor",
        "metered",
        "makes one span of several requests where functions are called automatically",
        clients=("google-genai",),
        broken_from={"google-genai": 3},
    ),
    Instrumentation(
        "opentelemetry-instrumentation-openai-v2",
        f"{_OTEL}.openai_v2:OpenAIInstrumentor",
        "unseen",
        "makes no spans of responses and of chat.completions.parse",
        clients=("openai",),
        broken_from={"openai": 3},
        scopes=(f"{_OTEL}.openai_v2",),
    ),
    Instrumentation(  # Traceloop's, as the next two
        "opentelemetry-instrumentation-openai",
        f"{_OTEL}.openai:OpenAIInstrumentor",
        "metered",
        "makes the spans of responses after the call",
        clients=("openai",),
        scopes=(f"{_OTEL}.openai.v1",),
    ),
    Instrumentation(
        "opentelemetry-instrumentation-anthropic",
        f"{_OTEL}.anthropic:AnthropicInstrumentor",
        "enforced",
        clients=("anthropic",),
        scopes=(f"{_OTEL}.anthropic",),
    ),
    Instrumentation(
        "opentelemetry-instrumentation-langchain",
        f"{_OTEL}.langchain:LangchainInstrumentor",
        "metered",
        _SWALLOWS,
        swallows=True,
        scopes=(f"{_OTEL}.langchain",),
    ),
    *(
        Instrumentation(
            f"openinference-instrumentation-{name}",
            f"{_OI}.{name.replace('-', '_')}:{instrumentor}",
            "metered",
            _SWALLOWS,
            clients=clients,
            swallows=True,
            scopes=(f"{_OI}.{name.replace('-', '_')}",),
        )
        for name, instrumentor, clients in (
            ("openai", "OpenAIInstrumentor", ("openai",)),
            ("anthropic", "AnthropicInstrumentor", ("anthropic",)),
            ("langchain", "LangChainInstrumentor", ()),
            ("openai-agents", "OpenAIAgentsInstrumentor", ()),
            ("groq", "GroqInstrumentor", ("groq",)),
            ("mistralai", "MistralAIInstrumentor", ("mistralai",)),
        )
    ),
    Instrumentation(
        "openlit",
        "openlit.instrumentation.openai:OpenAIInstrumentor",
        "metered",
        _LATE,
        clients=("openai", "anthropic"),
    ),
    Instrumentation(
        "logfire",
        "logfire._internal.integrations.llm_providers.llm_provider",
        "metered",
        _SWALLOWS,
        clients=("openai", "anthropic"),
        swallows=True,
        scopes=("logfire.openai", "logfire.anthropic"),
    ),
    Instrumentation("pydantic-ai-slim", "pydantic_ai.models.instrumented", "enforced"),
    Instrumentation("agent-framework-core", "agent_framework.observability", "enforced"),
    *(
        Instrumentation(
            f"opentelemetry-instrumentation-{name}",
            f"{_OTEL}.{name}:{instrumentor}",
            "metered",
            _UNTESTED,
            clients=(client,),
        )
        for name, instrumentor, client in (
            ("botocore", "BotocoreInstrumentor", "boto3"),
            ("bedrock", "BedrockInstrumentor", "boto3"),
            ("vertexai", "VertexAIInstrumentor", "google-cloud-aiplatform"),
            ("cohere", "CohereInstrumentor", "cohere"),
            ("groq", "GroqInstrumentor", "groq"),
            ("mistralai", "MistralAiInstrumentor", "mistralai"),
            ("ollama", "OllamaInstrumentor", "ollama"),
            ("together", "TogetherAiInstrumentor", "together"),
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
    swallows=True,
    scopes=("com.anthropic.sdk.python",),
)
