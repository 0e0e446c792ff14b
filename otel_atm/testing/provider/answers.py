"""HTTP responses that settle a receipt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.faults import Faults
from otel_atm.testing.provider.framing import Event, Framing
from otel_atm.testing.provider.reported import Receipt
from otel_atm.testing.provider.sse import EventStream, Pace

_PASSING = (429, 503, 529)


class Settling(Response):
    """A whole answer that settles its receipt just before it goes out."""

    media_type = "application/json"

    def __init__(
        self,
        content: bytes,
        receipt: Receipt,
        *,
        told: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, receipt.status, headers)
        self._receipt = receipt
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Settle, then send."""
        self._receipt.settle(told=self._told)
        await super().__call__(scope, receive, send)


def plain(
    body: Json,
    receipt: Receipt,
    faults: Faults,
    *,
    told: bool,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer as one JSON body, or half of it."""
    content = orjson.dumps(body)
    if faults.malformed:
        return Settling(content[: len(content) // 2], receipt)
    return Settling(content, receipt, told=told, headers=headers)


def streamed(
    events: Iterable[Event], framing: Framing, receipt: Receipt, faults: Faults
) -> Response:
    """The answer as a stream of events, or half of the first one."""
    pace = Pace(faults.chunk_delay_s, faults.drop_stream_after)
    if faults.malformed:
        events = [_half(event) for event in list(events)[:1]]
    return EventStream(events, receipt, pace, framing)


def refused(body: Json, receipt: Receipt, retry_after_s: float) -> Response:
    """An error; one that will pass says when, in whole seconds and in milliseconds."""
    headers = None
    if receipt.status in _PASSING:
        headers = {
            "retry-after": str(math.ceil(retry_after_s)),
            "retry-after-ms": str(round(retry_after_s * 1000)),
        }
    return Settling(orjson.dumps(body), receipt, headers=headers)


def _half(event: Event) -> Event:
    data = event.json.decode()
    return Event(data[: len(data) // 2], event.name)
