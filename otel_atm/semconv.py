"""The standard's strings, in one place.

OpenTelemetry GenAI semantic conventions as of schema ``gen-ai/1.42.0`` (status: Development), the
names they replaced that emitters still send, OpenInference 0.1.66, and our own ``atm.*`` names.
"""

from __future__ import annotations

from typing import Final

# GenAI: what a span is ------------------------------------------------------------------------
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_SYSTEM: Final = "gen_ai.system"  # until 1.37, replaced by provider.name
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"

#: Operations that spend tokens. Each span of one of these is one call to a model.
EMBEDDINGS: Final = "embeddings"
CALL_OPERATIONS: Final = frozenset({"chat", "text_completion", "generate_content", EMBEDDINGS})
#: Tells the usage of a response that was made before, whose call told it too.
FETCH_RESPONSE: Final = "fetch_response"
#: Operations whose usage is the sum of the calls beneath them.
TOTAL_OPERATIONS: Final = frozenset({"invoke_agent", "invoke_workflow", "create_agent", "plan"})

# GenAI: usage, newest name first --------------------------------------------------------------
USAGE_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
USAGE_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
USAGE_CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
)
USAGE_CACHE_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
)
USAGE_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",  # pydantic-ai
)

# OpenInference --------------------------------------------------------------------------------
OI_SPAN_KIND: Final = "openinference.span.kind"
OI_MODEL: Final = "llm.model_name"
OI_EMBEDDING_MODEL: Final = "embedding.model_name"
OI_PROVIDER: Final = "llm.provider"
OI_SYSTEM: Final = "llm.system"
OI_INPUT: Final = "llm.token_count.prompt"
OI_OUTPUT: Final = "llm.token_count.completion"
OI_CACHE_READ: Final = "llm.token_count.prompt_details.cache_read"
OI_CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
OI_REASONING: Final = "llm.token_count.completion_details.reasoning"

# OpenLLMetry before it took the names of GenAI -------------------------------------------------
LLM_REQUEST_TYPE: Final = "llm.request.type"
LLM_TOTAL: Final = "llm.usage.total_tokens"

# General --------------------------------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
HTTP_STATUS_CODE: Final = "http.response.status_code"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
SERVICE_NAME: Final = "service.name"

#: Span attribute → scope key. Later rows win, so the newer of two names stands below the older.
SPAN_SCOPE: Final = {
    "enduser.id": "user",
    "user.id": "user",
    GEN_AI_CONVERSATION_ID: "session",
    "session.id": "session",
    GEN_AI_AGENT_NAME: "agent",
}
#: Resource attribute → scope key.
RESOURCE_SCOPE: Final = {
    "deployment.environment": "env",  # until semconv 1.27
    "deployment.environment.name": "env",
    SERVICE_NAME: "service",
}

# Ours -----------------------------------------------------------------------------------------
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
ATM_CALL_ID: Final = "atm.call_id"
ATM_DECISION: Final = "atm.decision"
ATM_BUDGET_NAME: Final = "atm.budget.name"
ATM_EVENT_ALERT: Final = "atm.budget.alert"
ATM_TAGS: Final = "atm.tags"
ATM_PREFIX: Final = "atm."
METER_NAME: Final = "otel_atm"
#: The instrumentation scope of spans of what an application has told by itself.
FACADE_NAME: Final = "otel_atm.facade"
