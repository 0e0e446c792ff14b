"""The record of what the server told its clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from otel_atm.testing.provider.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Reported:
    """One LLM request, as the provider would bill it.

    `model` is empty when the request could not be read. `input_tokens` includes
    `cache_read_tokens` and `cache_write_tokens`; `output_tokens` includes `reasoning_tokens`; all
    are zero when `status`, the HTTP status, is an error. `told` is whether the final usage was
    sent to the client: an answer may well cost tokens that its client never hears of.
    """

    path: str
    model: str
    stream: bool
    status: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    told: bool

    @property
    def tokens(self) -> Tokens:
        """The five counts as one value."""
        return Tokens(
            input=self.input_tokens,
            output=self.output_tokens,
            cache_read=self.cache_read_tokens,
            cache_write=self.cache_write_tokens,
            reasoning=self.reasoning_tokens,
        )


class Record:
    """Counts requests and keeps their `Reported` lines; safe to read from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests = 0
        self._page: list[Reported] = []

    @property
    def requests(self) -> int:
        """How many LLM requests arrived, answered or not."""
        with self._changed:
            return self._requests

    @property
    def lines(self) -> list[Reported]:
        """A copy of the lines, in the order in which the answers were given."""
        with self._changed:
            return list(self._page)

    def arrive(self, path: str) -> Receipt:
        """Count a request to the URL path and open its receipt."""
        with self._changed:
            self._requests += 1
            self._changed.notify_all()
            return Receipt(self, self._page, path)

    def write(self, page: list[Reported], line: Reported) -> None:
        """Add a line to the page that was open when its request arrived."""
        with self._changed:
            page.append(line)
            self._changed.notify_all()

    def reset(self) -> None:
        """Forget everything, including requests that are still being answered."""
        with self._changed:
            self._requests = 0
            self._page = []

    def wait_until(self, reached: Callable[[int, int], bool], timeout_s: float) -> None:
        """Block until `reached(requests, lines)`; `TimeoutError` after `timeout_s` seconds."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: reached(self._requests, len(self._page)), timeout_s
            ):
                raise TimeoutError(f"{self._requests} requests, {len(self._page)} reported")


class Receipt:
    """The line that one request will leave in the record, written exactly once."""

    __slots__ = ("_page", "_path", "_record", "_settled", "model", "status", "stream", "tokens")

    def __init__(self, record: Record, page: list[Reported], path: str) -> None:
        self._record = record
        self._page = page
        self._path = path
        self._settled = False
        self.model = ""
        self.stream = False
        self.status = 500  # stands when no answer comes about
        self.tokens = Tokens()

    def settle(self, *, told: bool = False) -> None:
        """Write the line; later calls change nothing.

        Call it before the last byte goes out: a client that has its whole answer must find it in
        the record.
        """
        if not self._settled:
            self._settled = True
            self._record.write(self._page, self._line(told))

    def _line(self, told: bool) -> Reported:
        return Reported(
            path=self._path,
            model=self.model,
            stream=self.stream,
            status=self.status,
            input_tokens=self.tokens.input,
            output_tokens=self.tokens.output,
            cache_read_tokens=self.tokens.cache_read,
            cache_write_tokens=self.tokens.cache_write,
            reasoning_tokens=self.tokens.reasoning,
            told=told,
        )
