"""Events of a stream, and connections that end in the middle of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_atm.testing.provider.framing import SSE, Event, Framing
from otel_atm.testing.provider.reported import Receipt


@dataclass(frozen=True, slots=True)
class Pace:
    """`delay_s` seconds before each event; the connection dies after `drop_after`, None never."""

    delay_s: float = 0.0
    drop_after: int | None = None


class EventStream(Response):
    """A streamed answer that settles its receipt as it goes."""

    def __init__(
        self, events: Iterable[Event], receipt: Receipt, pace: Pace, framing: Framing = SSE
    ) -> None:
        super().__init__(media_type=framing.media_type)
        del self.headers["content-length"]
        self._events = list(events)
        self._frames = framing.frames(self._events)
        self._receipt = receipt
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the events; leave the response unfinished if it is to be dropped."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        pairs = list(zip(self._events, self._frames, strict=True))
        for event, frame in pairs[: self._pace.drop_after]:
            if await gone_within(receive, self._pace.delay_s):
                return
            self._settle_at(event)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        if self._pace.drop_after is None:
            await send({"type": "http.response.body", "body": b""})

    def _settle_at(self, event: Event) -> None:
        if event.tells or event is self._events[-1]:
            self._receipt.settle(told=event.tells)


async def gone_within(receive: Receive, seconds: float) -> bool:
    """Wait that long, 0 for a mere look; True as soon as the client has hung up."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
