"""Endings: what a call cost whose span reports no usage.

From a span alone, only ``error.type`` tells whether the provider did any work. What the provider
refused, and what never reached it, cost nothing. After a time-out, a cancellation or a broken
stream it may have: then our estimate is charged, and marked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import Event

from otel_atm import semconv as sc


class Ending(NamedTuple):
    """How a call ended.

    Attributes:
        status: of the row.
        error_type: a class name or a code.
        free: whether the provider charges nothing for it.
    """

    status: str
    error_type: str
    free: bool


#: Classes of errors that cost nothing, by their last name: an HTTP status, or no connection.
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
        # google-genai
        "ClientError",
        "ServerError",
        # httpx and the standard library
        "HTTPStatusError",
        "HTTPError",
        # refused by a budget
        "QuotaExceededError",
        "TokenQuotaExceeded",
    }
)
#: The same, unless an answer had begun: then the connection broke in the midst of it.
UNCONNECTED: Final = frozenset(
    {
        "APIConnectionError",
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionRefusedError",
        "PoolTimeout",
        "gaierror",
    }
)
#: Attributes that only an answer brings.
_OF_ANSWER: Final = frozenset(
    {sc.GEN_AI_RESPONSE_ID, sc.GEN_AI_RESPONSE_MODEL, sc.GEN_AI_TIME_TO_FIRST_CHUNK}
)
#: Endings by whoever waited for the answer.
CANCELLED: Final = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt"})

_HTTP_STATUS: Final = re.compile(r"[45]\d\d")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w.]{0,127}|\d{1,6}")


def ending_of(attributes: Mapping[str, Any], events: Sequence[Event]) -> Ending:
    """The ending of a span with status ERROR, or with ``error.type``."""
    error_type = attributes.get(sc.ERROR_TYPE) or _exception_type(events)
    if not isinstance(error_type, str) or not _IDENTIFIER.fullmatch(error_type):
        error_type = "_OTHER"  # text that is no identifier may quote a prompt
    last_name = error_type.rpartition(".")[2]
    free = (
        last_name in FREE
        or (last_name in UNCONNECTED and _OF_ANSWER.isdisjoint(attributes))
        or _HTTP_STATUS.fullmatch(error_type) is not None
    )
    return Ending("cancelled" if last_name in CANCELLED else "error", error_type, free)


def _exception_type(events: Sequence[Event]) -> object:
    for event in reversed(events):
        if event.name == sc.EXCEPTION_EVENT and event.attributes:
            return event.attributes.get(sc.EXCEPTION_TYPE)
    return None
