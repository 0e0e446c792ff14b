"""Attempt: one request on its way, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, TypeVar

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.guards.answers import Answer, read_answer
from otel_atm.guards.counts import Json
from otel_atm.guards.flight import Flight
from otel_atm.guards.requests import Request
from otel_atm.guards.streams import StreamWatch
from otel_atm.guards.whole import WholeWatch
from otel_atm.trouble import Trouble

_T = TypeVar("_T")
#: The request that a guarded transport sends in this context, maybe through another one.
sending: Final[ContextVar[Request | None]] = ContextVar("otel_atm.sending", default=None)


def safely(trouble: Trouble, step: Callable[..., _T], *args: Any, **named: Any) -> _T | None:
    """What a step of ours gives; None if it fails, which is counted.

    Raises:
        TokenQuotaExceeded: a budget refuses what it asked for.
    """
    try:
        return step(*args, **named)
    except TokenQuotaExceeded:
        raise
    except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
        trouble.note("guard", error)
        return None


class Attempt:
    """One request on its way, and its answer. Nothing here raises.

    ``with attempt:`` the transport sends; another one that it sends through is not asked again.

    Args:
        flight: that it belongs to.
        request: what it asks.
        trouble: counts what fails in here.

    Attributes:
        asks: whether the request should be made to ask for its usage.
        status_in: the status of an answer that the transport raises as an error; None if the
            error is none.
    """

    asks = False
    status_in: Callable[[BaseException], int | None] | None = None
    _watch: StreamWatch | WholeWatch | None = None
    _token: Token[Request | None]

    def __init__(self, flight: Flight, request: Request, trouble: Trouble) -> None:
        self._flight, self._request, self._trouble = flight, request, trouble
        self._begun = not request.stream  # only of a stream one asks when it began

    def __enter__(self) -> None:
        self._token = sending.set(self._request)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            code = None if self.status_in is None else self.status_in(error)
            if code is None:
                self.failed(error)
            else:
                self.status(code)
        sending.reset(self._token)

    def again(self) -> None:
        """The request is sent once more, as its client made it."""
        self.asks = False
        self._flight.attempts += 1

    def failed(self, error: BaseException) -> None:
        """There was no answer."""
        safely(self._trouble, self._flight.failed, error)

    def status(self, code: int) -> bool:
        """There is an answer; whether its body tells what was used."""
        return bool(safely(self._trouble, self._flight.status, code))

    def body(self, body: bytes) -> None:
        """The whole body of the answer."""
        try:
            request = self._request
            answer = read_answer(request.shape, body)
            if answer.tokens is None and request.stream:  # that its client has read at once
                answer = _read_stream(request, body)
            self._flight.answered(answer, whole=True)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._trouble.note("guard", error)

    def stream(self) -> None:
        """The body comes in pieces from here on."""
        watch = StreamWatch if self._request.stream else WholeWatch
        self._flight.streaming, self._watch = True, watch(self._request.shape)

    def chunk(self, chunk: bytes) -> None:
        """A piece of it, not compressed."""
        watch = self._watch
        if watch is not None:
            if not self._begun:
                self._begin()
            watch.feed(chunk)  # never raises
            if watch.done:
                self.end(whole=True)  # some readers stop here, and keep the answer open

    def event(self, event: Json) -> None:
        """A piece of it that the transport has parsed."""
        watch = self._watch
        if watch is not None:
            if not self._begun:
                self._begin()
            watch.take(event)
            if watch.done:
                self.end(whole=True)

    def end(self, error: BaseException | None = None, *, whole: bool = False) -> None:
        """It has ended: by itself (`whole`), by an error, or since nobody reads on."""
        watch, self._watch = self._watch, None
        if watch is not None:
            safely(self._trouble, self._land, watch, error, whole=whole)

    def _begin(self) -> None:
        self._begun = True
        safely(self._trouble, self._flight.first_chunk)

    def _land(
        self, watch: StreamWatch | WholeWatch, error: BaseException | None, *, whole: bool
    ) -> None:
        self._flight.answered(watch.finish(), whole=whole or watch.done, error=error)


def _read_stream(request: Request, body: bytes) -> Answer:
    watch = StreamWatch(request.shape)
    watch.feed(body)
    return watch.finish()
