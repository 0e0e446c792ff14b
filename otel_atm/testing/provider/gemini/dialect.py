"""What the Gemini endpoints share: paths, errors and the usual usage."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from otel_atm.testing.provider.body import Body, Json
from otel_atm.testing.provider.dialect import Dialect
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.url import Url

#: Where models are: the Gemini API; Vertex AI with an API key, and with a project.
_MODELS = (
    "models/{model}",
    "tunedModels/{model}",
    "publishers/google/models/{model}",
    "projects/{project}/locations/{location}/publishers/google/models/{model}",
    "projects/{project}/locations/{location}/endpoints/{model}",
)
_VERSIONS = ("v1", "v1beta", "v1beta1", "v1alpha")

#: HTTP status → `google.rpc.Code` and a message.
_KINDS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "The model is not found for this API version."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}


def at(method: str) -> tuple[str, ...]:
    """The URL paths of a method of models."""
    return tuple(f"/{version}/{each}:{method}" for version in _VERSIONS for each in _MODELS)


class Gemini(Dialect):
    """An endpoint of Gemini; the model stands in its path."""

    usual: ClassVar[Tokens] = Tokens(input=11, output=7, cache_read=4, reasoning=3)

    def read(self, raw: bytes, url: Url) -> Body:
        """The request, in which the model of the path counts."""
        return {**super().read(raw, url), **url.named}

    def fit(self, tokens: Tokens) -> Tokens:
        """Writing to the cache is not told."""
        return replace(tokens, cache_write=0)

    def refusal(self, problem: Problem) -> Json:
        """`{"error": {"code": ..., "message": ..., "status": ...}}`."""
        return refusal(problem)

    def unreadable(self) -> Problem:
        """A 400 about the payload."""
        return Problem(400, "Invalid JSON payload received.")

    def lacks(self, name: str) -> Problem:
        """A 400 that names the field."""
        return Problem(400, f"* {name}: {name} is not specified")


def refusal(problem: Problem) -> Json:
    """The error body of every Google API."""
    status, message = _KINDS.get(problem.status, _KINDS[400 if problem.status < 500 else 500])
    if problem.message is not None:
        message = problem.message
    return {"error": {"code": problem.status, "message": message, "status": status}}
