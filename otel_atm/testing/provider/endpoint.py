"""The way of a request through an endpoint, the same for every dialect."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_atm.testing.provider.answers import plain, refused, streamed
from otel_atm.testing.provider.asked import Asked
from otel_atm.testing.provider.body import Body
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Dialect, Turn
from otel_atm.testing.provider.faults import FaultSwitch, Lot
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.reported import Receipt, Record
from otel_atm.testing.provider.schema import sample
from otel_atm.testing.provider.sse import gone_within
from otel_atm.testing.provider.tokens import Spending, Tokens
from otel_atm.testing.provider.url import Url
from otel_atm.testing.provider.words import sentence


@dataclass(frozen=True, slots=True)
class Desk:
    """What all endpoints share: the faults, the record and the rule that tells the usage.

    `usage` is None when every endpoint is to answer with its usual tokens.
    """

    switch: FaultSwitch
    record: Record
    usage: Spending | None


class Endpoint:
    """The ASGI application behind the URL paths of a dialect."""

    def __init__(self, dialect: Dialect, desk: Desk) -> None:
        self._dialect = dialect
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and leave one line in the record whatever happens."""
        lot = self._desk.switch.take()
        request = Request(scope, receive)
        url = Url(request.url.path, request.path_params, request.query_params)
        receipt = self._desk.record.arrive(url.path)
        try:
            raw = await request.body()
            response = self._response(raw, url, lot, receipt)
            if not await gone_within(receive, lot.faults.delay_s):
                await response(scope, receive, send)
        finally:
            receipt.settle()

    def _response(self, raw: bytes, url: Url, lot: Lot, receipt: Receipt) -> Response:
        try:
            turn = self._turn(raw, url, lot, receipt)
        except Problem as problem:
            receipt.status = problem.status
            body = self._dialect.refusal(problem)
            return refused(body, receipt, lot.faults.retry_after_s)
        receipt.status = 200
        receipt.tokens = turn.tokens
        if turn.asked.stream:
            events, framing = self._dialect.events(turn), self._dialect.framing(turn)
            return streamed(events, framing, receipt, lot.faults)
        answer, headers = self._dialect.answer(turn), self._dialect.headers(turn)
        return plain(answer, receipt, lot.faults, told=turn.tells, headers=headers)

    def _turn(self, raw: bytes, url: Url, lot: Lot, receipt: Receipt) -> Turn:
        body = self._dialect.read(raw, url)
        asked = self._dialect.asked(body, url)
        receipt.model, receipt.stream = asked.model, asked.stream
        if lot.status is not None:
            raise Problem(lot.status, lot.faults.error_text)
        tokens = self._dialect.fit(self._tokens(asked))
        return Turn(
            body=body,
            url=url,
            asked=asked,
            says=self._says(body, tokens, lot.faults.tool_rounds),
            tokens=tokens,
            tells=self._dialect.tells(body) and not lot.faults.no_usage,
        )

    def _tokens(self, asked: Asked) -> Tokens:
        usage = self._desk.usage
        if usage is None:
            return self._dialect.usual
        return usage(asked) if callable(usage) else usage

    def _says(self, body: Body, tokens: Tokens, tool_rounds: int) -> str | Call:
        """A tool call while rounds are left, else what the schema asks for, else words."""
        call = self._dialect.tool(body)
        if call and self._dialect.rounds(body) < tool_rounds:
            return call
        schema = self._dialect.schema(body)
        if schema:
            return orjson.dumps(sample(schema)).decode()
        return sentence(tokens.output - tokens.reasoning)
