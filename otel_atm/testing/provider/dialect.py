"""What every endpoint of every provider has to know about its wire format."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any, ClassVar

import orjson

from otel_atm.testing.provider.asked import Asked
from otel_atm.testing.provider.body import Body, Json, characters
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.framing import SSE, Event, Framing
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens
from otel_atm.testing.provider.url import Url

Fields = Mapping[str, type | tuple[type, ...]]
"""Names of fields and the JSON types they may have."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer to be put into a wire format.

    `body` is the request, which arrived at `url`. `says` is the text or the tool call. `tokens` is
    what it costs and `tells` whether the answer may carry them. `id` is 32 hex digits, `created`
    Unix seconds.
    """

    body: Body
    asked: Asked
    says: str | Call
    tokens: Tokens
    tells: bool
    url: Url = field(default_factory=lambda: Url("/"))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time()))


class Dialect(ABC):
    """One endpoint: how to read its requests and how to write its answers."""

    paths: ClassVar[Sequence[str]]
    """The URL paths, as Starlette has them; a part named `{model}` is the model."""

    needs: ClassVar[Fields]
    """The fields without which a request is refused."""

    prompts: ClassVar[Sequence[str]]
    """The fields that hold prompt text."""

    limits: ClassVar[Sequence[str]] = ()
    """The fields that limit the output tokens; the first one given counts."""

    streams: ClassVar[bool] = True
    """Whether the endpoint can answer with a stream."""

    usual: ClassVar[Tokens]
    """The usage of an answer unless the server is told otherwise."""

    def read(self, raw: bytes, url: Url) -> Body:
        """The request in `raw`; `Problem` when the provider would refuse it."""
        body = {**url.named, **self._json(raw)}
        for name, kinds in self.needs.items():
            if not isinstance(body.get(name), kinds) or not body[name]:
                raise self.lacks(name)
        return body

    def _json(self, raw: bytes) -> Body:
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self.unreadable() from None
        if not isinstance(body, dict):
            raise self.unreadable()
        return body

    def asked(self, body: Body, url: Url) -> Asked:
        """The facts of the request."""
        return Asked(
            path=url.path,
            model=body["model"],
            stream=self.streams and self.wants_stream(body),
            characters=sum(characters(body.get(name)) for name in self.prompts),
            max_output_tokens=self.limit(body),
        )

    def wants_stream(self, body: Body) -> bool:
        """Whether the request wants its answer as a stream."""
        return body.get("stream") is True

    def limit(self, body: Body) -> int | None:
        """The most output tokens that the request allows; None when it sets no limit."""
        limits = (body[name] for name in self.limits if isinstance(body.get(name), int))
        return next(limits, None)

    def fit(self, tokens: Tokens) -> Tokens:
        """The part of `tokens` that this endpoint has fields for."""
        return tokens

    def tells(self, body: Body) -> bool:  # noqa: ARG002 - some dialects look at the request
        """Whether the request lets the answer carry its usage."""
        return True

    def tool(self, body: Body) -> Call | None:  # noqa: ARG002
        """A call of the first tool that the request offers; None when it offers none."""
        return None

    def rounds(self, body: Body) -> int:  # noqa: ARG002
        """How many tool results the conversation has."""
        return 0

    def schema(self, body: Body) -> Mapping[str, Any] | None:  # noqa: ARG002
        """The JSON schema that the answer must satisfy; None for free text."""
        return None

    def headers(self, turn: Turn) -> Mapping[str, str]:  # noqa: ARG002
        """Headers of a whole answer."""
        return {}

    @abstractmethod
    def answer(self, turn: Turn) -> Json:
        """The whole answer."""

    def events(self, turn: Turn) -> Iterator[Event]:
        """The answer as events of a stream."""
        raise NotImplementedError(f"{turn.asked.path} does not stream: {turn.id}")

    def framing(self, turn: Turn) -> Framing:  # noqa: ARG002
        """How these events look on the wire."""
        return SSE

    @abstractmethod
    def refusal(self, problem: Problem) -> Json:
        """The body of an error."""

    @abstractmethod
    def unreadable(self) -> Problem:
        """The refusal of a body that is no JSON object."""

    @abstractmethod
    def lacks(self, name: str) -> Problem:
        """The refusal of a request whose field `name` is missing, empty or of a wrong type."""
