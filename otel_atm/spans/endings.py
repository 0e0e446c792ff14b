"""Endings: what a call cost whose span reports no usage.

From a span alone, only ``error.type`` tells whether the provider did any work. What the provider
refused, and what never reached it, cost nothing. After a time-out, a cancellation or a broken
stream it may have: then our estimate is charged, and marked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import Event

from otel_atm import semconv as sc
from otel_atm.gate import Ending
from otel_atm.spans.emitters import UTIL_GENAI, Emitter

#: Errors that cost nothing, by the last name of their class or by the provider's own type: an HTTP
#: status, no connection, or a refusal. But where an answer had begun, it broke in the midst of it.
FREE: Final = frozenset(
    {
        # openai, anthropic: each answer of 4xx and 5xx
        "APIStatusError",
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "DeadlineExceededError",
        "InternalServerError",
        "NotFoundError",
        "OverloadedError",
        "PermissionDeniedError",
        "RateLimitError",
        "RequestTooLargeError",
        "ServiceUnavailableError",
        "UnprocessableEntityError",
        # anthropic's own spans: the type in the error's body
        "api_error",
        "authentication_error",
        "billing_error",
        "invalid_request_error",
        "not_found_error",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "request_too_large",
        # google-genai
        "ClientError",
        "ServerError",
        # httpx and the standard library
        "HTTPStatusError",
        "HTTPError",
        # never connected
        "APIConnectionError",
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionRefusedError",
        "PoolTimeout",
        "connection_error",
        "gaierror",
        # refused by a budget
        "QuotaExceededError",
        "TokenQuotaExceeded",
    }
)
#: Attributes that only an answer brings.
_OF_ANSWER: Final = frozenset(
    {sc.GEN_AI_RESPONSE_ID, sc.GEN_AI_RESPONSE_MODEL, sc.GEN_AI_TIME_TO_FIRST_CHUNK}
)
#: Endings by whoever waited for the answer.
CANCELLED: Final = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt"})

_HTTP_ANSWERS: Final = range(100, 400)
_HTTP_ERRORS: Final = range(400, 600)
_HTTP_ERROR: Final = re.compile(r"[45]\d\d")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w.]{0,127}|\d{1,6}")


def ending_of(attributes: Mapping[str, Any], events: Sequence[Event], scope: str = "") -> Ending:
    """The ending of a span with status ERROR, or with ``error.type``.

    Args:
        attributes: of the span, at its end.
        events: of the span; the last exception among them tells where ``error.type`` does not.
        scope: the name of its instrumentation scope.
    """
    error_type = attributes.get(sc.ERROR_TYPE) or _exception_type(events)
    if not isinstance(error_type, str) or not _IDENTIFIER.fullmatch(error_type):
        error_type = "_OTHER"  # text that is no identifier may quote a prompt
    last_name = error_type.rpartition(".")[2]
    code = attributes.get(sc.HTTP_STATUS_CODE)
    known = last_name in FREE or _HTTP_ERROR.fullmatch(error_type) or code in _HTTP_ERRORS
    free = bool(known) and not _had_begun(attributes, scope)
    return Ending("cancelled" if last_name in CANCELLED else "error", error_type, free)


def is_partial(
    attributes: Mapping[str, Any], emitter: Emitter, scope: str, *, failed: bool
) -> bool:
    """Whether the usage that a span reports is not all, since the answer broke off.

    Args:
        attributes: of the span, at its end.
        emitter: its convention.
        scope: the name of its instrumentation scope.
        failed: whether the call failed.
    """
    if not any(key in attributes for key in emitter.output):
        return True
    streamed = scope.startswith(UTIL_GENAI) and bool(attributes.get(sc.GEN_AI_REQUEST_STREAM))
    return (failed or streamed) and sc.GEN_AI_FINISH_REASONS not in attributes


def _had_begun(attributes: Mapping[str, Any], scope: str) -> bool:
    """Whether any of the answer had come."""
    return (
        attributes.get(sc.HTTP_STATUS_CODE) in _HTTP_ANSWERS
        or not _OF_ANSWER.isdisjoint(attributes)
        or (scope.startswith(UTIL_GENAI) and sc.GEN_AI_REQUEST_STREAM in attributes)
    )


def _exception_type(events: Sequence[Event]) -> object:
    for event in reversed(events):
        if event.name == sc.EXCEPTION_EVENT and event.attributes:
            return event.attributes.get(sc.EXCEPTION_TYPE)
    return None
