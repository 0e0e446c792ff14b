"""What the OpenAI endpoints share: errors and the usual usage."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.dialect import Dialect
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens


class _Kind(NamedTuple):
    type: str
    code: str | None
    message: str


_KINDS = {
    400: _Kind("invalid_request_error", None, "The request is invalid."),
    401: _Kind("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: _Kind("invalid_request_error", "unsupported_country_region_territory", "Not supported."),
    404: _Kind("invalid_request_error", "model_not_found", "The model does not exist."),
    429: _Kind("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: _Kind("server_error", None, "The server had an error while processing your request."),
    503: _Kind("server_error", None, "The engine is currently overloaded, please try again later."),
}


def at(path: str) -> tuple[str, ...]:
    """The URL paths of an endpoint: OpenAI's, and the two of Azure."""
    return f"/v1/{path}", f"/openai/v1/{path}", f"/openai/deployments/{{model}}/{path}"


class OpenAI(Dialect):
    """An endpoint of OpenAI."""

    usual: ClassVar[Tokens] = Tokens(input=11, output=7, cache_read=4, reasoning=3)

    def refusal(self, problem: Problem) -> Json:
        """`{"error": {...}}`."""
        return refusal(problem)

    def unreadable(self) -> Problem:
        """A 400 that suspects the HTTP library."""
        return Problem(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
            "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what "
            "was sent was not valid JSON.)",
        )

    def lacks(self, name: str) -> Problem:
        """A 400 that names the field, except for the model."""
        if name == "model":
            return Problem(400, "you must provide a model parameter")
        message = f"Missing required parameter: '{name}'."
        return Problem(400, message, param=name, code="missing_required_parameter")


def refusal(problem: Problem) -> Json:
    """The error body of every OpenAI endpoint."""
    kind = _KINDS.get(problem.status, _KINDS[400 if problem.status < 500 else 500])
    return {
        "error": {
            "message": kind.message if problem.message is None else problem.message,
            "type": kind.type,
            "param": problem.param,
            "code": problem.code or kind.code,
        }
    }
