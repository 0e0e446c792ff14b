"""Error bodies of Anthropic."""

from __future__ import annotations

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.problem import Problem

_KINDS = {
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key does not have permission to use this resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    529: ("overloaded_error", "Overloaded"),
}


def refusal(problem: Problem) -> Json:
    """The error body of Anthropic."""
    usual = ("invalid_request_error", "Invalid request")
    if problem.status >= 500:
        usual = ("api_error", "Internal server error")
    kind, message = _KINDS.get(problem.status, usual)
    error = {"type": kind, "message": message if problem.message is None else problem.message}
    return {"type": "error", "error": error, "request_id": "req_otel_atm"}
